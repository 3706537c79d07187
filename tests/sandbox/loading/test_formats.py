"""Every other format: the value is what was written, computed without the code under test."""

from __future__ import annotations

import bz2
import datetime
import gzip
import io
import json
import lzma
import pickle
import sqlite3
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy
import pandas
import pyarrow
import pytest
from conftest import Load
from PIL import Image
from pyarrow import feather, parquet

FRAME = pandas.DataFrame(
    {
        "id": [1, 2, 3],
        "name": ["ä", None, "c"],
        "amount": [1.5, -2.0, None],
        "at": pandas.to_datetime(["2024-01-01", "2024-05-06 07:08:09", None], format="ISO8601"),
        "ok": [True, False, True],
    }
)
RECORDS = [{"id": i, "name": f"n{i}", "zip": f"0{i:04}", "score": i / 4} for i in range(50)]


def test_parquet(load: Load, tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "x.parquet")
    loaded = load(tmp_path / "x.parquet")
    pandas.testing.assert_frame_equal(loaded.value, pandas.read_parquet(tmp_path / "x.parquet"))
    assert "2024-01-01 00:00:00 … 2024-05-06 07:08:09" in loaded.profile
    assert "2 true, 1 false" in loaded.profile and "1 row group" in loaded.profile


@pytest.mark.parametrize("compression", ["uncompressed", "lz4", "zstd"])
def test_feather(load: Load, tmp_path: Path, compression: str) -> None:
    feather.write_feather(pyarrow.Table.from_pandas(FRAME), str(tmp_path / "x.feather"), compression=compression)
    loaded = load(tmp_path / "x.feather")
    assert loaded.value["amount"].tolist()[:2] == [1.5, -2.0]
    assert loaded.value["name"].iloc[0] == "ä" and loaded.value["name"].isna().tolist() == [False, True, False]
    assert "arrow (by content and extension), file" in loaded.profile


def test_arrow_stream(load: Load, tmp_path: Path) -> None:
    table = pyarrow.table({"a": [1, 2, 3], "b": ["x", "y", None]})
    with pyarrow.OSFile(str(tmp_path / "x.arrows"), "wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    loaded = load(tmp_path / "x.arrows")
    assert loaded.value["a"].tolist() == [1, 2, 3]
    assert "stream" in loaded.profile


def test_an_array_of_records_becomes_a_frame_that_keeps_strings_strings(load: Load, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(RECORDS, indent=1))
    loaded = load(tmp_path / "x.json")
    assert loaded.value.to_dict("records") == RECORDS
    assert "'00000'" in loaded.profile


def test_a_long_array_is_read_piece_by_piece_and_whole(load: Load, tmp_path: Path) -> None:
    records = [{"i": i, "text": 'é\\"]},[' * (i % 7), "deep": {"n": [i]}} for i in range(60_000)]
    (tmp_path / "x.json").write_text(json.dumps(records, ensure_ascii=False))
    frame = load(tmp_path / "x.json").value
    assert frame["i"].tolist() == list(range(60_000))
    assert frame["text"].tolist() == [record["text"] for record in records]
    assert frame["deep"].iloc[59_999] == {"n": [59_999]}


def test_records_read_in_chunks_have_the_types_of_records_read_at_once(load: Load, tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [{"i": i, "s": str(i), "never": None} for i in range(45_000)]
    for record in records[:20_000]:
        record["early"] = 1
    for record in records[20_000:30_000]:
        record["early"] = None
    records[44_999]["late"] = "x"
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, records)))
    (tmp_path / "x.json").write_text(json.dumps(records))
    for name in ("x.jsonl", "x.json"):
        pandas.testing.assert_frame_equal(load(tmp_path / name).value, pandas.DataFrame(records))


def test_other_json_stays_what_it_is(load: Load, tmp_path: Path) -> None:
    document = {"meta": {"count": 2, "tags": ["a", "b"]}, "rows": [{"x": 1}, {"x": 2}], "huge": 10**400}
    (tmp_path / "x.json").write_text(json.dumps(document))
    loaded = load(tmp_path / "x.json")
    assert loaded.value == document
    assert "dict of 3 keys" in loaded.profile and "'rows': list of 2 items" in loaded.profile
    (tmp_path / "mixed.json").write_text('[{"a": 1}, 2, "x"]')
    assert load(tmp_path / "mixed.json").value == [{"a": 1}, 2, "x"]
    (tmp_path / "empty.json").write_text("[]")
    assert load(tmp_path / "empty.json").value == []


def test_json_lines_count_the_lines_that_are_none(load: Load, tmp_path: Path) -> None:
    lines = [json.dumps(record) for record in RECORDS]
    lines.insert(10, "{broken")
    (tmp_path / "x.jsonl").write_text("\n".join(lines) + "\n\n")
    loaded = load(tmp_path / "x.jsonl")
    assert loaded.value.to_dict("records") == RECORDS
    assert "1 line not JSON and left out: line 11" in loaded.profile


def test_json_lines_of_other_values_become_a_list(load: Load, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('[1, 2]\n{"a": 3}\n"s"\n')
    assert load(tmp_path / "x.jsonl").value == [[1, 2], {"a": 3}, "s"]


def test_lines_named_json_are_recognised(load: Load, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("\n".join(json.dumps(record) for record in RECORDS))
    loaded = load(tmp_path / "x.json")
    assert len(loaded.value) == 50
    assert "jsonl (by content, although its name ends in .json)" in loaded.profile


def test_a_lone_surrogate_in_json_is_kept_and_shown_escaped(load: Load, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('[{"a": "\\ud800x"}, {"a": "y"}]')
    loaded = load(tmp_path / "x.json")
    assert loaded.value["a"].iloc[0] == "\ud800x"
    loaded.profile.encode("utf-8")


def test_a_workbook_with_one_sheet_and_with_several(load: Load, tmp_path: Path) -> None:
    plain = FRAME.drop(columns="name")
    plain.to_excel(tmp_path / "one.xlsx", index=False, sheet_name="May")
    one = load(tmp_path / "one.xlsx")
    assert one.value["id"].tolist() == [1, 2, 3] and one.value["at"].iloc[1] == pandas.Timestamp("2024-05-06 07:08:09")
    assert "sheet 'May'" in one.profile
    with pandas.ExcelWriter(tmp_path / "two.xlsx") as writer:
        plain.to_excel(writer, sheet_name="a", index=False)
        plain.head(1).to_excel(writer, sheet_name="b", index=False)
    two = load(tmp_path / "two.xlsx", name="book")
    assert list(two.value) == ["a", "b"] and len(two.value["b"]) == 1
    assert "book['b']: DataFrame, 1 row × 4 columns" in two.profile


def test_years_as_column_names_are_shown_as_years(load: Load, tmp_path: Path) -> None:
    pandas.DataFrame({2019: [5, 6], 2020: [7, "x"]}).to_excel(tmp_path / "years.xlsx", index=False)
    profile = load(tmp_path / "years.xlsx").profile
    assert "  2019    int64 " in profile and "np." not in profile


def test_a_sqlite_file_is_queried_not_loaded(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "odd name?#.db"
    with sqlite3.connect(path) as connection:
        connection.execute('CREATE TABLE "or""ders" (id INTEGER PRIMARY KEY, region TEXT, amount REAL)')
        connection.executemany(
            'INSERT INTO "or""ders" VALUES (?, ?, ?)', [(i, "ns"[i % 2], i * 0.5) for i in range(100)]
        )
        connection.execute("CREATE TABLE blobs (b BLOB, t TEXT)")
        connection.execute("INSERT INTO blobs VALUES (x'00ff', CAST(x'ff41' AS TEXT))")
    connection.close()
    path.chmod(0o444)
    loaded = load(path, name="shop")
    assert 'or"ders: 100 rows; id INTEGER, region TEXT, amount REAL' in loaded.profile
    database = loaded.value
    assert database.tables == ["blobs", 'or"ders'] and len(database) == 2
    total = database.sql('SELECT sum(amount) AS s FROM "or""ders" WHERE region = ?', ["s"])["s"].iloc[0]
    assert total == sum(i * 0.5 for i in range(100) if i % 2)
    assert database['or"ders'].df().shape == (100, 3) and len(database['or"ders']) == 100
    assert database['or"ders'].columns == ["id", "region", "amount"]
    assert database["blobs"].df()["t"].iloc[0] == "\\xffA"
    with pytest.raises(sqlite3.OperationalError):
        database.sql("DELETE FROM blobs")
    assert len(pickle.loads(pickle.dumps(database))) == 2
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_sqlite_file_in_wal_mode_on_a_read_only_directory(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "wal.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE t (x)")
    connection.execute("INSERT INTO t VALUES (1)")
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    assert load(path).value.sql("SELECT x FROM t")["x"].tolist() == [1]


def test_a_duckdb_file_is_queried_not_loaded(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE orders AS SELECT i AS id, i % 3 AS kind FROM range(1000) r(i)")
        connection.execute("CREATE SCHEMA other; CREATE TABLE other.t AS SELECT 1 AS x")
    loaded = load(path)
    assert "orders: 1,000 rows; id BIGINT, kind BIGINT" in loaded.profile
    assert loaded.value.tables == ["orders", "other.t"]
    assert loaded.value["orders"].aggregate("kind, count(*) AS n", "kind").order("kind").df()["n"].tolist() == [
        334,
        333,
        333,
    ]
    assert loaded.value["other.t"].df()["x"].tolist() == [1]
    assert loaded.value.sql("SELECT max(id) AS m FROM orders")["m"].iloc[0] == 999
    with pytest.raises(duckdb.Error):
        loaded.value.sql("DROP TABLE orders")


def test_text_is_a_string_with_its_newlines(load: Load, tmp_path: Path) -> None:
    (tmp_path / "x.log").write_bytes(b"one, two\r\nthree, four\n\xc3\xa4")
    loaded = load(tmp_path / "x.log")
    assert loaded.value == "one, two\r\nthree, four\nä"
    assert "3 lines" in loaded.profile


def test_long_text_is_a_list_of_lines(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cloche_kernel.loading import documents

    monkeypatch.setattr(documents, "STRING_BYTES", 1_000)
    lines = [f"line {i} é" for i in range(500)]
    (tmp_path / "x.log").write_text("\n".join(lines) + "\n")
    loaded = load(tmp_path / "x.log")
    assert loaded.value == lines
    assert "list of 500 lines" in loaded.profile


def test_markdown_shows_its_headings(load: Load, tmp_path: Path) -> None:
    text = "# Title\n\ntext\n\n```\n# no heading\n```\n\n## Part\n"
    (tmp_path / "x.md").write_text(text)
    loaded = load(tmp_path / "x.md")
    assert loaded.value == text
    assert "  # Title\n  ## Part" in loaded.profile and "no heading" not in loaded.profile


def test_html_shows_title_and_tables(load: Load, tmp_path: Path) -> None:
    table = "<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>"
    page = f"<!doctype html><title>Zahlen</title><script>var x</script><p>hello</p>{table}"
    (tmp_path / "x.html").write_text(page)
    loaded = load(tmp_path / "x.html", name="page")
    assert loaded.value == page
    assert "title: Zahlen" in loaded.profile and "0: 2 rows, 2 columns: a, b" in loaded.profile
    assert "pd.read_html(io.StringIO(page))" in loaded.profile
    assert pandas.read_html(io.StringIO(loaded.value))[0].to_dict("list") == {"a": [1], "b": [2]}
    assert "var x" not in loaded.profile


def test_an_html_page_saved_as_csv_is_not_a_table(load: Load, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("<!DOCTYPE html>\n<html><head><title>Log in</title></head></html>")
    loaded = load(tmp_path / "x.csv")
    assert isinstance(loaded.value, str)
    assert "html (by content, although its name ends in .csv)" in loaded.profile


def pdf(pages: list[str]) -> bytes:
    """A PDF with one line of text a page, written by hand."""
    bodies = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    kids = []
    for text in pages:
        stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
        number = len(bodies) + 1
        kids.append(f"{number} 0 R")
        font = "<< /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>"
        bodies.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] "
            f"/Resources << /Font {font} >> /Contents {number + 1} 0 R >>".encode()
        )
        bodies.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
    bodies[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(pages)} >>".encode()
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(bodies, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(bodies) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return out + b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(bodies) + 1, start)


def test_a_pdf_gives_the_text_of_each_page(load: Load, tmp_path: Path) -> None:
    (tmp_path / "x.pdf").write_bytes(pdf(["first page", "second page of it"]))
    loaded = load(tmp_path / "x.pdf")
    assert [text.strip() for text in loaded.value] == ["first page", "second page of it"]
    assert "list of 2 page texts" in loaded.profile


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: pyarrow.compress(data, codec="zstd", asbytes=True),
}


@pytest.mark.parametrize("suffix", COMPRESSIONS)
@pytest.mark.parametrize("streams", [1, 2])
def test_a_compressed_file_is_what_is_inside(
    load: Load, tmp_path: Path, scratch_directory: Path, suffix: str, streams: int
) -> None:
    rows = [f"{i},v{i}\n" for i in range(20_000)]
    half = len(rows) // 2
    parts = ["a,b\n" + "".join(rows)] if streams == 1 else ["a,b\n" + "".join(rows[:half]), "".join(rows[half:])]
    path = tmp_path / f"x.csv.{suffix}"
    path.write_bytes(b"".join(COMPRESSIONS[suffix](part.encode()) for part in parts))
    loaded = load(path)
    assert loaded.value["a"].tolist() == list(range(20_000))
    assert "csv (by content and extension) in " in loaded.profile
    assert list(scratch_directory.iterdir()) == []


def members() -> dict[str, bytes]:
    return {
        "a/sales.csv": b"x,y\n1,2\n",
        "notes.txt": "ümlaut".encode(),
        "b.json": b'{"k": [1]}',
        "raw.bin": bytes(range(256)),
    }


def check_members(value: Any) -> None:
    assert list(value) == list(members())
    assert value["a/sales.csv"].to_dict("list") == {"x": [1], "y": [2]}
    assert value["notes.txt"] == "ümlaut" and value["b.json"] == {"k": [1]} and value["raw.bin"] == bytes(range(256))


def test_a_zip_is_a_mapping(load: Load, tmp_path: Path, scratch_directory: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members().items():
            archive.writestr(name, data)
    loaded = load(tmp_path / "x.zip", name="z")
    check_members(loaded.value)
    assert "dict of 4 members" in loaded.profile and "'a/sales.csv': DataFrame, 1 row × 2 columns" in loaded.profile
    assert list(scratch_directory.iterdir()) == []


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tgz", "tar.bz2", "tar.xz", "tar.zst"])
def test_a_tar_is_a_mapping(load: Load, tmp_path: Path, suffix: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members().items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    kind = suffix.rpartition(".")[2].replace("tgz", "gz")
    data = buffer.getvalue() if kind == "tar" else COMPRESSIONS[kind](buffer.getvalue())
    (tmp_path / f"x.{suffix}").write_bytes(data)
    check_members(load(tmp_path / f"x.{suffix}").value)


def test_an_archive_within_an_archive_is_a_mapping_within_a_mapping(load: Load, tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("deep.txt", "found")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("inner.zip", inner.getvalue())
    assert load(tmp_path / "x.zip").value == {"inner.zip": {"deep.txt": "found"}}


def test_a_directory_is_a_mapping_and_names_what_it_could_not_read(load: Load, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.csv").write_text("x\n1\n")
    (tmp_path / "b.md").write_text("# hi\n")
    (tmp_path / "c.pkl").write_bytes(pickle.dumps([1]))
    loaded = load(tmp_path / "sub" / "a.csv", tmp_path / "b.md", tmp_path / "c.pkl", directory=True)
    assert list(loaded.value) == ["sub/a.csv", "b.md"]
    assert loaded.value["sub/a.csv"]["x"].tolist() == [1]
    assert "not loaded: c.pkl: c.pkl is a pickle" in loaded.profile


def test_files_with_the_same_columns_become_one_frame(load: Load, tmp_path: Path) -> None:
    for month in (1, 2, 3):
        (tmp_path / f"m{month}.csv").write_text(
            "day,n\n" + "".join(f"{day},{month * 100 + day}\n" for day in range(1, 4))
        )
    loaded = load(*sorted(tmp_path.glob("*.csv")), name="days")
    assert loaded.value["n"].tolist() == [101, 102, 103, 201, 202, 203, 301, 302, 303]
    assert loaded.value["source_file"].tolist() == ["m1.csv"] * 3 + ["m2.csv"] * 3 + ["m3.csv"] * 3
    assert (
        "3 files with the same columns were put one after the other; rows: m1.csv 3, m2.csv 3, m3.csv 3"
        in loaded.profile
    )


def test_files_with_different_columns_stay_apart(load: Load, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    (tmp_path / "b.csv").write_text("y\n1\n")
    loaded = load(tmp_path / "a.csv", tmp_path / "b.csv")
    assert list(loaded.value) == ["a.csv", "b.csv"]


def test_images_arrays_and_bytes(load: Load, tmp_path: Path) -> None:
    Image.new("RGB", (4, 3), (10, 20, 30)).save(tmp_path / "x.png")
    image = load(tmp_path / "x.png")
    assert image.value.getpixel((3, 2)) == (10, 20, 30)
    assert "4 × 3, RGB" in image.profile
    array = numpy.arange(12, dtype="f4").reshape(3, 4)
    numpy.save(tmp_path / "x.npy", array)
    numpy.savez_compressed(tmp_path / "x.npz", first=array, second=array * 2)
    assert numpy.array_equal(load(tmp_path / "x.npy").value, array)
    pair = load(tmp_path / "x.npz")
    assert numpy.array_equal(pair.value["second"], array * 2) and "shape (3, 4), float32" in pair.profile
    (tmp_path / "x.dta").write_bytes(b"\x73\x01\x00\x02binary\x00\x00")
    raw = load(tmp_path / "x.dta")
    assert raw.value == b"\x73\x01\x00\x02binary\x00\x00" and "pd.read_stata" in raw.profile


def test_an_array_too_large_for_memory_is_mapped(load: Load, tmp_path: Path) -> None:
    array = numpy.arange(1_000_000)
    numpy.save(tmp_path / "x.npy", array)
    loaded = load(tmp_path / "x.npy", free=10_000_000)
    assert isinstance(loaded.value, numpy.memmap) and loaded.value[999_999] == 999_999
    assert "memory map" in loaded.profile


def test_values_of_unusual_types_are_described(load: Load, tmp_path: Path) -> None:
    table = pyarrow.table(
        {
            "d": pyarrow.array([datetime.date(2020, 1, 2), None]),
            "list": pyarrow.array([[1, 2], None]),
            "dec": pyarrow.array([1, 2]).cast(pyarrow.decimal128(22, 2)),
            "dict": pyarrow.array(["a", "b"]).dictionary_encode(),
            "bytes": pyarrow.array([b"\x00\x1b", None]),
            "dur": pyarrow.array([1, 2], pyarrow.duration("s")),
        }
    )
    parquet.write_table(table, tmp_path / "x.parquet")
    loaded = load(tmp_path / "x.parquet")
    assert loaded.value.shape == (2, 6)
    assert "date 2020-01-02" in loaded.profile and "\x1b" not in loaded.profile

"""Files made to harm: each is refused with one sentence, at once, and nothing is left behind."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import random
import sqlite3
import struct
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pandas
import pyarrow
import pytest
from conftest import Load

from cloche_kernel import loading
from cloche_kernel.loading import archives, compressed

Refused = Callable[..., str]


@pytest.fixture(autouse=True)
def nothing_is_left_behind(scratch_directory: Path, tmp_path: Path) -> Iterator[None]:
    yield
    assert [p for p in scratch_directory.rglob("*") if "duckdb" not in str(p)] == []


@pytest.mark.parametrize(
    "pack", [gzip.compress, bz2.compress, lzma.compress, lambda d: pyarrow.compress(d, codec="zstd", asbytes=True)]
)
def test_a_decompression_bomb_is_refused(
    refused: Refused, tmp_path: Path, pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compressed, "BOMB_BYTES", 10_000_000)
    (tmp_path / "x.csv.gz").write_bytes(pack(bytes(60_000_000)))
    assert "decompression bomb" in refused(tmp_path / "x.csv.gz")


def test_compression_around_compression_has_an_end(refused: Refused, tmp_path: Path) -> None:
    data = b"a,b\n"
    for _ in range(5):
        data = gzip.compress(data)
    (tmp_path / "x.gz").write_bytes(data)
    assert "more than 3 times" in refused(tmp_path / "x.gz")


def test_a_file_that_does_not_fit_on_scratch_is_refused(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cloche_kernel.loading.scratch import Scratch

    monkeypatch.setattr(Scratch, "room", lambda self: 1_000_000)
    (tmp_path / "x.gz").write_bytes(gzip.compress(os.urandom(2_000_000)))
    assert "temporary disk" in refused(tmp_path / "x.gz")


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
def test_a_compressed_file_cut_short_is_refused(
    refused: Refused, tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    data = pack(random.Random(1).randbytes(200_000))
    (tmp_path / f"x.csv.{suffix}").write_bytes(data[: len(data) // 2])
    assert "could not be decompressed" in refused(tmp_path / f"x.csv.{suffix}")


def test_an_xz_file_that_asks_for_gigabytes_is_refused(refused: Refused, tmp_path: Path) -> None:
    # Writing such a file would take 11 GB, so an ordinary one is made to ask for 1 GiB in its block header.
    data = bytearray(lzma.compress(b"x" * 1000))
    header = slice(12, 12 + data[12] * 4)
    data[16] = 36
    data[header.stop : header.stop + 4] = zlib.crc32(data[header]).to_bytes(4, "little")
    (tmp_path / "x.xz").write_bytes(data)
    assert "could not be decompressed" in refused(tmp_path / "x.xz")


@pytest.mark.parametrize("name", ["../evil.csv", "/etc/evil.csv", "a/../../evil.csv", "..\\evil.csv", "C:\\evil.csv"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_member_outside_its_archive_refuses_the_archive(
    refused: Refused, tmp_path: Path, name: str, kind: str
) -> None:
    path = tmp_path / f"x.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(zipfile.ZipInfo(name), "a\n1\n")
    else:
        with tarfile.open(path, "w") as tar:
            entry = tarfile.TarInfo(name)
            entry.size = 4
            tar.addfile(entry, io.BytesIO(b"a\n1\n"))
    assert "points outside the archive" in refused(path)


def test_links_in_archives_are_left_out_and_named(load: Load, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, kind in (("passwd", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            tar.addfile(entry)
        entry = tarfile.TarInfo("a.txt")
        entry.size = 2
        tar.addfile(entry, io.BytesIO(b"hi"))
    loaded = load(tmp_path / "x.tar")
    assert loaded.value == {"a.txt": "hi"} and "2 links left out: passwd, hard" in loaded.profile
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
        archive.writestr("a.txt", "hi")
    loaded = load(tmp_path / "x.zip")
    assert loaded.value == {"a.txt": "hi"} and "1 link left out: link" in loaded.profile


def test_a_device_in_a_tar_refuses_it(refused: Refused, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        entry = tarfile.TarInfo("disk")
        entry.type = tarfile.BLKTYPE
        tar.addfile(entry)
    assert "device or pipe" in refused(tmp_path / "x.tar")


def test_a_zip_bomb_by_ratio_is_refused_before_unpacking(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compressed, "BOMB_BYTES", 10_000_000)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(40_000_000))
    assert "decompression bomb" in refused(tmp_path / "x.zip")


def overlapping_zip() -> bytes:
    """Many directory entries that all point to one compressed member (as in the ZIP bombs of D. Fifield)."""
    data = zlib.compress(bytes(100_000))[2:-4]
    crc = zlib.crc32(bytes(100_000))
    local = struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, 8, 0, 33, crc, len(data), 100_000, 1, 0) + b"a" + data
    entries = b"".join(
        struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 20, 20, 0, 8, 0, 33, crc, len(data), 100_000, 3, 0, 0, 0, 0, 0, 0)
        + f"{index:03}".encode()
        for index in range(500)
    )
    return local + entries + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 500, 500, len(entries), len(local), 0)


def test_overlapping_members_are_refused(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(overlapping_zip())
    assert "overlaps another" in refused(tmp_path / "x.zip")


def test_a_directory_that_claims_millions_of_members_is_refused(refused: Refused, tmp_path: Path) -> None:
    body = b"PK\x03\x04" + bytes(100)
    wide = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, 50_000_000, 50_000_000, 1 << 32, 0)
    locator = struct.pack("<IIQI", 0x07064B50, 0, len(body), 1)
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    (tmp_path / "x.zip").write_bytes(body + wide + locator + end)
    assert "50,000,000 members" in refused(tmp_path / "x.zip")


def test_a_member_with_a_password_is_refused(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "secret")
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\x01\x02")
    data[at + 8] |= 1
    path.write_bytes(bytes(data))
    assert "password" in refused(path)


def test_archives_nested_too_deeply_are_named(load: Load, refused: Refused, tmp_path: Path) -> None:
    data = b"deep"
    for level in range(archives.MAX_DEPTH + 1):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(f"{level}.zip" if level else "0.txt", data)
        data = buffer.getvalue()
    (tmp_path / "x.zip").write_bytes(data)
    assert "archives deep" in refused(tmp_path / "x.zip")


def test_nested_archives_share_one_allowance(
    load: Load, refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cloche_kernel.loading.scratch import Scratch

    monkeypatch.setattr(Scratch, "room", lambda self: 1_500_000)
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("big", bytes(1_000_000))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for index in range(5):
            archive.writestr(f"{index}.zip", inner.getvalue())
    loaded = load(tmp_path / "x.zip")
    assert list(loaded.value) == ["0.zip"]
    assert "not loaded: 1.zip" in loaded.profile and "beyond what one load takes" in loaded.profile


def test_a_tar_header_that_claims_gigabytes_is_refused(refused: Refused, tmp_path: Path) -> None:
    entry = tarfile.TarInfo("pax")
    entry.type, entry.size = tarfile.XHDTYPE, 4 << 30
    with open(tmp_path / "x.tar", "wb") as file:
        file.write(entry.tobuf(tarfile.USTAR_FORMAT))
        file.truncate(64 << 20)
    assert "looks like a bomb" in refused(tmp_path / "x.tar")


def test_a_sparse_tar_member_of_terabytes_is_refused(refused: Refused, tmp_path: Path) -> None:
    header = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "big",
        "GNU.sparse.realsize": str(1 << 42),
    }
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        entry = tarfile.TarInfo("GNUSparseFile.0/big")
        body = b"1\n0\n512\n".ljust(512, b"\0") + bytes(512)
        entry.size, entry.pax_headers = len(body), header
        tar.addfile(entry, io.BytesIO(body))
    text = refused(tmp_path / "x.tar")
    assert "bomb" in text or "beyond" in text


def xlsx_with(part: str, content: bytes, tmp_path: Path) -> Path:
    pandas.DataFrame({"a": ["x", "y"]}).to_excel(tmp_path / "plain.xlsx", index=False)
    with zipfile.ZipFile(tmp_path / "plain.xlsx") as source, zipfile.ZipFile(tmp_path / "x.xlsx", "w") as target:
        for name in source.namelist():
            target.writestr(name, content if name == part else source.read(name))
    return tmp_path / "x.xlsx"


@pytest.mark.parametrize("part", ["xl/worksheets/sheet1.xml", "xl/workbook.xml", "xl/styles.xml"])
@pytest.mark.parametrize("codec", ["utf-8", "utf-16"])
def test_an_xml_entity_bomb_in_a_workbook_is_refused(refused: Refused, tmp_path: Path, part: str, codec: str) -> None:
    lines = ['<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "aaaaaaaaaa">']
    lines += [f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10)]
    bomb = "\n".join([*lines, "]><x>&a9;</x>"])
    start = time.monotonic()
    assert "entity bomb" in refused(xlsx_with(part, bomb.encode(codec), tmp_path))
    assert time.monotonic() - start < 5


def test_a_workbook_too_large_for_memory_is_refused(refused: Refused, tmp_path: Path) -> None:
    rows = "".join(f'<row r="{i}"><c r="A{i}"><v>{i}</v></c></row>' for i in range(1, 50_000))
    sheet = f'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>{rows}</sheetData></worksheet>'
    path = xlsx_with("xl/worksheets/sheet1.xml", sheet.encode(), tmp_path)
    assert "would take about" in refused(path, free=10_000_000)


def test_json_nested_a_hundred_thousand_deep_is_refused(refused: Refused, tmp_path: Path) -> None:
    for name, text in (
        ("a.json", "[" * 100_000 + "]" * 100_000),
        ("b.json", '{"a":' * 100_000 + "1" + "}" * 100_000),
        ("c.jsonl", '{"a":1}\n' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "\n"),
        ("d.json", '[{"a":' + "[" * 100_000 + "]" * 100_000 + "}]"),
    ):
        (tmp_path / name).write_text(text)
        assert "nested too deeply" in refused(tmp_path / name)


@pytest.mark.parametrize(
    "text", ['[{"a": 1}, {"a": 2', '[{"a": 1} {"a": 2}]', '[{"a": 1}] trailing', '{"a": 1', "[{", '[{"a": 01}]']
)
def test_broken_json_is_refused_with_a_reason(refused: Refused, tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    assert "could not be read as JSON" in refused(tmp_path / "x.json")


def thrift_garbage(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    length = struct.unpack("<I", data[-8:-4])[0]
    footer = len(data) - 8 - length
    for _ in range(draw.randint(1, 12)):
        data[draw.randrange(footer, len(data) - 8)] = draw.choice([0xFF, 0x7F, draw.randrange(256)])
    path.write_bytes(bytes(data))


def test_parquet_with_a_forged_footer_never_ends_the_process(load: Load, tmp_path: Path) -> None:
    outcomes = {"read": 0, "refused": 0}
    for seed in range(150):
        path = tmp_path / f"{seed}.parquet"
        pandas.DataFrame({"a": range(100), "b": ["x"] * 100}).to_parquet(path)
        thrift_garbage(path, random.Random(seed))
        try:
            load(path)
            outcomes["read"] += 1
        except loading.LoadError as error:
            outcomes["refused"] += 1
            assert len(str(error)) < 1_200
    assert outcomes["refused"] > 20


@pytest.mark.parametrize(
    "kind", ["parquet", "feather", "xlsx", "sqlite", "duckdb", "pdf", "npy", "npz", "zip", "png", "tar"]
)
def test_a_file_cut_short_or_scribbled_over_is_refused_or_read(load: Load, tmp_path: Path, kind: str) -> None:
    import duckdb
    from PIL import Image

    frame = pandas.DataFrame({"a": range(2_000), "b": [str(i) for i in range(2_000)]})
    whole = tmp_path / f"whole.{kind}"
    if kind == "sqlite":
        with sqlite3.connect(whole) as connection:
            frame.to_sql("t", connection, index=False)
        connection.close()
    elif kind == "duckdb":
        with duckdb.connect(str(whole)) as connection_:
            connection_.execute("CREATE TABLE t AS SELECT * FROM range(1000)")
    elif kind == "pdf":
        from test_formats import pdf

        whole.write_bytes(pdf(["a", "b"]))
    elif kind == "npy":
        numpy.save(whole, numpy.arange(5_000))
    elif kind == "npz":
        numpy.savez(whole, a=numpy.arange(5_000))
    elif kind == "zip":
        with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.csv", frame.to_csv())
    elif kind == "tar":
        with tarfile.open(whole, "w") as tar:
            data = frame.to_csv().encode()
            entry = tarfile.TarInfo("a.csv")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    elif kind == "png":
        Image.effect_noise((200, 200), 50).save(whole)
    else:
        getattr(frame, {"parquet": "to_parquet", "feather": "to_feather", "xlsx": "to_excel"}[kind])(whole)
    data = whole.read_bytes()
    draw = random.Random(3)
    for attempt in range(24):
        damaged = bytearray(data)
        if attempt % 2:
            damaged = damaged[: draw.randrange(20, len(damaged))]
        else:
            for _ in range(20):
                damaged[draw.randrange(16, len(damaged))] = draw.randrange(256)
        path = tmp_path / f"{attempt}.{kind}"
        path.write_bytes(bytes(damaged))
        try:
            load(path)
        except loading.LoadError as error:
            assert 20 < len(str(error)) < 1_200 and "\n" not in str(error)


def test_a_pickle_is_never_run(refused: Refused, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    (tmp_path / "x.pkl").write_bytes(pickle.dumps(Bomb()))
    (tmp_path / "old.pickle").write_bytes(pickle.dumps(Bomb(), protocol=2))
    (tmp_path / "model.joblib").write_bytes(pickle.dumps(Bomb()))
    array = numpy.array([Bomb()], dtype=object)
    numpy.save(tmp_path / "x.npy", array, allow_pickle=True)
    numpy.savez(tmp_path / "x.npz", a=array)
    for name in ("x.pkl", "old.pickle", "model.joblib"):
        assert "pickle.load(open(" in refused(tmp_path / name)
    for name in ("x.npy", "x.npz"):
        assert "allow_pickle=True" in refused(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "data", "advice"),
    [
        ("x.h5", b"\x89HDF\r\n\x1a\n" + bytes(100), "h5py"),
        ("x.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), ".xlsx"),
        ("x.7z", b"7z\xbc\xaf\x27\x1c" + bytes(100), "Unpack it"),
        ("x.rar", b"Rar!\x1a\x07\x00" + bytes(100), "Unpack it"),
    ],
)
def test_formats_without_a_reader_say_what_to_do(
    refused: Refused, tmp_path: Path, name: str, data: bytes, advice: str
) -> None:
    (tmp_path / name).write_bytes(data)
    assert advice in refused(tmp_path / name)


def test_an_image_of_absurd_size_is_refused(refused: Refused, tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    (tmp_path / "x.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )
    refused(tmp_path / "x.png")


def test_an_array_header_of_absurd_shape_is_refused(refused: Refused, tmp_path: Path) -> None:
    head = b"{'descr': '<f8', 'fortran_order': False, 'shape': (%d,), }" % (1 << 60)
    head = head.ljust(118) + b"\n"
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head)
    refused(tmp_path / "x.npy")


def test_forced_formats_on_the_wrong_content_are_refused_or_read(load: Load, tmp_path: Path) -> None:
    from cloche_kernel.loading.detect import FORMATS

    pandas.DataFrame({"a": [1]}).to_parquet(tmp_path / "x.parquet")
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    (tmp_path / "x.bin").write_bytes(os.urandom(10_000))
    (tmp_path / "x.empty").write_bytes(b"")
    for path in sorted(tmp_path.iterdir()):
        for name in FORMATS:
            try:
                load(path, format=name)
            except loading.LoadError as error:
                assert 20 < len(str(error)) < 1_200


def test_random_bytes_under_every_name_are_refused_or_read(load: Load, tmp_path: Path) -> None:
    draw = random.Random(11)
    for extension in (
        "csv",
        "json",
        "jsonl",
        "parquet",
        "xlsx",
        "db",
        "txt",
        "html",
        "md",
        "pdf",
        "zip",
        "tar",
        "gz",
        "npy",
        "png",
        "arrow",
    ):
        for length in (1, 3, 100, 70_000):
            path = tmp_path / f"{length}.{extension}"
            path.write_bytes(draw.randbytes(length))
            try:
                text = load(path).profile
            except loading.LoadError as error:
                text = str(error)
            assert all(c == "\n" or c.isprintable() for c in text)
    assert json.dumps(text)

"""Files larger than memory: a lazy relation with the right answers, within the limit; the profile's examples run."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import os
import random
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas
import pyarrow
import pytest
from conftest import Load

from cloche_kernel.loading import delimited, dialect, engine
from cloche_kernel.loading.contract import File

#: so little that every file of these tests is too large
LITTLE = 1_000_000


@pytest.fixture(autouse=True)
def roomy_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # the load believes in little memory, the engine need not starve
    monkeypatch.setattr(engine, "_LEAST", 400_000_000)
    yield


def write(path: Path, rows: int, delimiter: str = ",", encoding: str = "utf-8") -> dict[str, Any]:
    """A file of orders and what a grouped question about it must answer."""
    draw = random.Random(rows)
    sums: dict[str, float] = defaultdict(float)
    low, high = 10**9, -(10**9)
    with open(path, "w", newline="", encoding=encoding) as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["order id", "region", "amount", "day"])
        for index in range(rows):
            region, amount = draw.choice(["north", "süd", "east"]), draw.randrange(-500, 5_000) / 4
            sums[region] += amount
            low, high = min(low, amount), max(high, amount)
            writer.writerow([index, region, amount if index % 10 else "NA", f"2024-0{index % 9 + 1}-11"])
            if index % 10 == 0:
                sums[region] -= amount
    return {"sums": dict(sums), "rows": rows}


def grouped(relation: Any) -> dict[str, float]:
    rows = relation.aggregate("region, sum(amount)", "region").fetchall()
    return {region: amount for region, amount in rows}


def run_examples(profile: str, names: dict[str, Any]) -> list[Any]:
    lines = re.findall(r"^query it: (.*?)(?:  #.*)?$", profile, re.MULTILINE)
    assert lines
    return [eval(line, {"duckdb": duckdb, **names}) for line in lines]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
def test_a_large_csv_becomes_a_relation_with_the_right_answers(
    load: Load, tmp_path: Path, delimiter: str, encoding: str
) -> None:
    truth = write(tmp_path / "x.csv", 30_000, delimiter, encoding)
    loaded = load(tmp_path / "x.csv", name="orders", free=LITTLE)
    assert isinstance(loaded.value, duckdb.DuckDBPyRelation)
    assert grouped(loaded.value) == pytest.approx(truth["sums"])
    assert "lazy DuckDB relation over the file, 30,000 rows × 4 columns" in loaded.profile
    assert "as a DataFrame it would take about" in loaded.profile and "CLOCHE_MEMORY" in loaded.profile
    assert "3,000" in next(line for line in loaded.profile.splitlines() if line.strip().startswith("amount"))
    first, second = run_examples(loaded.profile, {"orders": loaded.value})
    assert len(first) == 3 and second.iloc[0, 0] == 30_000


@pytest.mark.parametrize("suffix", ["gz", "bz2", "zst"])
def test_a_compressed_csv_becomes_a_relation_that_outlives_the_load(load: Load, tmp_path: Path, suffix: str) -> None:
    truth = write(tmp_path / "x.csv", 30_000)
    pack: Callable[[bytes], bytes] = {
        "gz": gzip.compress,
        "bz2": bz2.compress,
        "zst": lambda data: pyarrow.compress(data, codec="zstd", asbytes=True),
    }[suffix]
    (tmp_path / f"x.csv.{suffix}").write_bytes(pack((tmp_path / "x.csv").read_bytes()))
    loaded = load(tmp_path / f"x.csv.{suffix}", free=LITTLE)
    assert grouped(loaded.value) == pytest.approx(truth["sums"])


def test_parquet_json_lines_and_arrays_become_relations(load: Load, tmp_path: Path) -> None:
    truth = write(tmp_path / "x.csv", 30_000)
    frame = pandas.read_csv(tmp_path / "x.csv")
    frame.to_parquet(tmp_path / "x.parquet")
    frame.to_feather(tmp_path / "x.feather")
    records = json.loads(frame.to_json(orient="records"))
    (tmp_path / "x.json").write_text(json.dumps(records))
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, records)))
    for name in ("x.parquet", "x.feather", "x.json", "x.jsonl"):
        loaded = load(tmp_path / name, name="orders", free=LITTLE)
        assert isinstance(loaded.value, duckdb.DuckDBPyRelation), name
        assert grouped(loaded.value) == pytest.approx(truth["sums"]), name
        assert "30,000 rows × 4 columns" in loaded.profile
        run_examples(loaded.profile, {"orders": loaded.value})


def test_a_value_far_down_that_breaks_the_sniffed_type_is_kept(load: Load, tmp_path: Path) -> None:
    rows = [f"{i},{i}\n" for i in range(300_000)]
    rows[-5] = "1.5,x y\n"
    (tmp_path / "x.csv").write_text("number,code\n" + "".join(rows))
    relation = load(tmp_path / "x.csv", free=LITTLE).value
    assert relation.filter("code = 'x y'").fetchall() == [(1.5, "x y")]
    assert relation.aggregate("count(*), sum(number)").fetchall() == [(300_000, sum(range(300_000)) - 299_995 + 1.5)]


def test_no_value_is_changed_to_fit_a_type_that_the_first_rows_suggested(load: Load, tmp_path: Path) -> None:
    """Each column looks like one type for 150,000 rows, then holds a value that a cast would bend."""
    columns = {
        "whole": ("7", "1.5"),
        "exponent": ("7", "15e-1"),
        "date": ("2024-01-02", "2024-01-02 03:04:05"),
        "flag": ("true", "yes"),
        "letter": ("t", "f"),
        "id": ("1.5", "12345678901234567890"),
        "us": ("01/02/2024", "03/04/2024"),
        "nano": ("2024-01-02 03:04:05", "2024-01-02 03:04:05.123456789"),
        "spaced": ("7", "1_000"),
        "zip": ("10115", "01067x"),
    }
    common = ",".join(first for first, _ in columns.values()) + "\n"
    odd = ",".join(last for _, last in columns.values()) + "\n"
    (tmp_path / "x.csv").write_text(",".join(columns) + "\n" + common * 150_000 + odd)
    relation = load(tmp_path / "x.csv", free=LITTLE).value
    last = dict(zip(relation.columns, relation.filter("zip = '01067x'").fetchall()[0], strict=True))
    assert (last["whole"], last["exponent"]) == (1.5, 1.5)
    assert str(last["date"]) == "2024-01-02 03:04:05"
    for name in ("flag", "letter", "id", "us", "nano", "spaced", "zip"):
        assert last[name] == columns[name][1], name


def test_ragged_rows_of_a_large_file_keep_every_field(load: Load, tmp_path: Path) -> None:
    rows = [f"{i},a,b\n" for i in range(200_000)]
    rows[150_000] = '150000,"a,\nb",c,d,e\n'
    rows[160_000] = "160000,a\n"
    (tmp_path / "x.csv").write_text("id,x,y\n" + "".join(rows))
    loaded = load(tmp_path / "x.csv", free=LITTLE)
    assert loaded.value.filter("id = 150000").fetchall() == [(150_000, "a,\nb", "c", "d", "e")]
    assert loaded.value.filter("id = 160000").fetchall() == [(160_000, "a", None, None, None)]
    assert loaded.value.aggregate("count(*)").fetchall() == [(200_000,)]
    assert "1 row longer than the header's 3 fields" in loaded.profile
    assert "1 row shorter than the header" in loaded.profile


def test_a_late_byte_that_is_no_utf8_in_a_large_file(load: Load, tmp_path: Path) -> None:
    rows = [f"{i},plain\n".encode() for i in range(300_000)]
    rows[20_000] = b"20000,caf\xe9\n"
    (tmp_path / "x.csv").write_bytes(b"id,name\n" + b"".join(rows))
    relation = load(tmp_path / "x.csv", free=LITTLE).value
    assert relation.filter("id = 20000").fetchall() == [(20_000, "café")]


def test_column_names_that_differ_only_in_case_stay_apart(load: Load, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,A,a,it's,\n" + "1,2,3,4,5\n" * 50_000)
    relation = load(tmp_path / "x.csv", free=LITTLE).value
    assert relation.limit(1).fetchall() == [(1, 2, 3, 4, 5)]


def test_a_large_log_becomes_a_relation_of_its_lines(load: Load, tmp_path: Path) -> None:
    lines = [f"{i} \"quoted, text' | ; \\ NULL" if i % 3 else f"{i} error" for i in range(60_000)]
    lines[7] = ""
    (tmp_path / "x.log").write_text("\n".join(lines) + "\n")
    loaded = load(tmp_path / "x.log", name="log", free=LITTLE)
    assert loaded.value.columns == ["line"]
    assert [row[0] for row in loaded.value.fetchall()] == [line for line in lines if line]
    assert "empty lines are left out" in loaded.profile
    assert len(eval(re.findall("query it: (.*)", loaded.profile)[0], {"log": loaded.value})) == 20


def test_large_files_with_the_same_columns_become_one_relation(load: Load, tmp_path: Path) -> None:
    sums: dict[str, float] = defaultdict(float)
    for part in (1, 2):
        for region, amount in write(tmp_path / f"{part}.csv", 20_000 + part)["sums"].items():
            sums[region] += amount
    loaded = load(tmp_path / "1.csv", tmp_path / "2.csv", name="both", free=LITTLE)
    assert grouped(loaded.value) == pytest.approx(sums)
    by_file = dict(loaded.value.aggregate("source_file, count(*)", "source_file").fetchall())
    assert by_file == {"1.csv": 20_001, "2.csv": 20_002}
    run_examples(loaded.profile, {"both": loaded.value})


def test_what_has_no_lazy_form_says_how_much_it_needs(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(os.urandom(900_000))
    (tmp_path / "x.json").write_text(json.dumps({str(i): i for i in range(50_000)}))
    for name in ("x.bin", "x.json"):
        text = refused(tmp_path / name, free=LITTLE)
        assert "would take about" in text and "Raise `memory`" in text


def test_large_parquet_files_with_the_same_columns_become_one_relation(load: Load, tmp_path: Path) -> None:
    for part in (1, 2):
        pandas.DataFrame({"region": ["n", "s"] * 50_000, "amount": range(100_000)}).to_parquet(
            tmp_path / f"{part}.parquet"
        )
    loaded = load(tmp_path / "1.parquet", tmp_path / "2.parquet", free=LITTLE)
    assert grouped(loaded.value) == {"n": 2 * sum(range(0, 100_000, 2)), "s": 2 * sum(range(1, 100_000, 2))}
    assert loaded.value.columns == ["region", "amount", "source_file"]


@pytest.mark.parametrize("kind", ["numbers", "words", "dates", "few"])
def test_the_estimate_is_near_the_frame(tmp_path: Path, kind: str) -> None:
    draw = random.Random(5)
    cell: Callable[[], str] = {
        "numbers": lambda: str(draw.randrange(10**9)),
        "words": lambda: "".join(draw.choices("abcdefghij ", k=30)),
        "dates": lambda: f"2024-01-{draw.randrange(10, 28)} 11:00:00",
        "few": lambda: draw.choice(["a", "", "1"]),
    }[kind]
    path = tmp_path / "x.csv"
    path.write_text("a,b,c\n" + "".join(f"{cell()},{cell()},{cell()}\n" for _ in range(200_000)))
    file = File(str(path), "x.csv", str(path), path.stat().st_size, "x")
    expected = delimited.estimate(file, dialect.detect(file, False))
    assert expected / pandas.read_csv(path).memory_usage(deep=True).sum() == pytest.approx(1, abs=0.25)


def session(limit: int, path: Path, scratch: Path, cells: list[str]) -> dict[str, Any]:
    request = {
        "name": "orders",
        "directory": False,
        "sources": [{"path": str(path), "label": path.name, "size": path.stat().st_size}],
    }
    order = {"limit": limit, "scratch": str(scratch), "request": request, "cells": cells}
    environment = {
        **os.environ,
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "OPENBLAS_NUM_THREADS": "1",
        "JE_ARROW_MALLOC_CONF": "background_thread:false",
    }
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("session.py"))],
        input=json.dumps(order), capture_output=True, text=True, timeout=300, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2_000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_an_interrupt_ends_a_long_load_at_once_and_leaves_no_file(tmp_path: Path, scratch_directory: Path) -> None:
    write(tmp_path / "seed.csv", 40_000)
    head, _, rows = (tmp_path / "seed.csv").read_bytes().partition(b"\n")
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(head + b"\n" + rows * 100, 1))
    program = f"""
import os, signal, sys, threading, time
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[3] / "sandbox")!r}]
import duckdb
from cloche_kernel import loading
from cloche_kernel.loading import lazy, scratch
from conftest import FreeMemory
scratch.SCRATCH = {str(scratch_directory)!r}
prove = lazy.proof.prove
def interrupted(*arguments):
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    interrupted.at = time.monotonic()
    return prove(*arguments)
lazy.proof.prove = interrupted
source = {{"path": {str(path)!r}, "label": "x.csv.gz", "size": {path.stat().st_size}}}
try:
    loading.load({{"name": "x", "directory": False, "sources": [source]}}, FreeMemory(100_000_000))
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - interrupted.at < 2, duckdb.sql("SELECT 1").fetchall())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "interrupted True [(1,)]", done.stderr[-2_000:]
    assert list(scratch_directory.glob("load-*")) == []


def test_a_csv_larger_than_a_real_limit_is_loaded_and_questioned_within_it(
    tmp_path: Path, scratch_directory: Path
) -> None:
    path = tmp_path / "orders.csv"
    truth = write(tmp_path / "seed.csv", 40_000)
    body = (tmp_path / "seed.csv").read_bytes()
    head, _, rows = body.partition(b"\n")
    copies = 180
    with open(path, "wb") as file:
        file.write(head + b"\n")
        for _ in range(copies):
            file.write(rows)
    limit = 384 << 20
    answer = session(
        limit,
        path,
        scratch_directory,
        ["answer = dict(orders.aggregate('region, sum(amount)', 'region').fetchall())",
         "import duckdb; answer = duckdb.sql('SELECT count(DISTINCT \"order id\") FROM orders').fetchall()"],
    )  # fmt: skip
    assert "7,200,000 rows" in answer["profile"]
    assert answer["results"][0] == pytest.approx({region: amount * copies for region, amount in truth["sums"].items()})
    assert answer["results"][1] == [[40_000]]
    assert answer["peak"] < limit
    assert path.stat().st_size > 200_000_000


def test_a_frame_that_fits_is_read_without_exceeding_the_limit(tmp_path: Path, scratch_directory: Path) -> None:
    path = tmp_path / "orders.csv"
    write(path, 500_000)
    limit = 1 << 30
    answer = session(limit, path, scratch_directory, ["answer = type(orders).__name__"])
    assert answer["results"] == ["DataFrame"]
    assert answer["peak"] < limit

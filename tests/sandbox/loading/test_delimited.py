"""CSV and its relatives: values equal pandas.read_csv, nothing is lost or changed without a word."""

from __future__ import annotations

import csv
import math
import random
from pathlib import Path

import pandas
import pytest
from conftest import Load

from cloche_kernel import loading


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def test_a_plain_csv_equals_pandas_and_the_profile_states_its_facts(load: Load, tmp_path: Path) -> None:
    draw = random.Random(7)
    rows = [
        (i, draw.choice(["north", "south"]), round(draw.uniform(-5, 100), 2), draw.choice(["", "a, b", 'c"d']))
        for i in range(5_000)
    ]
    path = tmp_path / "sales.csv"
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("id", "region", "amount", "note"), *rows])
    loaded = load(path, name="sales")
    pandas.testing.assert_frame_equal(loaded.value, pandas.read_csv(path))
    amounts = [row[2] for row in rows]
    empty = sum(row[3] == "" for row in rows)
    assert "sales: DataFrame, 5,000 rows × 4 columns" in loaded.profile
    assert "csv (by content and extension), utf-8, delimiter comma" in loaded.profile
    assert f"{min(amounts):.6g} … {max(amounts):.6g}" in loaded.profile
    assert "0 … 4,999" in loaded.profile
    assert f"{empty:,}" in next(line for line in loaded.profile.splitlines() if line.strip().startswith("note"))
    assert "2 distinct: " in loaded.profile


@pytest.mark.parametrize(("delimiter", "name"), [(",", "comma"), (";", "semicolon"), ("\t", "tab"), ("|", "pipe")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_delimiter_and_encoding_are_found_and_said(
    load: Load, tmp_path: Path, delimiter: str, name: str, encoding: str
) -> None:
    rows = [("Stadt", "Menge"), ("Köln", "12"), ("Düsseldorf", "7"), ("Münster", "1000")]
    path = write(tmp_path / "x.csv", "".join(delimiter.join(row) + "\n" for row in rows), encoding)
    loaded = load(path)
    assert loaded.value["Stadt"].tolist() == ["Köln", "Düsseldorf", "Münster"]
    assert loaded.value["Menge"].tolist() == [12, 7, 1000]
    assert f"delimiter {name}" in loaded.profile
    assert encoding in loaded.profile


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1250", "imię,miasto\nŁukasz,Kraków\nŻaneta,Gdańsk\nŚwięty,Łódź\n"),
        ("cp1251", "имя,город\nИван,Москва\nПётр,Санкт-Петербург\n"),
        ("koi8_r", "имя,город\nИван,Москва\nПётр,Санкт-Петербург\n"),
        ("cp1253", "όνομα,πόλη\nΓιώργος,Αθήνα\n"),
        ("cp1254", "isim,şehir\nİbrahim,İstanbul\nIşık,Muğla\n"),
        ("shift_jis", "名前,都市\n田中,東京\n鈴木,大阪\n" * 3),
        ("gb18030", "名字,城市\n张伟,北京\n王芳,上海\n" * 3),
        ("euc_kr", "이름,도시\n김철수,서울\n" * 3),
    ],
)
def test_other_code_pages_are_read_as_written(load: Load, tmp_path: Path, encoding: str, text: str) -> None:
    loaded = load(write(tmp_path / "x.csv", text, encoding))
    lines = [line.split(",") for line in text.splitlines()]
    assert list(loaded.value.columns) == lines[0]
    assert loaded.value.iloc[0].tolist() == lines[1]
    assert "guessed from its bytes" in loaded.profile


def test_a_byte_that_is_no_utf8_far_behind_the_samples_does_not_end_the_load(load: Load, tmp_path: Path) -> None:
    # the beginning and the sampled spots are ASCII; the odd byte lies between them
    rows = ["i,name\n", *(f"{i},plain\n" for i in range(400_000))]
    rows[30_000] = "30000,caf\xe9\n"
    path = tmp_path / "late.csv"
    path.write_bytes("".join(rows).encode("latin-1"))
    loaded = load(path)
    assert loaded.value.shape == (400_000, 2)
    assert loaded.value["name"].iloc[29_999] == "café"
    assert "cp1252" in loaded.profile or "latin-1" in loaded.profile


def test_mostly_utf8_stays_utf8_and_says_which_bytes_were_replaced(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"stadt\n" + "Köln\n".encode() * 50 + b"K\xf6ln\n")
    loaded = load(path)
    assert loaded.value["stadt"].tolist() == ["Köln"] * 50 + ["K\ufffdln"]
    assert "not UTF-8 read as" in loaded.profile


def test_decimal_commas_become_numbers(load: Load, tmp_path: Path) -> None:
    loaded = load(write(tmp_path / "x.csv", "ort;preis\nKöln;1,5\nBonn;-20,25\nUlm;3\n"))
    assert loaded.value["preis"].tolist() == [1.5, -20.25, 3.0]
    assert "decimal comma" in loaded.profile


def test_rows_longer_than_the_header_keep_every_field(load: Load, tmp_path: Path) -> None:
    text = "a,b,c\n1,2,3\n4,5,6,7\n8,9,10\n11,12,13,14,15\n"
    loaded = load(write(tmp_path / "x.csv", text))
    assert loaded.value["a"].tolist() == [1, 4, 8, 11]
    assert loaded.value["extra_1"].fillna(-1).tolist() == [-1, 7, -1, 14]
    assert loaded.value["extra_2"].fillna(-1).tolist() == [-1, -1, -1, 15]
    assert "2 rows longer than the header's 3 fields (first at row 3, 5)" in loaded.profile
    assert "no row was dropped" in loaded.profile


def test_long_rows_after_a_quoted_header_of_two_lines(load: Load, tmp_path: Path) -> None:
    loaded = load(write(tmp_path / "x.csv", '\n"a\nx",b,c\n1,2,3\n4,5,6,7\n8\n'))
    assert loaded.value["a\nx"].tolist() == [1, 4, 8]
    assert loaded.value["extra_1"].dropna().tolist() == [7]


def test_short_rows_are_counted(load: Load, tmp_path: Path) -> None:
    loaded = load(write(tmp_path / "x.csv", "a,b,c\n1,2,3\n4,5\n6\n7,8,\n9,9,9\n"))
    assert loaded.value.shape == (5, 3)
    assert "2 rows shorter than the header (first at row 3, 4)" in loaded.profile


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_empty_last_fields_are_not_called_short_rows(load: Load, tmp_path: Path, end: str) -> None:
    loaded = load(write(tmp_path / "x.csv", end.join(["a,b", "1,", "2,x", "3,", "4,"])))
    assert loaded.value["b"].isna().sum() == 3
    assert "shorter" not in loaded.profile


def test_a_delimiter_at_the_end_of_every_row_shifts_no_column(load: Load, tmp_path: Path) -> None:
    loaded = load(write(tmp_path / "x.csv", "a,b,c\n1,2,3,\n4,5,6,\n"))
    assert loaded.value.to_dict("list") == {"a": [1, 4], "b": [2, 5], "c": [3, 6]}
    assert "ends with a delimiter" in loaded.profile


def test_an_unnamed_first_column_becomes_the_index_as_in_pandas_and_is_said(load: Load, tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "a,b\nr1,1,2\nr2,3,4\n")
    loaded = load(path)
    pandas.testing.assert_frame_equal(loaded.value, pandas.read_csv(path))
    assert "the first became the index" in loaded.profile


def test_a_quote_that_is_never_closed_loses_no_row(load: Load, tmp_path: Path) -> None:
    loaded = load(write(tmp_path / "x.csv", 'a,b\nx,1\n"open,2\ny,3\n'))
    assert loaded.value["a"].tolist() == ["x", '"open', "y"]
    assert "never closed" in loaded.profile


def test_lines_before_the_header_are_set_aside_and_shown(load: Load, tmp_path: Path) -> None:
    body = "".join(f"{i},{i * 2},x{i}\n" for i in range(40))
    loaded = load(write(tmp_path / "x.csv", f"Report of May\nconfidential\n\nid,double,name\n{body}"))
    assert list(loaded.value.columns) == ["id", "double", "name"]
    assert loaded.value["double"].sum() == sum(i * 2 for i in range(40))
    assert "2 lines before the header set aside: 'Report of May', 'confidential'" in loaded.profile


def test_a_first_line_of_data_is_pointed_out(load: Load, tmp_path: Path) -> None:
    loaded = load(write(tmp_path / "x.csv", "1,2\n3,4\n"))
    assert "looks like data" in loaded.profile and "header=None" in loaded.profile


def test_ten_thousand_columns_are_counted_not_listed(load: Load, tmp_path: Path) -> None:
    header = ",".join(f"c{i}" for i in range(10_000))
    row = ",".join(str(i) for i in range(10_000))
    loaded = load(write(tmp_path / "wide.csv", f"{header}\n{row}\n{row}\n"))
    assert loaded.value.shape == (2, 10_000)
    assert loaded.value["c9999"].tolist() == [9999, 9999]
    assert "9,940 more columns (9,940 int64)" in loaded.profile
    assert len(loaded.profile) <= 6_000


def test_long_values_and_names_do_not_make_a_long_profile(load: Load, tmp_path: Path) -> None:
    header = ",".join(f"{'n' * 300}{i}" for i in range(80))
    row = ",".join("v" * 5_000 for _ in range(80))
    loaded = load(write(tmp_path / "x.csv", f"{header}\n{row}\n"))
    assert len(loaded.profile) <= 6_000
    assert "left out" in loaded.profile
    assert loaded.value.iloc[0, 79] == "v" * 5_000


def test_control_and_bidi_characters_leave_the_profile_escaped(load: Load, tmp_path: Path) -> None:
    evil = "\x1b[2J\x1b]0;owned\x07 \u202eabc\u2066 \x9b31m \u2028"
    loaded = load(write(tmp_path / "x.csv", f"na\x1bme,b\n{evil},1\n"))
    assert loaded.value.iloc[0, 0] == evil.rstrip("\u2028").rstrip() or loaded.value.iloc[0, 0] == evil
    assert all(c == "\n" or c.isprintable() for c in loaded.profile)
    assert "\\x1b[2J" in loaded.profile and "\\u202e" in loaded.profile


def test_a_hostile_label_leaves_the_profile_escaped(load: Load, tmp_path: Path) -> None:
    path = write(tmp_path / "a\x1b[31m\u202eb.csv", "a\n1\n")
    assert all(c == "\n" or c.isprintable() for c in load(path).profile)


def test_odd_values_are_described(load: Load, tmp_path: Path) -> None:
    text = (
        "huge,inf,flag,dup,dup,mixed,nothing\n" + "99999999999999999999999,inf,True,1,2,7,\n" + "1,-1.5,False,3,4,x,\n"
    )
    path = write(tmp_path / "x.csv", text)
    loaded = load(path)
    pandas.testing.assert_frame_equal(loaded.value, pandas.read_csv(path))
    assert "1 infinite" in loaded.profile and "1 true, 1 false" in loaded.profile and "all null" in loaded.profile
    assert "dup.1" in loaded.profile
    assert math.isinf(loaded.value["inf"].iloc[0])


def test_zero_bytes_inside_fields_survive(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"a,b\n1\x00,2\nx,3\n" + b"plain,4\n" * 300)
    loaded = load(path)
    assert loaded.value["a"].iloc[0] == "1\x00"
    assert "\x00" not in loaded.profile


def test_dates_stay_text_and_are_pointed_out(load: Load, tmp_path: Path) -> None:
    loaded = load(write(tmp_path / "x.csv", "day\n2024-02-29\n2023-01-01\n"), name="t")
    assert loaded.value["day"].tolist() == ["2024-02-29", "2023-01-01"]
    assert "dates 2023-01-01 … 2024-02-29 as text: pd.to_datetime(t['day'])" in loaded.profile


def test_dropped_leading_zeros_are_pointed_out(load: Load, tmp_path: Path) -> None:
    loaded = load(write(tmp_path / "x.csv", "plz,ort\n01067,Dresden\n10115,Berlin\n"))
    assert loaded.value["plz"].tolist() == [1067, 10115]
    assert "leading zeros were dropped, as pandas does, in 'plz'" in loaded.profile


@pytest.mark.parametrize(
    ("text", "shape"), [("", (0, 0)), ("a,b\n", (0, 2)), ("a\n1\n2\n", (2, 1)), ("a,b", (0, 2)), ("\n\n", (0, 0))]
)
def test_nearly_nothing_is_a_frame_too(load: Load, tmp_path: Path, text: str, shape: tuple[int, int]) -> None:
    loaded = load(write(tmp_path / "x.csv", text))
    assert loaded.value.shape == shape


@pytest.mark.parametrize("extension", ["txt", "dat", ""])
def test_rows_without_a_telling_name_are_recognised(load: Load, tmp_path: Path, extension: str) -> None:
    path = write(tmp_path / f"x.{extension}", "a\tb\n" + "".join(f"{i}\tv{i}\n" for i in range(10)))
    assert list(load(path).value.columns) == ["a", "b"]


def test_a_wrong_extension_is_said(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "really-parquet.csv"
    pandas.DataFrame({"a": [1, 2]}).to_parquet(path)
    loaded = load(path)
    assert loaded.value["a"].tolist() == [1, 2]
    assert "parquet (by content, although its name ends in .csv)" in loaded.profile


def test_a_format_named_by_the_caller_wins_and_an_unknown_one_lists_all(
    load: Load, refused: object, tmp_path: Path
) -> None:
    path = write(tmp_path / "x.csv", "a,b\n1,2\n")
    assert load(path, format="text").value == "a,b\n1,2\n"
    with pytest.raises(loading.LoadError, match=r"parquet.*sqlite"):
        load(path, format="cvs")


def test_a_first_column_that_became_the_index_is_said(load: Load, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("amount\n1,234\n2,500\n")
    loaded = load(tmp_path / "x.csv")
    assert loaded.value["amount"].tolist() == [234, 500]
    assert "the first became the index" in loaded.profile

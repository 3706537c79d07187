"""What cells did to DuckDB's default connection, to which no variable leads, is kept, or named as not kept."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[3] / "sandbox"))

from session import Session, Store, Warm

from cloche_kernel.checkpoints.default_database import NAME

_START = "import duckdb\nxs = [1]\nask = lambda query: print(duckdb.sql(query).fetchall())"


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    made = Warm()
    yield made
    made.close()


@pytest.fixture
def session(warm: Warm, tmp_path: Path) -> Iterator[Session]:
    made = Session(warm, Store(tmp_path))
    made.run(_START)
    yield made
    made.end()


@pytest.mark.parametrize(
    ("cell", "query", "answer"),
    [
        ("duckdb.sql('create table t as select 5 a')", "from t", "[(5,)]"),
        ("def f(): duckdb.execute('create table t as select 5 a')\nf()", "from t", "[(5,)]"),
        ("getattr(__import__('duck' + 'db'), 'sql')('create table t as select 5 a')", "from t", "[(5,)]"),
        ("duckdb.sql('create macro twice(a) as 2 * a')", "select twice(4)", "[(8,)]"),
        ("duckdb.sql('create view v as select 7')", "from v", "[(7,)]"),
        ("duckdb.sql('create schema s; create sequence s.n start 3')", "select nextval('s.n')", "[(3,)]"),
        ("duckdb.sql(\"create type e as enum ('b')\")", "select 'b'::e", "[('b',)]"),
        (
            "duckdb.set_default_connection(duckdb.connect()); duckdb.sql('create table t as select 6')",
            "from t",
            "[(6,)]",
        ),
    ],
)
def test_what_a_cell_made_there_comes_back_and_goes(session: Session, cell: str, query: str, answer: str) -> None:
    session.run(cell)
    session.run("xs.append(2)")
    made, look = session.cell, f"ask({query!r})"
    session.reset(1)
    assert session.run(look).error == "CatalogException"
    session.reset(made)
    assert session.run(look).output == f"{answer}\n"
    session.reset(made)
    session.kill()
    assert session.run(look).output == f"{answer}\n"
    assert session.lost() == frozenset()
    session.reset(1)
    assert session.run(look).error == "CatalogException"


def test_a_setting_comes_back_and_goes(session: Session) -> None:
    session.run("duckdb.sql(\"set TimeZone = 'Asia/Tokyo'\")")
    session.reset(1)
    look = "print(duckdb.sql(\"select current_setting('TimeZone') = 'Asia/Tokyo'\").fetchall()[0][0])"
    assert session.run(look).output == "False\n"
    session.reset(2)
    session.kill()
    assert session.run(look).output == "True\n"


def test_each_state_has_its_own_rows(session: Session) -> None:
    session.run("duckdb.sql('create table t(a int)')")
    for number in range(3):
        session.run(f"duckdb.sql('insert into t values ({number})')")
    for cell, rows in ((3, "[(0,)]"), (5, "[(0,), (1,), (2,)]"), (2, "[]"), (4, "[(0,), (1,)]")):
        session.reset(cell)
        assert session.run("ask('from t')").output == f"{rows}\n"


def test_a_variable_that_asks_it_still_asks_the_same_one(session: Session) -> None:
    session.run("early = duckdb.sql('select 1'); mine = duckdb.default_connection()")
    session.run("duckdb.sql('create table t as select 5 a'); rows = duckdb.sql('from t')")
    session.run("duckdb.sql('insert into t values (6)')")
    made = session.cell
    session.kill()
    session.run("mine.execute('insert into t values (7)').fetchall()")
    session.run("xs.append(3)")
    seen = "ask('from t'); print(rows.fetchall(), early.fetchall(), mine is duckdb.default_connection())"
    assert session.run(seen).output == "[(5,), (6,), (7,)]\n[(5,), (6,), (7,)] [(1,)] True\n"
    session.reset(made)
    assert session.run(seen).output == "[(5,), (6,)]\n[(5,), (6,)] [(1,)] True\n"
    assert session.lost() == frozenset()


def test_a_question_to_large_tables_copies_none_of_them(session: Session) -> None:
    session.run("duckdb.sql('create table t as select range a, hash(range) b from range(300_000)')")
    assert session.sent > 1_000_000
    session.run("ask('select count(*) from t')")
    assert session.sent < 1_000
    session.run("duckdb.sql('update t set a = -1 where a = 5')")
    assert session.sent > 100_000
    session.run("duckdb.sql('update t set a = -2 where a = -1')")
    made = session.cell
    session.run("duckdb.sql('drop table t')")
    session.reset(made)
    assert session.run("ask('select min(a), count(*) from t')").output == "[(-2, 300000)]\n"


def test_what_was_only_asked_costs_nothing_of_the_state(session: Session) -> None:
    session.run("import pandas as pd; df = pd.DataFrame({'a': [1]}); ask('select 1')")
    session.run("ask('from df')")
    assert NAME not in session.lost() and session.sent < 2_000
    assert session.head is not None
    session.run("xs[0]")
    assert session.sent == 0


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("duckdb.sql('create temp table t as select 1')", "temporary tables"),
        ("import pandas as pd; duckdb.register('t', pd.DataFrame({'a': [1]}))", "registered frames"),
        ("duckdb.execute('begin'); duckdb.execute('create table t as select 1')", "in the middle of a transaction"),
        ("duckdb.sql(\"attach 'x.db' as other; create table t as select 1\")", "to a database file"),
        ("cursor = duckdb.default_connection().cursor(); cursor.execute('create table t as select 1')", "two duckdb"),
    ],
)
def test_what_cannot_be_kept_is_named_once_and_said_on_the_way_back(session: Session, cell: str, reason: str) -> None:
    session.run(cell)
    session.run("xs.append(2)")
    assert session.head is not None
    entry = session.head.lost[NAME]
    assert reason in entry["reason"] and entry["cell"] == 2
    answer = session.reset(1)
    assert answer["notes"] == []
    answer = session.reset(3)
    assert [reason in note for note in answer["notes"]] == [True]
    assert session.run("duckdb.sql('from t')").error == "CatalogException"
    session.run("duckdb.sql('create table t as select 9')")
    assert NAME not in session.lost()
    session.kill()
    assert session.run("ask('from t')").output == "[(9,)]\n"


def test_it_stays_itself_where_nothing_happened_since(session: Session) -> None:
    session.run("duckdb.sql('create temp table t as select 1')")
    session.run("xs.append(2)")
    assert session.reset(2)["notes"] == []
    assert session.run("ask('from t')").output == "[(1,)]\n"

"""SQLite and DuckDB files, opened read-only: a mapping of table names whose tables are queried, not loaded."""

from __future__ import annotations

import sqlite3
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cloche_kernel.loading import engine, wording
from cloche_kernel.loading.contract import File, LoadError, Memory, Session, Value

#: tables described in full, and columns of each
_LISTED = 40
_COLUMNS = 30
#: said of a view instead of its rows: it is a query, which may take for ever
_VIEW = "view, rows not counted"
#: seconds spent on counting rows before the rest is left uncounted
_PATIENCE = 10.0


class SqliteTable:
    """One table or view of a SQLite file; nothing is read before it is asked for."""

    def __init__(self, database: SqliteDatabase, name: str) -> None:
        self.database = database
        self.name = name

    @property
    def columns(self) -> list[str]:
        return [row[1] for row in self.database.connection.execute(f"PRAGMA table_xinfo({engine.quoted(self.name)})")]

    def df(self) -> Any:
        """The whole table as a DataFrame."""
        return self.database.sql(f"SELECT * FROM {engine.quoted(self.name)}")

    def head(self, rows: int = 5) -> Any:
        """The first rows as a DataFrame."""
        return self.database.sql(f"SELECT * FROM {engine.quoted(self.name)} LIMIT {int(rows)}")

    def __len__(self) -> int:
        row = self.database.connection.execute(f"SELECT count(*) FROM {engine.quoted(self.name)}").fetchone()
        return int(row[0])

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<table {self.name!r} of {self.database!r}: .df(), .head(n), .columns, len()>"


class SqliteDatabase(Mapping[str, SqliteTable]):
    """A SQLite file, read-only. `db.tables`, `db["table"].df()`, `db.sql("SELECT … WHERE x = ?", [1])` → DataFrame."""

    def __init__(self, path: str) -> None:
        self.path = path
        # immutable: no journal is looked for and no lock taken, so that a read-only mount serves
        uri = f"file:{urllib.parse.quote(path)}?mode=ro&immutable=1"
        self.connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
        self.connection.execute("PRAGMA trusted_schema = OFF")
        self.connection.text_factory = _text

    @property
    def tables(self) -> list[str]:
        """Tables and views, by name."""
        return sorted(self.kinds())

    def kinds(self) -> dict[str, str]:
        """Name → "table" or "view"."""
        query = (
            "SELECT name, type FROM sqlite_master "
            "WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
        )
        return dict(self.connection.execute(query))

    def sql(self, query: str, parameters: Sequence[Any] = ()) -> Any:
        """The rows of a query as a DataFrame."""
        import pandas

        cursor = self.connection.execute(query, parameters)
        names = [entry[0] for entry in cursor.description or ()]
        return pandas.DataFrame(cursor.fetchall(), columns=names)

    def __getitem__(self, name: str) -> SqliteTable:
        if name not in self.tables:
            raise KeyError(name)
        return SqliteTable(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tables)

    def __len__(self) -> int:
        return len(self.tables)

    def __repr__(self) -> str:
        return f"<SQLite database {self.path}, {len(self)} tables>"

    def __reduce__(self) -> tuple[type[SqliteDatabase], tuple[str]]:
        return SqliteDatabase, (self.path,)


class DuckDatabase(Mapping[str, Any]):
    """A DuckDB file, read-only. `db.tables`, `db["table"]` → lazy relation, `db.sql("SELECT …")` → DataFrame."""

    def __init__(self, path: str, settings: dict[str, str]) -> None:
        import duckdb

        self.path = path
        self._settings = settings
        self.connection = duckdb.connect(path, read_only=True, config=dict(settings))

    @property
    def tables(self) -> list[str]:
        """Tables and views; those outside the schema main as "schema.table"."""
        return sorted(self.kinds())

    def kinds(self) -> dict[str, str]:
        """Name → "table" or "view"."""
        query = (
            "SELECT CASE WHEN table_schema = 'main' THEN table_name ELSE table_schema || '.' || table_name END, "
            "CASE WHEN table_type = 'VIEW' THEN 'view' ELSE 'table' END "
            "FROM information_schema.tables WHERE table_catalog = current_database()"
        )
        return dict(self.connection.execute(query).fetchall())

    def sql(self, query: str, parameters: Sequence[Any] | None = None) -> Any:
        """The rows of a query as a DataFrame."""
        return self.connection.execute(query, parameters).df()

    def __getitem__(self, name: str) -> Any:
        if name not in self.tables:
            raise KeyError(name)
        schema, _, table = name.rpartition(".")
        if schema and name not in self._plain():
            return self.connection.sql(f"SELECT * FROM {engine.quoted(schema)}.{engine.quoted(table)}")
        return self.connection.sql(f"SELECT * FROM main.{engine.quoted(name)}")

    def _plain(self) -> set[str]:
        query = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main'"
        return {row[0] for row in self.connection.execute(query).fetchall()}

    def __iter__(self) -> Iterator[str]:
        return iter(self.tables)

    def __len__(self) -> int:
        return len(self.tables)

    def __repr__(self) -> str:
        return f"<DuckDB database {self.path}, {len(self)} tables>"

    def __reduce__(self) -> tuple[type[DuckDatabase], tuple[str, dict[str, str]]]:
        return DuckDatabase, (self.path, self._settings)


def load_sqlite(file: File, session: Session) -> Value:
    """A SqliteDatabase; its profile lists tables, rows and columns."""
    _keep(file, session)
    try:
        database = SqliteDatabase(file.path)
        names = database.tables
        lines = _describe_sqlite(database, names)
    except sqlite3.Error as error:
        raise LoadError(
            f"{wording.clean(file.label)} could not be read as a SQLite database: {wording.reason(error, 200)}.",
            "It may be damaged or encrypted; check it with `sqlite3 FILE 'PRAGMA integrity_check'` on the host.",
        ) from error
    return _value(database, names, "SQLite", lines, file)


def load_duckdb(file: File, session: Session) -> Value:
    """A DuckDatabase; its profile lists tables, rows and columns."""
    import duckdb

    _keep(file, session)
    try:
        database = DuckDatabase(file.path, _settings(session.memory))
        names = database.tables
        lines = _describe_duckdb(database, names)
    except duckdb.Error as error:
        raise LoadError(
            f"{wording.clean(file.label)} could not be read as a DuckDB database: "
            f"{wording.clip(engine.first_line(error), 200)}.",
            "A file of a newer DuckDB, or one not closed properly, must be opened and checkpointed on the host first.",
        ) from error
    return _value(database, names, "DuckDB", lines, file)


def _value(database: Any, names: list[str], kind: str, lines: list[str], file: File) -> Value:
    table = f"[{names[0]!r}].df()" if names else ".tables"
    how = f"{file.expression}.sql('SELECT …') gives a DataFrame, as does {file.expression}{wording.clip(table, 80)}"
    return Value(database, f"{kind} database, read-only, {wording.plural(len(names), 'table')}", [], [], [how, *lines])


def _settings(memory: Memory) -> dict[str, str]:
    return engine.settings(memory)


def _keep(file: File, session: Session) -> None:
    if file.path != file.origin:
        session.scratch.keep(file.path)


def _text(value: bytes) -> str:
    """Text of a SQLite value; bytes that are not UTF-8 survive as escapes instead of ending the query."""
    return value.decode("utf-8", "backslashreplace")


def _describe_sqlite(database: SqliteDatabase, names: list[str]) -> list[str]:
    lines = []
    kinds = database.kinds()
    deadline = time.monotonic() + _PATIENCE
    database.connection.set_progress_handler(lambda: int(time.monotonic() > deadline), 100_000)
    try:
        for name in names[:_LISTED]:
            try:
                columns = [
                    f"{row[1]} {row[2]}".strip()
                    for row in database.connection.execute(f"PRAGMA table_xinfo({engine.quoted(name)})")
                ]
                count = _VIEW if kinds[name] == "view" else wording.plural(len(database[name]), "row")
            except sqlite3.Error as error:
                if "malformed" in str(error) or "not a database" in str(error):
                    raise
                count = "not counted" if "interrupt" in str(error) else wording.clip(str(error), 80)
                columns = []
            lines.append(_line(name, count, columns))
    finally:
        database.connection.set_progress_handler(None, 0)
    return _with_rest(lines, names)


def _describe_duckdb(database: DuckDatabase, names: list[str]) -> list[str]:
    import duckdb

    lines = []
    kinds = database.kinds()
    for name in names[:_LISTED]:
        try:
            if kinds[name] == "view":
                columns, count = _view_columns(database, name), _VIEW
            else:
                relation = database[name]
                columns = [f"{column} {kind}" for column, kind in zip(relation.columns, relation.types, strict=True)]
                count = wording.plural(int(relation.aggregate("count(*)").fetchall()[0][0]), "row")
        except duckdb.Error as error:
            columns, count = [], wording.clip(engine.first_line(error), 80)
        lines.append(_line(name, count, columns))
    return _with_rest(lines, names)


def _view_columns(database: DuckDatabase, name: str) -> list[str]:
    """Columns as the file states them: to ask the view itself would open what it reads."""
    query = (
        "SELECT column_name || ' ' || data_type FROM information_schema.columns "
        "WHERE table_catalog = current_database() "
        "AND ? IN (table_schema || '.' || table_name, CASE WHEN table_schema = 'main' THEN table_name END) "
        "ORDER BY ordinal_position"
    )
    return [row[0] for row in database.connection.execute(query, [name]).fetchall()]


def _line(name: str, count: str, columns: list[str]) -> str:
    listed = wording.listed([wording.clip(column, 60) for column in columns], _COLUMNS, "more columns")
    return f"  {wording.clip(name, 60)}: {count}; {listed}"


def _with_rest(lines: list[str], names: list[str]) -> list[str]:
    rest = names[_LISTED:]
    if not rest:
        return lines
    return [*lines, f"  … {len(rest):,} more tables: {wording.listed([wording.clip(name, 40) for name in rest], 40)}"]

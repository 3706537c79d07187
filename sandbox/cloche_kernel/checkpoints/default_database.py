"""
DuckDB's default connection, which no variable has to lead to: whether a cell asked anything of it and so changed it,
and whether it holds what a state has to keep. It is kept as a variable is, under a name of its own.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Container
from typing import Any

NAME = "\0duckdb's default connection"

#: settings that the machine gives, and not the session
OF_THE_MACHINE = ("memory_limit", "max_memory", "threads", "worker_threads", "temp_directory", "write_buffer")
#: what the session made in it, but for the rows
_CATALOG = (
    "select database_name, path from duckdb_databases() where not internal",
    "select schema_name from duckdb_schemas() where not internal and schema_name <> 'main'",
    "select schema_name, table_name, temporary, sql from duckdb_tables() order by all",
    "select schema_name, view_name, sql from duckdb_views() where not internal order by all",
    "select schema_name, index_name, sql from duckdb_indexes() order by all",
    "select schema_name, sequence_name, sql, last_value from duckdb_sequences() order by all",
    "select schema_name, type_name, labels, logical_type from duckdb_types() where not internal order by all",
    "select schema_name, function_name, parameters, macro_definition from duckdb_functions() where not internal "
    "order by all",
    "select name, value from duckdb_settings() order by all",
)
_HARD_TO_KEEP = """
    select 1 from duckdb_tables() where temporary
    union all select 1 from duckdb_views() where temporary and not internal
    union all select 1 from duckdb_databases() where not internal and (path is not null or database_name <> 'memory')"""


class DefaultDatabase:
    def __init__(self) -> None:
        #: another number after each cell that changed anything
        self.edition = 1
        #: a value that was read back made its connection the default one
        self.was_read = False
        self._connection: Any = None
        #: number of its next transaction, where nothing is asked meanwhile
        self._next = 0
        self._moved = False
        self._holds = False
        #: what tells that it changed: now, and where nothing was done with it; None: not known
        self._print: list[Any] | None = None
        self._empty: list[Any] | None = None

    def begin(self) -> None:
        """DuckDB was imported and fitted to the sandbox, and nothing else was asked of it."""
        self.rebase(False)

    def moved(self) -> bool:
        """Whether anything was asked of it, or another took its place, since `rebase` or `look`."""
        if not _is_loaded():
            return False
        connection = _connection()
        if connection is None or connection is not self._connection:
            return connection is not self._connection
        number, expected = _transaction(connection), self._next
        self._next = number + 1
        self._moved |= number != expected
        return self._moved

    def look(self) -> dict[str, Any]:
        """After a cell: where it changed, what there is to keep."""
        if not self.moved():
            return {}
        connection = _connection()
        now = _print_of(connection)
        if now is None or now != self._print or connection is not self._connection:
            self.edition += 1
            self._print = now
            self.rebase(connection is not None and (now is None or now != self._print_of_empty()))
            return self.values()
        self.rebase()
        return {}

    def values(self) -> dict[str, Any]:
        """The connection by its name, where it holds anything."""
        return {NAME: self._connection} if self._holds and _is_loaded() else {}

    def edition_of(self, values: Container[str]) -> int:
        """Where these variables are kept or lost with it; else 0."""
        return self.edition if NAME in values else 0

    def may_be_lost(self) -> bool:
        """Whether it came to hold what is hard to keep."""
        try:
            return self.moved() and (_is_in_transaction(_connection()) or bool(_ask(_connection(), _HARD_TO_KEEP)))
        except Exception:
            return True

    def rebase(self, holds: bool | None = None) -> None:
        """What was asked of it up to now changed nothing more. `holds`: it is known to hold something, or not to."""
        if holds is not None:
            self._holds = holds
        if _is_loaded():
            self._moved = False
            self._connection = _connection()
            self._next = -1 if self._connection is None else _transaction(self._connection) + 1

    def begin_anew(self) -> None:
        """An empty one takes its place, where it holds anything."""
        if self._holds:
            import duckdb

            self.edition += 1
            self.put(duckdb.connect())
            self.was_read = self._holds = False
            self._print = None

    def put(self, made: Any) -> None:
        """Makes `made` the default connection, with what the machine gives."""
        import duckdb

        before = duckdb.default_connection()
        for name in ("memory_limit", "threads", "temp_directory", *_FITTED):
            try:
                value = before.cursor().execute(f"select current_setting('{name}')").fetchall()[0][0]
                made.execute(f"set {name} = '{value}'")
            except duckdb.Error:
                continue
        duckdb.set_default_connection(made)
        self.was_read, self._print = True, None

    def _print_of_empty(self) -> list[Any] | None:
        if self._empty is None:
            import duckdb

            with contextlib.closing(duckdb.connect()) as fresh:
                self._empty = _print_of(fresh)
        return self._empty


#: set for every session
_FITTED = ("autoinstall_known_extensions", "autoload_known_extensions", "enable_progress_bar")

DEFAULT = DefaultDatabase()


def _is_loaded() -> bool:
    return getattr(sys.modules.get("duckdb"), "set_default_connection", None) is not None


def _connection() -> Any:
    """None where the session closed it."""
    try:
        connection = sys.modules["duckdb"].default_connection()
        connection.cursor().close()
    except Exception:
        return None
    return connection


def _ask(connection: Any, query: str) -> list[Any]:
    return list(connection.sql(query).fetchall())


def _is_in_transaction(connection: Any) -> bool:
    return _ask(connection, "select txid_current()") == _ask(connection, "select txid_current()")


def _transaction(connection: Any) -> int:
    """Number of a transaction of its database: each statement that is in none has one of its own. -1: not known."""
    try:
        with contextlib.closing(connection.cursor()) as cursor:
            return int(cursor.execute("select txid_current()").fetchall()[0][0])
    except Exception:
        # It broke: taking it down says what is the matter.
        return -1


def _print_of(connection: Any) -> list[Any] | None:
    """What changes with all that the session does to it; None where that cannot be told."""
    try:
        if _is_in_transaction(connection):
            return None
        found: list[Any] = [_ask(connection, query) for query in _CATALOG]
        found[-1] = [row for row in found[-1] if not row[0].startswith((*OF_THE_MACHINE, *_FITTED))]
        for schema, table, *_ in found[2]:
            name = ".".join('"' + part.replace('"', '""') + '"' for part in (schema, table))
            found += _ask(connection, f"select count(*), sum(hash(__cloche_row, rowid)) from {name} as __cloche_row")
        return found
    except Exception:
        return None

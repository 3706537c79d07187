"""DuckDB: a database in memory as a file of it, relations by their query, types by their name."""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from cloche_kernel.checkpoints import instances
from cloche_kernel.checkpoints.contract import NotKept, Reduced, Scope
from cloche_kernel.checkpoints.default_database import DEFAULT, OF_THE_MACHINE

_NAME = "__cloche_kept"


def _reduce_connection(connection: Any, scope: Scope) -> Reduced:
    """The tables, views, types, sequences and macros of a database in memory, and what was set by hand."""
    import duckdb

    default = connection is sys.modules["duckdb"].default_connection()
    scope.default_database |= default

    def ask(query: str) -> list[Any]:
        return list(connection.sql(query).fetchall())

    try:
        if ask("select txid_current()") == ask("select txid_current()"):
            raise NotKept("a duckdb connection in the middle of a transaction")
        for name, path in ask("select database_name, path from duckdb_databases() where not internal"):
            if path or name != "memory":
                raise NotKept(f"a duckdb connection to a database file ({path or name})")
        if ask(
            "select 1 from duckdb_tables() where temporary union all select 1 from duckdb_views() "
            "where temporary and not internal"
        ):
            raise NotKept("a duckdb connection with temporary tables or registered frames")
        settings = dict(ask("select name, value from duckdb_settings()"))
        data = _written_down(connection)
    except duckdb.Error as error:
        first = str(error).splitlines()[0][:160]
        raise NotKept(f"a duckdb connection that cannot be copied now ({first})") from None
    _look_for_twins(connection)
    other = dict(_fresh_settings())
    own = {
        name: value
        for name, value in settings.items()
        if value != other.get(name) and not name.startswith(OF_THE_MACHINE) and value is not None
    }
    return connected, (pickle.PickleBuffer(data), own, default)


def _look_for_twins(connection: Any) -> None:
    """Two connections to one database would come back as two databases."""
    import duckdb

    others = [one for one in gc.get_objects() if type(one) is type(connection) and one is not connection]
    if not others:
        return
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute(f"create schema {_NAME}")
        try:
            for other in others:
                with contextlib.suppress(duckdb.Error), contextlib.closing(other.cursor()) as looking:
                    query = f"select 1 from duckdb_schemas() where schema_name = '{_NAME}'"
                    if looking.execute(query).fetchall():
                        raise NotKept("two duckdb connections to one database in memory")
        finally:
            cursor.execute(f"drop schema {_NAME}")


def _fresh_settings() -> list[Any]:
    import duckdb

    with contextlib.closing(duckdb.connect()) as fresh:
        return list(fresh.sql("select name, value from duckdb_settings()").fetchall())


@contextlib.contextmanager
def _file() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="cloche-") as folder:
        yield os.path.join(folder, "kept.duckdb")


def _written_down(connection: Any) -> bytes:
    with _file() as path, contextlib.closing(connection.cursor()) as cursor:
        cursor.execute(f"attach '{path}' as {_NAME}")
        try:
            cursor.execute(f"copy from database memory to {_NAME}")
        finally:
            cursor.execute(f"detach {_NAME}")
        with open(path, "rb") as file:
            return file.read()


def connected(data: Any, settings: dict[str, Any], default: bool) -> Any:
    import duckdb

    made = duckdb.connect()
    with _file() as path:
        with open(path, "wb") as file:
            file.write(data)
        made.execute(f"attach '{path}' as {_NAME} (read_only)")
        made.execute(f"copy from database {_NAME} to memory")
        made.execute(f"detach {_NAME}")
    for name, value in settings.items():
        with contextlib.suppress(duckdb.Error):
            made.execute(f"set {name} = '{str(value).replace(chr(39), chr(39) * 2)}'")
    if default:
        DEFAULT.put(made)
    return made


def _reduce_relation(relation: Any, scope: Scope) -> Reduced:
    if type(relation).__module__ != "duckdb._relation":
        raise NotKept("a duckdb relation")
    if relation._handles:
        names = ", ".join(name for name, _ in relation._captured) or "a frame"
        raise NotKept(f"a duckdb relation over a value of Python ({names}): duckdb does not say which")
    return instances.reduce_instance(relation, scope)


def _reduce_type(found: Any, scope: Scope) -> Reduced:
    return type_named, (str(found),)


def type_named(text: str) -> Any:
    import duckdb

    return duckdb.sqltype(text)


def _reduce_expression(found: Any, scope: Scope) -> Reduced:
    return expression_of, (str(found),)


def expression_of(text: str) -> Any:
    import duckdb

    return duckdb.SQLExpression(text)


KNOWN: dict[tuple[str, str], Callable[[Any, Scope], Reduced]] = {
    ("_duckdb", "DuckDBPyConnection"): _reduce_connection,
    ("duckdb._relation", "DuckDBPyRelation"): _reduce_relation,
    ("duckdb.duckdb", "DuckDBPyRelation"): _reduce_relation,
    ("duckdb.duckdb", "DuckDBPyConnection"): _reduce_connection,
    ("_duckdb._sqltypes", "DuckDBPyType"): _reduce_type,
    ("duckdb.duckdb.typing", "DuckDBPyType"): _reduce_type,
    ("_duckdb", "Expression"): _reduce_expression,
    ("duckdb.duckdb", "Expression"): _reduce_expression,
}

"""
Values of the sandbox's libraries that keep what they are in C or Rust, and attributes that are only a library's memory.

Found by the name of the type, so that no library is imported for it.
"""

from __future__ import annotations

from typing import Any

from cloche_kernel.checkpoints.digests import arrow, frames, ndarrays
from cloche_kernel.checkpoints.digests.walk import Describe, Walk


def handler_of(kind: type) -> Describe | None:
    """How the part of a value is described that is this library type's."""
    return _CONTENT.get(f"{kind.__module__}.{kind.__qualname__}")


def skipped(kind: type) -> frozenset[str]:
    """Attributes of a library's type that are what it remembers of its work, made again when missing."""
    found = frozenset({"_cache"}) if str(kind.__module__).startswith("pandas") else frozenset()
    for owner in kind.__mro__:
        found |= _SKIPPED.get(f"{owner.__module__}.{owner.__qualname__}", frozenset())
    return found


#: packages and types whose own pickling is held to the tests by name: what it says of a value is what the value is
_OWN_WORD = frozenset(
    {"matplotlib", "mpl_toolkits", "sklearn", "scipy", "sqlalchemy", "joblib", "PIL", "networkx", "sqlglot", "cycler",
     "numpy", "dateutil", "pyproj", "pint", "yarl", "sortedcontainers", "lightgbm", "numba", "pendulum", "shapely",
     "sympy", "geopandas"}
)  # fmt: skip
_HOOKS = ("__getstate__", "__reduce__", "__reduce_ex__")


def speaks_for_itself(kind: type) -> bool:
    """Whether a library's type says how it is pickled, and is known to say it right."""
    if (
        str(kind.__module__).split(".")[0] not in _OWN_WORD
        and f"{kind.__module__}.{kind.__qualname__}" not in _OWN_WORD
    ):
        return False
    return any(hook in vars(owner) for owner in kind.__mro__ if owner.__module__ != "builtins" for hook in _HOOKS)


def _polars_frame(walk: Walk, thing: Any) -> list[Any]:
    return [[[column.name, *_polars_series(walk, column)] for column in thing.get_columns()]]


def _polars_series(walk: Walk, thing: Any) -> list[Any]:
    if "Object" in str(thing.dtype):
        return [thing.name, str(thing.dtype), walk.refs(thing.to_list())]
    return [thing.name, repr(thing.dtype), arrow.fingerprint(thing.to_arrow())]


def _polars_plan(walk: Walk, thing: Any) -> list[Any]:
    """A plan or an expression by how it is written; one with a function of Python's in it cannot be looked into."""
    kind = type(thing)
    written = thing.serialize() if kind.__name__ == "LazyFrame" else thing.meta.serialize()
    if b"PLPYUDF" in written or b"PyUdf" in written or b"PythonUdf" in written:
        walk.note_opaque(kind)
    return [written]


def _duckdb_connection(walk: Walk, thing: Any) -> list[Any]:
    """The database's tables, views, sequences and macros, read beside what the connection is at."""
    beside = thing.cursor()
    parts: list[Any] = []
    for query in (
        "select database_name, schema_name, table_name, sql from duckdb_tables() order by all",
        "select database_name, schema_name, view_name, sql from duckdb_views() where not internal order by all",
        "select schema_name, sequence_name, start_value, increment_by, last_value from duckdb_sequences() order by all",
        "select schema_name, function_name, macro_definition from duckdb_functions() where not internal order by all",
    ):
        parts.append(repr(beside.execute(query).fetchall()))
    for database, schema, table in beside.execute(
        "select database_name, schema_name, table_name from duckdb_tables() order by all"
    ).fetchall():
        quoted = ".".join('"' + name.replace('"', '""') + '"' for name in (database, schema, table))
        found = beside.execute(f"select * from {quoted}").to_arrow_table()
        parts.append([table, arrow.fingerprint(found)])
    beside.close()
    return parts


def _duckdb_relation(walk: Walk, thing: Any) -> list[Any]:
    return [thing.sql_query(), list(map(str, thing.columns)), list(map(str, thing.types))]


def _written(walk: Walk, thing: Any) -> list[Any]:
    return [str(thing)]


def _tree_of_points(walk: Walk, thing: Any) -> list[Any]:
    """A k-d tree by its points: its own word holds addresses."""
    return [thing.data.tobytes(), thing.data.shape, thing.leafsize, thing.indices.tobytes(), walk.ref(thing.boxsize)]


def _element(walk: Walk, thing: Any) -> list[Any]:
    """An element of lxml: the whole document it stands in, and where it stands there."""
    from lxml import etree

    path, above = [], thing
    while (parent := above.getparent()) is not None:
        path.append(parent.index(above))
        above = parent
    return [etree.tostring(above.getroottree()), path]


def _document(walk: Walk, thing: Any) -> list[Any]:
    return [walk.ref(thing.getroot())]


def _pixels(walk: Walk, thing: Any) -> list[Any]:
    from PIL import Image

    return [thing.mode, thing.size, Image.Image()._new(thing).tobytes()]


def _scanner(walk: Walk, thing: Any) -> list[Any]:
    names = ("strict", "object_hook", "object_pairs_hook", "parse_float", "parse_int", "parse_constant")
    return [walk.ref(getattr(thing, name)) for name in names]


def _match(walk: Walk, thing: Any) -> list[Any]:
    """A match of `regex`, which may be a fuzzy one or a part of one."""
    found = (thing.pos, thing.endpos, thing.regs, thing.lastindex, thing.allspans(), thing.partial)
    return [walk.ref(thing.re), walk.ref(thing.string), repr((*found, thing.fuzzy_counts, thing.fuzzy_changes))]


def _elsewhere(walk: Walk, thing: Any) -> list[Any]:
    """It derives from a builtin type and keeps nothing there, but in its attributes."""
    return []


_CONTENT: dict[str, Describe] = {
    **ndarrays.CONTENT,
    **frames.CONTENT,
    **arrow.CONTENT,
    "scipy.sparse._dok._dok_base": _elsewhere,
    "scipy.spatial._ckdtree.cKDTree": _tree_of_points,
    "lxml.etree._Element": _element,
    "lxml.etree._ElementTree": _document,
    "builtins.ImagingCore": _pixels,
    "_json.Scanner": _scanner,
    "_regex.Match": _match,
    "_duckdb._sqltypes.DuckDBPyType": _written,
    "polars.dataframe.frame.DataFrame": _polars_frame,
    "polars.series.series.Series": _polars_series,
    "polars.lazyframe.frame.LazyFrame": _polars_plan,
    "polars.expr.expr.Expr": _polars_plan,
    "_duckdb.DuckDBPyConnection": _duckdb_connection,
    "duckdb.DuckDBPyConnection": _duckdb_connection,
    "_duckdb.DuckDBPyRelation": _duckdb_relation,
    "duckdb.DuckDBPyRelation": _duckdb_relation,
}

_SKIPPED: dict[str, frozenset[str]] = {
    **frames.SKIPPED,
    **ndarrays.SKIPPED,
    "matplotlib.cbook.CallbackRegistry": frozenset({"_cid_gen"}),  # every look at its state takes a number
    "matplotlib.transforms.TransformNode": frozenset({"_invalid", "_inverted"}),
    "sqlalchemy.sql.elements.BindParameter": frozenset({"_anon_map_key", "key"}),
    "PIL.ImageDraw.ImageDraw": frozenset({"draw"}),
    "polars.selectors.Selector": frozenset({"_pyselector"}),
    "typing.TypeVar": frozenset({"__module__"}),
    "typing.ParamSpec": frozenset({"__module__"}),
    "typing.TypeVarTuple": frozenset({"__module__"}),
    "sklearn.utils._bunch.Bunch": frozenset({"_deprecated_key_to_warnings"}),
    "polars.dataframe.frame.DataFrame": frozenset({"_df", "_accessors"}),
    "polars.series.series.Series": frozenset({"_s", "_accessors"}),
    "polars.lazyframe.frame.LazyFrame": frozenset({"_ldf"}),
    "polars.expr.expr.Expr": frozenset({"_pyexpr"}),
}

"""
Bugs of many kinds, planted one at a time in what takes values down and brings them back: the comparison must see each.

Each entry of BUGS: what it breaks → (a function that plants it, cells whose values it makes come back wrong).
`rounds.py take DIRECTORY planted_bugs:<function>` runs the corpus with one.
"""

from __future__ import annotations

import copyreg
import dataclasses
import types
from collections.abc import Callable
from typing import Any

from cloche_kernel.checkpoints import classes, elsewhere, functions, groups, instances, pickler, reach, rebuild


def _wrap(owner: Any, name: str, change: Callable[[Any], Callable[..., Any]]) -> None:
    setattr(owner, name, change(getattr(owner, name)))


def _reducer(kind: type, change: Callable[[Any], Callable[..., Any]]) -> None:
    pickler._REDUCERS[kind] = change(pickler._REDUCERS[kind])


def aliasing_lost() -> None:
    """A list that two variables hold becomes two lists: each is written anew."""
    original = pickler.take

    def take(values: dict[str, Any], scope: Any) -> Any:
        return original({name: list(value) if type(value) is list else value for name, value in values.items()}, scope)

    pickler.take = take


def cell_unshared() -> None:
    """Two functions over one closure cell get a cell each."""

    def change(original: Any) -> Any:
        def reduce(function: Any, scope: Any) -> Any:
            found = original(function, scope)
            if found is NotImplemented:
                return found
            made, (body, space, name, cells), *rest = found
            return (made, (body, space, name, tuple(types.CellType(cell.cell_contents) for cell in cells)), *rest)

        return reduce

    _reducer(types.FunctionType, change)


def view_copied() -> None:
    """A view of an array comes back with memory of its own."""
    _wrap(rebuild, "view", lambda original: lambda *parts: original(*parts).copy())
    rebuild.view.__module__, rebuild.view.__qualname__ = "cloche_kernel.checkpoints.rebuild", "view"


def attribute_dropped() -> None:
    """An instance loses the last attribute that it was given."""

    def change(original: Any) -> Any:
        def reduce(obj: Any, scope: Any) -> Any:
            found = original(obj, scope)
            made, args, (content, attributes, slots), *rest = found
            attributes = dict(list(attributes.items())[:-1]) if attributes else attributes
            return (made, args, (content, attributes, slots), *rest)

        return reduce

    _wrap(instances, "reduce_instance", change)


def dictionary_sorted() -> None:
    """Dictionaries come back in another order."""
    original = pickler.give

    def give(*args: Any) -> dict[str, Any]:
        found = original(*args)
        return {name: dict(reversed(value.items())) if type(value) is dict else value for name, value in found.items()}

    _give(give)


def nan_made_anew() -> None:
    """A NaN that is a key and an element becomes two, so that neither is found by the other."""
    original = pickler.give

    def give(*args: Any) -> dict[str, Any]:
        found = original(*args)
        return {name: float("nan") if value != value else value for name, value in found.items()}

    _give(give)


def dtype_widened() -> None:
    """An array of 32-bit numbers comes back with 64."""

    def change(original: Any) -> Any:
        def reduce(obj: Any, scope: Any) -> Any:
            return original(obj.astype("f8") if str(getattr(obj, "dtype", "")) == "float32" else obj, scope)

        return reduce

    _wrap(pickler, "reduce_value", change)


def member_copied() -> None:
    """A member of an enumeration is a copy, which is not the one its class has."""
    import copy

    original = pickler.give

    def give(*args: Any) -> dict[str, Any]:
        import enum

        found = original(*args)
        for name, value in found.items():
            if isinstance(value, enum.Enum):
                twin = object.__new__(type(value))
                twin.__dict__.update(copy.copy(value.__dict__))
                found[name] = twin
        return found

    _give(give)


def default_lost() -> None:
    """A function forgets the defaults of its arguments."""

    def change(original: Any) -> Any:
        def reduce(function: Any, scope: Any) -> Any:
            found = original(function, scope)
            if found is not NotImplemented:
                found[2]["__defaults__"] = None
            return found

        return reduce

    _reducer(types.FunctionType, change)


def class_attribute_lost() -> None:
    """A class loses a member that is no function."""

    def change(original: Any) -> Any:
        def reduce(cls: type, scope: Any) -> Any:
            found = original(cls, scope)
            if found is not NotImplemented and isinstance(found[2], dict):
                found[2].pop("limit", None)
            return found

        return reduce

    _wrap(classes, "reduce_class", change)


def stale_value() -> None:
    """A library's reducer answers with what the value was when it was first asked."""
    import fractions

    first: dict[int, Any] = {}
    copyreg.pickle(
        fractions.Fraction,
        lambda value: first.setdefault(id(value), (fractions.Fraction, (value.numerator + 1, value.denominator))),
    )


def slot_lost() -> None:
    """Values of slots are not written."""
    _wrap(instances, "slots_of", lambda original: lambda obj, cls: [])


def globals_copied() -> None:
    """A function's globals are a copy of the session's, so that a variable it reads is frozen."""

    def change(original: Any) -> Any:
        def globals_of(function: Any, scope: Any) -> Any:
            return {"__builtins__": __builtins__, "__name__": "__main__"}

        return globals_of

    _wrap(functions, "_globals", change)


def writeable_again() -> None:
    """An array that was read-only can be written to."""
    original = pickler.give

    def give(*args: Any) -> dict[str, Any]:
        found = original(*args)
        return {name: value.copy() if hasattr(value, "setflags") else value for name, value in found.items()}

    _give(give)


def group_not_widened() -> None:
    """Variables that share a list are taken down apart, as if they shared nothing."""
    from cloche_kernel.checkpoints import capture

    def change(original: Any) -> Any:
        def partition(values: dict[str, Any], *rest: Any) -> Any:
            found = original(values, *rest)
            return dataclasses.replace(found, groups=[frozenset({name}) for name in values])

        return partition

    _wrap(capture, "partition", change)


def base_of_view_unknown() -> None:
    """A view of an array is taken to share nothing with the array."""
    _wrap(groups, "_held", lambda original: lambda thing, kind: [] if "numpy" in str(kind) else original(thing, kind))


def mentions_forgotten() -> None:
    """What functions, methods, properties and callbacks speak of is not followed."""
    _closure_of(lambda group: types.SimpleNamespace(kin=group.kin, mentions=frozenset()))


def groups_unknown() -> None:
    """A cell that reaches one variable of a group is taken to reach no other."""
    _closure_of(lambda group: types.SimpleNamespace(kin=frozenset(), mentions=group.mentions))


def inner_code_unread() -> None:
    """Only a cell's own lines are read, not those of functions and lambdas in it."""
    reach.codes = lambda code: iter([code])


def texts_unread() -> None:
    """A name that code has as a text is overlooked."""
    reach._words = lambda constant, names: None


def anything_unknown() -> None:
    """Code that can reach what it does not spell out is taken to reach what it spells out."""
    _wrap(reach, "spoken", lambda original: lambda code: (original(code)[0], False))


def hooks_unseen() -> None:
    """Functions that only a library holds, and calls when it likes, are not looked for."""
    elsewhere.Elsewhere.look = lambda *asked: None  # type: ignore[method-assign]


def gifts_to_modules_unseen() -> None:
    """What a cell stored in a module is taken to be reached by name only."""
    reach.given_to_modules = lambda code, is_module: set()


def threads_unseen() -> None:
    """Threads that go on between cells are not looked for."""
    reach.runs_beside = lambda: False


def _closure_of(change: Callable[[Any], Any]) -> None:
    def linked(original: Any) -> Any:
        return lambda named, groups: original(named, {name: change(group) for name, group in groups.items()})

    _wrap(reach, "closure", linked)


def _give(give: Any) -> None:
    from cloche_kernel.checkpoints import proof

    pickler.give = give
    proof.give = give


_POINT = "class P:\n    limit = 3\n    def __init__(self): self.a = [1]; self.b = 'x'\np = P()"
BUGS: dict[str, tuple[Callable[[], None], str]] = {
    "aliasing": (aliasing_lost, "a = [1]\nb = a"),
    "closure cell": (
        cell_unshared,
        "def make():\n    n = 0\n    def up():\n        nonlocal n; n += 1; return n\n"
        "    def read(): return n\n    return up, read\nup, read = make()",
    ),
    "view": (view_copied, "import numpy as np\na = np.arange(9.0)\nv = a[2:5]"),
    "attribute": (attribute_dropped, _POINT),
    "order of a dictionary": (dictionary_sorted, "d = {'b': 1, 'a': [2]}"),
    "identity of NaN": (nan_made_anew, "nan = float('nan')\nd = {nan: 1}"),
    "dtype": (dtype_widened, "import numpy as np\na = np.arange(5, dtype='f4')"),
    "member of an enumeration": (member_copied, "import enum\nclass C(enum.Enum):\n    RED = 1\nc = C.RED"),
    "default of an argument": (default_lost, "def f(x, y=[1]): return y"),
    "attribute of a class": (class_attribute_lost, _POINT),
    "reducer of a library": (stale_value, "from fractions import Fraction\nf = Fraction(1, 3)"),
    "slots": (slot_lost, "class S:\n    __slots__ = ('v',)\ns = S(); s.v = [1]"),
    "globals of a function": (globals_copied, "k = 1\ndef f(): return k"),
    "read-only flag": (writeable_again, "import numpy as np\na = np.arange(5); a.flags.writeable = False"),
}
#: bugs of the analysis of what a cell could reach → a way to a value, of ways.cells, that a full scan finds missed,
#: and a seed of a random program that finds it too, where random programs do such things
REACH_BUGS: dict[str, tuple[str, int | None]] = {
    "group_not_widened": ("an alias", 0),
    "base_of_view_unknown": ("a view of an array", 5),
    "mentions_forgotten": ("a function", 1),
    "groups_unknown": ("a finalizer", None),
    "inner_code_unread": ("a lambda of the cell", 5),
    "texts_unread": ("a name that a library looks up", None),
    "anything_unknown": ("a name that is put together", None),
    "hooks_unseen": ("an accessor of pandas", None),
    "gifts_to_modules_unseen": ("an attribute of a library's module", None),
    "threads_unseen": ("a thread that goes on", None),
}

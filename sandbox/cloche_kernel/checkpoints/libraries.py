"""Values of libraries that their own pickling refuses or gets wrong, by what is known of each library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cloche_kernel.checkpoints import duck, instances, iterators, rebuild
from cloche_kernel.checkpoints.contract import NotKept, Reduced, Scope

_Reducer = Callable[[Any, Scope], Reduced]


def reduce_library_value(obj: Any, scope: Scope) -> Reduced:
    """By the first class of its that is known here; NotImplemented where none is."""
    for owner in type(obj).__mro__:
        reducer = _KNOWN.get((owner.__module__, owner.__qualname__))
        if reducer is not None:
            found = reducer(obj, scope)
            if found is not NotImplemented:
                scope.note_library(type(obj))
                return found
    return NotImplemented


def _by_what_it_holds(obj: Any, scope: Scope) -> Reduced:
    scope.note_library(type(obj))
    return instances.reduce_instance(obj, scope)


def _reduce_figure(figure: Any, scope: Scope) -> Reduced:
    """A figure, and its number where pyplot knows it."""
    from matplotlib._pylab_helpers import Gcf

    state = figure.__getstate__()
    state.pop("_restore_to_pylab", None)
    number = next((number for number, manager in Gcf.figs.items() if manager is figure.canvas.manager), None)
    return rebuild.new_object, (type(figure), object), (state, number), None, None, fill_figure


def fill_figure(figure: Any, state: tuple[dict[str, Any], int | None]) -> None:
    attributes, number = state
    figure.__setstate__(attributes)
    if number is None:
        return
    from matplotlib import pyplot
    from matplotlib._pylab_helpers import Gcf

    Gcf.figs.pop(number, None)
    manager = pyplot._get_backend_mod().new_figure_manager_given_figure(number, figure)
    Gcf._set_new_active_manager(manager)


def _reduce_draw(draw: Any, scope: Scope) -> Reduced:
    own = {name: value for name, value in vars(draw).items() if name not in ("im", "draw", "_image")}
    return new_draw, (type(draw), draw._image, draw.mode), own, None, None, rebuild.fill_attributes


def new_draw(kind: type, image: Any, mode: str) -> Any:
    return kind(image, mode)


def _reduce_element(element: Any, scope: Scope) -> Reduced:
    """By its document, which is written as XML, and the way there from the root."""
    from lxml import etree

    if type(element) is not etree._Element and type(element) is not etree._Comment:
        return NotImplemented
    tree = element.getroottree()
    root = tree.getroot()
    if element is root:
        return parsed_root, (etree.tostring(tree, encoding="utf-8"),)
    way = []
    while element is not root:
        parent = element.getparent()
        if parent is None:
            raise NotKept("a part of an XML document beside its root")
        way.append(parent.index(element))
        element = parent
    return element_at, (root, way[::-1])


def parsed_root(text: bytes) -> Any:
    from lxml import etree

    options = {"resolve_entities": False, "strip_cdata": False, "huge_tree": True, "remove_blank_text": False}
    return etree.fromstring(text, etree.XMLParser(**options))


def element_at(root: Any, way: list[int]) -> Any:
    for index in way:
        root = root[index]
    return root


def _reduce_element_tree(tree: Any, scope: Scope) -> Reduced:
    return tree_of, (tree.getroot(),)


def tree_of(root: Any) -> Any:
    from lxml import etree

    return etree.ElementTree(root) if root is not None else etree.ElementTree()


def _reduce_xpath(path: Any, scope: Scope) -> Reduced:
    raise NotKept("a compiled XPath: its namespaces and functions cannot be seen")


def _reduce_json_scanner(scanner: Any, scope: Scope) -> Reduced:
    names = ("strict", "object_hook", "object_pairs_hook", "parse_float", "parse_int", "parse_constant")
    return json_scanner, ({name: getattr(scanner, name) for name in names},)


def json_scanner(options: dict[str, Any]) -> Any:
    import json.scanner
    import types

    make: Any = json.scanner.c_make_scanner  # type: ignore[attr-defined]
    return make(types.SimpleNamespace(**options))


def _reduce_flat_iterator(found: Any, scope: Scope) -> Reduced:
    return flat_iterator, (found.base, found.index)


def flat_iterator(array: Any, index: int) -> Any:
    return _advanced(array.flat, index)


def _advanced(iterator: Any, steps: int) -> Any:
    for _ in range(steps):
        next(iterator)
    return iterator


def _reduce_broadcast(found: Any, scope: Scope) -> Reduced:
    return broadcast, ([part.base for part in found.iters], found.index)


def broadcast(arrays: list[Any], index: int) -> Any:
    import numpy

    return _advanced(numpy.broadcast(*arrays), index)


def _reduce_compute_options(options: Any, scope: Scope) -> Reduced:
    return read_compute_options, (bytes(options.serialize()),)


def read_compute_options(data: bytes) -> Any:
    import pyarrow
    from pyarrow.compute import FunctionOptions

    return FunctionOptions.deserialize(pyarrow.py_buffer(data))


def _reduce_tree_builder(builder: Any, scope: Scope) -> Reduced:
    """Without its parser: one is made for each text."""
    _, attributes, slots = instances.state_of(builder)
    kept = {**(attributes or {}), **({"parser": None} if "parser" in (attributes or {}) else {})}
    return rebuild.new_object, (type(builder), object), (None, kept, slots), None, None, rebuild.fill_object


_KNOWN: dict[tuple[str, str], _Reducer] = {
    ("numpy", "flatiter"): _reduce_flat_iterator,
    ("numpy", "broadcast"): _reduce_broadcast,
    ("matplotlib.figure", "Figure"): _reduce_figure,
    ("PIL.ImageDraw", "ImageDraw"): _reduce_draw,
    ("bs4", "BeautifulSoup"): _by_what_it_holds,
    ("bs4.element", "PageElement"): _by_what_it_holds,
    ("bs4.builder", "TreeBuilder"): _reduce_tree_builder,
    ("ibis.backends", "BaseBackend"): _by_what_it_holds,
    ("lxml.etree", "_Element"): _reduce_element,
    ("lxml.etree", "_ElementTree"): _reduce_element_tree,
    ("lxml.etree", "XPath"): _reduce_xpath,
    ("_json", "Scanner"): _reduce_json_scanner,
    ("_regex", "Match"): iterators.reduce_match,
    ("pyarrow._compute", "FunctionOptions"): _reduce_compute_options,
    **duck.KNOWN,
}

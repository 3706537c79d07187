"""What a cell could have changed is taken down, whatever way the cell took to it: a full scan finds nothing more."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from session import Session, Store, Warm

_START = "xs = [1]\nother = {'a': xs}\nalone = [5]"

#: a way to `xs`, as cells of which the last changes it; none of the last ones names it
_WAYS: dict[str, list[str]] = {
    "an alias": ["other['a'].append(2)"],
    "a function": ["def f(): xs.append(2)", "f()"],
    "a function of a function": ["def f(): xs.append(2)", "g = lambda: f()", "g()"],
    "a function in a list": ["fs = [lambda: xs.append(2)]", "fs[0]()"],
    "a bound method of a list": ["push = xs.append", "push(2)"],
    "a default argument": ["def f(v=xs): v.append(2)", "f()"],
    "a closure": ["def make(v):\n    return lambda: v.append(2)\nf = make(xs)", "f()"],
    "a nonlocal variable": ["def make():\n    n = 0\n    def up():\n        nonlocal n\n        n += 1\n        return n\n"
                            "    return up\nup = make()\ndown = up", "down()"],
    "global": ["def f():\n    global xs\n    xs = [7]", "f()"],
    "a method": ["class C:\n    def m(self): xs.append(2)\nc = C()", "c.m()"],
    "an inherited method": ["class B:\n    def m(self): xs.append(2)\nclass C(B): pass\nc = C()\ndel B, C", "c.m()"],
    "a property": ["class C:\n    @property\n    def p(self): xs.append(2)\nc = C()", "c.p"],
    "a descriptor": ["class D:\n    def __set__(self, o, v): xs.append(v)\nclass C:\n    d = D()\nc = C()", "c.d = 3"],
    "__getattr__": ["class C:\n    def __getattr__(self, n): xs.append(n)\nc = C()", "c.whatever"],
    "an operator": ["class C:\n    def __radd__(self, o): xs.append(o)\nc = C()", "1 + c"],
    "iteration": ["class C:\n    def __iter__(self):\n        xs.append(2)\n        return iter(())\nc = C()", "for n in c: pass"],
    "a context manager": ["class C:\n    def __enter__(self): xs.append(2)\n    def __exit__(self, *_): pass\nc = C()",
                          "with c: pass"],
    "an f-string": ["class C:\n    def __format__(self, s):\n        xs.append(2)\n        return ''\nc = C()", "f'{c}'"],
    "a metaclass": ["class M(type):\n    def __call__(cls): xs.append(2)\nclass C(metaclass=M): pass", "C()"],
    "__init_subclass__": ["class B:\n    def __init_subclass__(cls): xs.append(2)", "class C(B): pass"],
    "a comparison in sorted": ["class C:\n    def __lt__(self, o):\n        xs.append(2)\n        return True\ncs = [C(), C()]",
                               "cs.sort()"],
    "__del__": ["class C:\n    def __del__(self): xs.append(2)\nc = C()", "c = None"],
    "a weak reference's callback": ["import weakref\nclass C: pass\nc = C()\nw = weakref.ref(c, lambda r: xs.append(2))", "del c"],
    "a finalizer": ["import weakref\nclass C: pass\nc = C()\nweakref.finalize(c, lambda: xs.append(2))", "del c"],
    "a generator": ["def gen():\n    xs.append(2)\n    yield 1\ng = gen()", "next(g)"],
    "a map": ["m = map(xs.append, [2, 3])", "next(m)"],
    "a partial": ["import functools\np = functools.partial(xs.append, 2)", "p()"],
    "a decorator": ["def d(f):\n    xs.append(2)\n    return f", "@d\ndef h(): pass"],
    "an attribute chain": ["import types\no = types.SimpleNamespace(a=types.SimpleNamespace(b=xs))", "o.a.b.append(2)"],
    "globals()": ["globals()['x' + 's'].append(2)"],
    "exec of a text": ["exec('x' + 's.append(2)')"],
    "vars()": ["vars()['x' + 's'].append(2)"],
    "a frame": ["import sys", "sys._getframe().f_globals['x' + 's'].append(2)"],
    "the module itself": ["import sys", "getattr(sys.modules['__main__'], 'x' + 's').append(2)"],
    "a function's globals": ["def f(): pass", "f.__globals__['x' + 's'].append(2)"],
    "a handler of a signal": ["import signal\nsignal.signal(signal.SIGUSR1, lambda *_: xs.append(2))",
                              "import os\nos.kill(os.getpid(), 10)"],
    "a hook of the shell": ["get_ipython().events.register('post_run_cell', lambda r: xs.append(2))", "1 + 1"],
    "an accessor of pandas": ["import pandas as pd\n@pd.api.extensions.register_dataframe_accessor('mine')\nclass _A:\n"
                              "    def __init__(self, f): pass\n    def go(self): xs.append(2)\ndel _A\ndf = pd.DataFrame()",
                              "df.mine.go()"],
    "a replaced function of a module": ["import json\njson.mine = lambda: xs.append(2)", "json.mine()"],
    "a registered handler of copyreg": ["import copyreg, decimal\ncopyreg.pickle(range, lambda r: (xs.append(2), (range, (1,)))[1])",
                                        "import copy, pickle\npickle.dumps(range(3))"],
    "a display formatter": ["import sys\nsys.displayhook_mine = lambda v: xs.append(v)", "sys.displayhook_mine(2)"],
    "a module of the session's": ["open('ways.py', 'w').write('held = []\\ndef up(): held[0].append(2)\\n')\nimport ways\n"
                                  "ways.held.append(xs)", "ways.up()"],
    "a module's own state": ["open('ways.py', 'w').write('held = []\\ndef up(): held.append(2)\\n')\nfrom ways import up\n"
                             "import ways\nys = ways.held", "up()"],
    "a thread that goes on": ["import threading, time\ndef f():\n    time.sleep(0.05)\n    xs.append(2)\n"
                              "t = threading.Thread(target=f)\nt.start()\ndel t", "time.sleep(0.1)"],
    "a text for getattr": ["class C:\n    def m(self): xs.append(2)\nc = C()", "getattr(c, 'm')()"],
    "a query of pandas": ["import pandas as pd\ndf = pd.DataFrame({'a': [1]})\ndef f(v):\n    xs.append(2)\n    return 1",
                          "df.query('a == @f(1)')"],
    "a view of an array": ["import numpy as np\na = np.arange(5)\nb = a[1:]\nc = {'k': b[1:]}", "c['k'][0] = 9"],
    "a sliding window": ["import numpy as np\na = np.arange(5)\nw = np.lib.stride_tricks.as_strided(a, (3, 2), (8, 8))",
                         "w[0, 1] = 9"],
    "a flat iterator": ["import numpy as np\na = np.arange(5)\nw = a.flat", "w[1] = 9"],
    "an error in the middle": ["def f():\n    xs.append(2)\n    1 / 0", "f()"],
    "an exception that holds it": ["class E(Exception): pass\ne = E(xs)", "e.args[0].append(2)"],
    "a name that is not ASCII": ["größe = xs", "größe.append(2)"],
    "an import of everything": ["open('many.py', 'w').write('alone = [9]\\n')", "from many import *"],
    "an asynchronous cell": ["async def f(): xs.append(2)", "await f()"],
}  # fmt: skip


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    made = Warm()
    yield made
    made.close()


@pytest.fixture
def session(warm: Warm, tmp_path: Path) -> Iterator[Session]:
    made = Session(warm, Store(tmp_path))
    yield made
    made.end()


@pytest.mark.parametrize("way", _WAYS)
def test_a_full_scan_finds_no_more_than_was_taken_down_after_a_change_by(session: Session, way: str) -> None:
    before = session.canon() if session.run(_START) else ""
    for code in _WAYS[way]:
        before = session.canon()
        session.run(code)
    assert session.canon() != before or way in ("a sliding window",), "the last cell changes nothing"
    assert session.audit() == []


def test_a_cell_sends_nothing_of_what_it_did_not_reach(session: Session) -> None:
    session.run("import numpy as np\nbig = np.random.random(1_000_000)\nsmall = [1]")
    session.run("small.append(2)")
    assert session.sent < 2_000
    session.run("big[5] = 1")
    assert 200_000 < session.sent < 600_000


def test_undo_leaves_unchanged_objects_the_same(session: Session) -> None:
    session.run("import numpy as np\nbig = np.arange(100_000)\nfirst = id(big)\nxs = [1]")
    session.run("xs.append(2)")
    session.reset(1)
    assert session.run("print(id(big) == first, xs)").output == "True [1]\n"


def test_undo_then_cells_then_undo_then_redo(session: Session) -> None:
    for code in ("xs = [1]", "xs.append(2)", "ys = xs"):
        session.run(code)
    third = session.canon()
    session.reset(1)
    session.run("xs.append(9)\ndel_me = 1")
    session.reset(2)
    assert session.run("print(xs, 'ys' in dir(), 'del_me' in dir())").output == "[1, 2] False False\n"
    session.reset(3)
    assert session.canon() == third
    assert session.run("print(ys is xs)").output == "True\n"
    assert session.audit() == []


def test_an_equal_value_of_another_name_shares_nothing_after_a_kill(session: Session) -> None:
    session.run("import numpy as np\na = np.arange(100_000)\nb = np.arange(100_000)")
    session.kill()
    assert session.run("a[0] = 7\nprint(b[0])").output == "0\n"


def test_a_lost_value_is_a_placeholder_after_a_kill_and_itself_after_an_undo(session: Session) -> None:
    session.run("def g():\n    yield 1\n    yield 2\ngen = g()\nxs = [1]")
    session.run("xs.append(2)")
    session.reset(1)
    assert session.run("print(next(gen))").output == "1\n"
    session.kill()
    assert session.run("next(gen)").error == "ValueNotKept"
    assert session.run("gen = 1\nprint(xs)").output == "[1]\n"
    assert session.lost() == frozenset()


def test_five_thousand_variables_and_odd_names_come_back(session: Session) -> None:
    session.run("for n in range(5_000): globals()[f'v{n}'] = [n]\nglobals()['not a name'] = [1]\nŝ = v7")
    session.kill()
    assert session.run("print(v4999, ŝ is v7, globals()['not a name'])").output == "[4999] True [1]\n"
    session.run("ŝ.append(1)\ndel v8")
    session.kill()
    assert session.run("print(v7, 'v8' in globals())").output == "[7, 1] False\n"


def test_an_empty_session_comes_back_empty(session: Session) -> None:
    session.run("pass")
    session.kill()
    assert session.canon() == session.canon()
    session.run("x = 1")
    session.reset(1)
    assert session.run("x").error == "NameError"

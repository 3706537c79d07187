"""
Random programs by seed: cells over values that share, hide and reach one another, with undo, kill and fork in between.

In a template `$L1` is some variable that held a list, the same one throughout the template; `$nL1` a name that holds a
list afterwards; `$v1` some value; `$i1` a small number. A cell may raise: a plain replay raises it too.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from dataclasses import dataclass, field

#: kinds: L list, D dict, S set, F function, C class, O instance, A array, P frame, R series, I iterator, G generator,
#: N number, X anything else, M module of the session's
_TEMPLATES: dict[str, list[str]] = {
    "make": [
        "$nL1 = [$i1, $i2, 'a']",
        "$nL1 = [[$i1], [$i2], $v1]",
        "$nL1 = [$v1, $v2]",
        "$nD1 = {'a': $v1, 'b': [$i1], 'é': $i2}",
        "$nD1 = dict(zip('abc', range($i1, $i1 + 3)))",
        "$nS1 = {$i1, $i2, 'z'}",
        "$nN1 = $i1 * 3",
        "$nX1 = ($v1, [$i1], $v2)",
        "$nX1 = bytearray(b'abc' * $i1)",
        "import collections\n$nX1 = collections.deque([$i1, $v1], maxlen=5)",
        "import collections\n$nD1 = collections.defaultdict(list, {'a': [$v1]})",
        "import collections\n$nD1 = collections.Counter('abcab')",
        "$nL1 = list(range($i1)) * 2",
        "$nL1 = []\n$nL1.append($nL1)" if False else "$nL1 = [$i1]\n$nL1.append($nL1)",
        "$nD1 = {'a': 1}\n$nD1['self'] = $nD1",
        "$nL1 = [$i1, 2, 3]; $nL2 = $nL1; $nD1 = {'a': $nL1}",
        "$nL1 = [{'n': n, 'even': n % 2} for n in range($i1)]",
        "größe = [$i1]\nŝ_1 = größe",
        "$nX1: list = [$i1]",
        "import random\n$nX1 = random.Random($i1)",
        "import numpy as np\n$nX1 = np.random.default_rng($i1)",
        "import types\n$nX1 = types.SimpleNamespace(a=[$i1], b=$v1)",
        "import io\n$nX1 = io.StringIO('abc')",
    ],
    "change": [
        "$L1.append($v1)",
        "$L1.append($i1); $L1.sort(key=str)",
        "$L1[0] = $v1",
        "$L1[0] = $L2",
        "$L1 += [$i1]",
        "$L1 = $L1 + [$i1]",
        "$L1.extend($L2[:3])",
        "$L1[1:2] = [$i1, $i2]",
        "del $L1[-1]",
        "$L1.reverse()",
        "$D1['a'] = $v1",
        "$D1['a'].append($i1)",
        "$D1.setdefault('list', []).append($v1)",
        "$D1.update(x=$v1, y=$i1)",
        "$D1.pop('a', None)",
        "$D1['k$i1'] = $L1",
        "$D1 |= {'or': $i1}",
        "$S1.add($i1)",
        "$S1 ^= {$i1, 5}",
        "$N1 += $i1",
        "$X1.append($v1)",
        "$X1[1].append($i1)",
        "$X1.a.append($i1)",
        "$X1.b = $v1",
        "$X1.extend(b'zz')",
        "print($X1.random())",
        "$nX1 = $X1.integers(100)",
        "$X1.write('more')",
        "print($X1.read(2))",
        "for item in list($L1):\n    if isinstance(item, list):\n        item.append($i1)",
        "for key in list($D1):\n    if isinstance($D1[key], list):\n        $D1[key].append(key)",
        "[$L1.append(n) for n in range(2)]",
        "$nL1 = [n for n in list($L1) if $L2.append(n) is None][:5]",
        "list(map($L1.append, [$i1, $i2]))",
        "$nN1 = len($L1) and $L1.pop()",
        "(lambda: $L1.append($i1))()",
        "getattr($L1, 'append')($i1)",
        "del $any1",
        "$any1 = $v1",
        "$any1, $any2 = $any2, $any1",
        "if (walrus := $i1) > 2: $L1.append(walrus)",
        "with __import__('contextlib').suppress(Exception):\n    $L1.append($v1)\n    1 / 0",
        "try:\n    $L1.append($i1)\n    raise ValueError($L1[0])\nexcept ValueError as problem:\n    $nX1 = problem",
        "$L1.append($i1)\n1 / 0\n$L1.append('never')",
        "$nL1 = $L1",
        "$nX1 = $v1",
        "$nL1 = $L1[:]",
        "import copy\n$nL1 = copy.copy($L1)",
        "import copy\n$nD1 = copy.deepcopy($D1)",
        "$nL1 = $D1.get('b', [])",
        "$nX1 = $L1[0]",
        "match $L1:\n    case [first, *rest]:\n        $nL1 = rest\n    case _:\n        $nL1 = [$i1]",
        "print(len($L1), $i1)",
        "1 + 1",
        "$nN1 = $i1",
        "pass",
    ],
    "function": [
        "def $nF1(v=$i1):\n    $L1.append(v)\n    return len($L1)",
        "def $nF1(v=0):\n    global $gL1\n    $gL1 = [v, $i1]\n    return v",
        "def $nF1(v=1, kept=[]):\n    kept.append(v)\n    return list(kept)",
        "def $nF1(v=1, *, also=$L1):\n    also.append(v)\n    return v",
        "def _make():\n    count = [0]\n    total = 0\n    def up(v=1):\n        nonlocal total\n        total += 1\n"
        "        count.append(v)\n        return total\n    def down(v=1):\n        nonlocal total\n        total -= 1\n"
        "        return total, list(count)\n    return up, down\n$nF1, $nF2 = _make()",
        "def _over(held):\n    return lambda v=1: held.append(v)\n$nF1 = _over($L1)",
        "$nF1 = lambda v=1: $F2(v)",
        "$nF1 = lambda v=$i1: $D1.update(last=v)",
        "def $nF1(v=2):\n    return $F2(v)",
        "def $nF1(v=2):\n    exec('$L1.append(v)', globals(), {'v': v})",
        "def $nF1(v=2):\n    globals()['$L1'].append(v)",
        "def $nF1(v=3):\n    return [f(v) for f in list($L1) if callable(f)]",
        "import functools\n$nF1 = functools.partial($F2, $i1)",
        "import functools\n@functools.lru_cache\ndef $nF1(v=1):\n    return v * 2",
        "import functools\ndef _twice(f):\n    @functools.wraps(f)\n    def twice(v=1):\n        f(v)\n        return f(v)\n"
        "    return twice\n@_twice\ndef $nF1(v=1):\n    $L1.append(v)",
        "def $nF1(v=1):\n    $nF1.calls = getattr($nF1, 'calls', 0) + 1\n    return $nF1.calls",
        "$F1.mark = $v1",
        "$nF1 = $L1.append",
        "$nF1 = $D1.__setitem__",
        "$nF1 = $O1.add",
        "$L1.append($F1)",
        "$D1['f'] = $F1",
        "print($F1($i1))",
        "$F1()",
        "$D1['f']($i1)",
        "[f for f in $L1 if callable(f)][0]($i1)",
        "print(sorted([3, 1, 2], key=lambda n: $L1.append(n) or n))",
        "list(map($F1, [1, 2]))",
        "list(filter($F1, [1, 2]))",
        "print(max([1, 2], key=$F1))" if False else "print(max([1, 2], key=lambda n: $F1(n) and 0 or 0))",
        "import functools\nprint(functools.reduce(lambda a, b: ($F1(b), a)[1], [1, 2, 3]))",
        "import re\nprint(re.sub('b', lambda m: ($L1.append(m.start()), 'x')[1], 'abcb'))",
        "import threading\n$nX1 = threading.Thread(target=$F1); $nX1.start(); $nX1.join(); del $nX1",
        "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(1) as pool: list(pool.map($F1, [1, 2]))\n"
        "del pool",
        "import types\n$nF1 = types.FunctionType((lambda v=1: $L1.append(v)).__code__, globals(), 'made', (5,))",
        "exec('$L1.append($i1)')",
        "exec('def $nF1(v=1):\\n    $L1.append(v)')",
        "globals()['$nL1'] = $L2",
        "eval('$L1').append($i1)",
    ],
    "class": [
        "class $nC1:\n    shared = []\n    def __init__(self, v=1):\n        self.items = [v]\n        self.other = $L1\n"
        "    def add(self, v=1):\n        self.items.append(v)\n        self.shared.append(v)\n        return len(self.items)",
        "class $nC1:\n    def __init__(self, v=1):\n        self._v = v\n    @property\n    def value(self):\n"
        "        $L1.append(self._v)\n        return self._v\n    @value.setter\n    def value(self, v):\n"
        "        $D1['set'] = v\n        self._v = v\n    def add(self, v=1):\n        self._v += 1",
        "class $nC1($C2):\n    def add(self, v=1):\n        $L1.append(v)\n        return super().add(v)",
        "class $nC1:\n    __slots__ = ('a', 'b')\n    def __init__(self, v=1):\n        self.a, self.b = v, [v]\n"
        "    def add(self, v=1):\n        self.b.append(v)",
        "class $nC1:\n    def __init__(self, v=1): self.v = v\n    def __add__(self, other):\n        $L1.append(other)\n"
        "        return self\n    def __eq__(self, other):\n        $L1.append('eq')\n        return self is other\n"
        "    __hash__ = object.__hash__\n    def __getitem__(self, key):\n        $D1[str(key)] = self.v\n        return key\n"
        "    def __iter__(self):\n        $L1.append('iter')\n        return iter([1, 2])\n    def __contains__(self, v):\n"
        "        $L1.append('in')\n        return True\n    def __call__(self, v=1):\n        $L1.append(v)\n        return v\n"
        "    def __len__(self):\n        $L1.append('len')\n        return 3\n    def __bool__(self):\n"
        "        $L1.append('bool')\n        return True\n    def __repr__(self):\n        $L1.append('repr')\n"
        "        return 'me'\n    def __format__(self, spec):\n        $L1.append('format')\n        return 'me'\n"
        "    def add(self, v=1): $L1.append('add')",
        "class $nC1:\n    def __getattr__(self, name):\n        if name.startswith('__'): raise AttributeError(name)\n"
        "        $L1.append(name)\n        return lambda *a: None\n    def add(self, v=1): self.__dict__.setdefault('n', []).append(v)",
        "class $nC1:\n    def __enter__(self):\n        $L1.append('enter')\n        return self\n"
        "    def __exit__(self, *_):\n        $L1.append('exit')\n    def add(self, v=1): pass",
        "class _D:\n    def __get__(self, o, k=None):\n        $L1.append('get')\n        return 5\n"
        "    def __set__(self, o, v):\n        $L1.append(v)\nclass $nC1:\n    value = _D()\n    def add(self, v=1): self.value = v",
        "class $nC1(dict):\n    def __setitem__(self, k, v):\n        $L1.append(k)\n        super().__setitem__(k, v)\n"
        "    def add(self, v=1): self[v] = v",
        "class $nC1(list):\n    def add(self, v=1):\n        self.append(v)",
        "import dataclasses\n@dataclasses.dataclass\nclass $nC1:\n    a: int = 1\n    b: list = dataclasses.field(default_factory=list)\n"
        "    def add(self, v=1): self.b.append(v)",
        "import enum\nclass $nX1(enum.Enum):\n    A = 1\n    B = 2\n$nD1 = {$nX1.A: [1], 'e': $nX1.B}",
        "import collections\n$nC1 = collections.namedtuple('$nC1', 'a b', defaults=(1, 2))",
        "class $nC1(Exception):\n    def __init__(self, v=1):\n        super().__init__(v)\n        self.held = $L1\n"
        "    def add(self, v=1): self.held.append(v)",
        "import abc\nclass _Base(abc.ABC):\n    @abc.abstractmethod\n    def add(self, v): ...\nclass $nC1(_Base):\n"
        "    def add(self, v=1): $L1.append(v)",
        "class _Meta(type):\n    def __call__(cls, *a):\n        $L1.append(cls.__name__)\n        return super().__call__(*a)\n"
        "class $nC1(metaclass=_Meta):\n    def __init__(self, v=1): self.v = v\n    def add(self, v=1): self.v = v",
        "class $nC1:\n    made = []\n    def __init_subclass__(cls): $L1.append(cls.__name__)\n    def __new__(cls, *a):\n"
        "        $L1.append('new')\n        return super().__new__(cls)\n    def add(self, v=1): self.made.append(v)",
        "class $nC1:\n    @classmethod\n    def count(cls): cls.n = getattr(cls, 'n', 0) + 1\n    @staticmethod\n"
        "    def note(v): $L1.append(v)\n    def add(self, v=1):\n        self.count(); self.note(v)",
        "$nO1 = $C1()",
        "$nO1 = $C1($i1)",
        "$nO1 = $C1($v1)",
        "$O1.add($i1)",
        "$O1.items = $L1",
        "$O1.extra = $v1",
        "$O1.items.append($v1)",
        "$C1.shared.append($i1)",
        "$C1.late = lambda self, v=1: $L1.append(v)",
        "$O1.late()",
        "$O1.value",
        "$O1.value = $i1",
        "$nX1 = $O1 + $i1",
        "$O1 == $O2",
        "$O1['k']",
        "$O1[$i1] = 3",
        "list($O1)",
        "print($i1 in $O1)",
        "$O1($i1)",
        "len($O1)",
        "bool($O1)",
        "print(f'{$O1}')",
        "print('%s' % $O1) if False else None",
        "$O1.anything($i1)",
        "with $O1: pass",
        "for item in $O1: print(item)",
        "raise $O1",
        "try:\n    raise $O1\nexcept Exception as e:\n    $nX1 = e",
        "$L1.append($O1)",
        "$D1['o'] = $O1",
        "$nO1 = $O1",
        "[o for o in $L1 if hasattr(o, 'add')][0].add($i1)",
        "$D1['o'].add($i1)",
        "$O1.next = $O2",
        "$O1.next.add($i1)",
        "$O1.back = $O1",
        "$O1.__class__ = $C1",
        "$nC1 = type($O1)",
        "sorted([$O1, $O2], key=lambda o: o.add() or 0)",
        "import operator\noperator.methodcaller('add', $i1)($O1)",
        "$nX1 = property(lambda self: $L1.append(1))\n$C1.prop = $nX1",
        "$O1.prop",
        "isinstance($O1, $C1)",
        "del $C1.shared",
        "import weakref\n$nX1 = weakref.ref($O1)",
        "$X1().add($i1)",
        "setattr($O1, 'items', [$i1])",
        "vars($O1)['direct'] = $L1",
        "$O1.__dict__['direct'] = $i1",
    ],
    "array": [
        "import numpy as np\n$nA1 = np.arange($i1 + 6) * 1.5",
        "import numpy as np\n$nA1 = np.zeros((4, 5))",
        "import numpy as np\n$nA1 = np.arange(20000.0)",
        "import numpy as np\n$nA1 = np.ones((300, 300), dtype='f4', order='F')",
        "import numpy as np\n$nA1 = np.array(['a', 'bb', 'c'])",
        "import numpy as np\n$nA1 = np.array([[$i1], $v1, 'x'], dtype=object)",
        "import numpy as np\n$nA1 = np.zeros(5, dtype=[('a', 'i4'), ('b', 'f8')])",
        "import numpy as np\n$nA1 = np.random.random(4)",
        "import numpy as np\n$nA1 = np.frombuffer(bytearray(b'abcdefgh'), dtype='u1')",
        "import numpy as np\n$nA1 = np.broadcast_to(np.arange(3), (2, 3))",
        "import numpy as np\n$nA1 = np.ma.masked_array([1, 2, 3], mask=[0, 1, 0])",
        "$nA1 = $A1[1:]",
        "$nA1 = $A1[::2]",
        "$nA1 = $A1.T",
        "$nA1 = $A1.reshape(-1)[:4]",
        "$nA1 = $A1.view()",
        "$nA1 = $A1.copy()",
        "$nA1 = $A1[::-1]",
        "$nA1 = $A1['a']",
        "$A1[0] = $i1",
        "$A1[-1] += 2",
        "$A1 += 1",
        "$A1 *= 2",
        "$A1.sort()",
        "$A1.fill($i1)",
        "$A1[...] = $A2[:1]",
        "$A1.flags.writeable = False",
        "$A1.shape = (2, -1)",
        "import numpy as np\nnp.add($A1, 1, out=$A1)",
        "import numpy as np\nnp.random.shuffle($A1)",
        "import numpy as np\nnp.copyto($A1, 7)",
        "import numpy as np\nnp.put($A1, [0], [$i1])",
        "$L1.append($A1)",
        "$D1['arr'] = $A1[1:]",
        "$D1['arr'][0] = $i1",
        "$O1.arr = $A1",
        "$O1.arr[0] = $i1",
        "$nX1 = memoryview(bytearray(b'abc'))",
        "$nX1 = $A1.flat",
        "$nF1 = lambda v=1: $A1.__setitem__(0, v)",
        "$nN1 = float($A1.sum())",
        "print($A1[:2])",
    ],
    "frame": [
        "import pandas as pd\n$nP1 = pd.DataFrame({'a': range(4), 'b': [1.5, 2.5, 3.5, 4.5], 'c': list('wxyz')})",
        "import pandas as pd\n$nP1 = pd.DataFrame({'a': [1, 2, 2], 'o': [[1], {'k': 2}, None]})",
        "import pandas as pd\n$nP1 = pd.DataFrame({'t': pd.date_range('2026-01-01', periods=4, tz='UTC'), 'k': pd.Categorical(list('abab'))})",
        "import pandas as pd\n$nP1 = pd.DataFrame({'a': pd.array([1, None, 3], dtype='Int64'), 's': pd.array(['x', None, 'z'], dtype='string')})",
        "import pandas as pd\n$nP1 = pd.DataFrame($A1)",
        "import pandas as pd\n$nR1 = pd.Series($A1)",
        "import pandas as pd\n$nR1 = pd.Series([3, 1, 2], index=list('xyz'), name='n')",
        "$nR1 = $P1['a']",
        "$nP1 = $P1[['a']]",
        "$nP1 = $P1.iloc[1:]",
        "$nP1 = $P1[:]",
        "$nP1 = $P1.copy()",
        "$nP1 = $P1.rename(columns={'b': 'bb'})",
        "$nP1 = $P1.set_index('a')",
        "$nP1 = $P1.groupby('a', as_index=False).sum(numeric_only=True)",
        "$nX1 = $P1.groupby('a')",
        "$P1['new'] = $i1",
        "$P1['new'] = $P1['a'] * 2",
        "$P1.loc[0, 'a'] = $i1",
        "$P1.iloc[0, 0] = $i1",
        "$P1.at[1, 'b'] = 9.5",
        "$P1.loc[len($P1)] = $P1.iloc[0]",
        "$P1.drop(columns=['b'], inplace=True)",
        "$P1.sort_values('a', ascending=False, inplace=True)",
        "$P1.rename(columns={'a': 'A'}, inplace=True)",
        "$P1.reset_index(drop=True, inplace=True)",
        "$P1.columns = [str(c).upper() for c in $P1.columns]",
        "$P1.columns = [str(c).lower() for c in $P1.columns]",
        "$P1.index = range(10, 10 + len($P1))",
        "$P1.index.name = 'idx'",
        "$P1.attrs['note'] = $L1",
        "$P1.insert(0, 'first$i1', 7)",
        "$P1.pop('b')",
        "del $P1['c']",
        "$P1.eval('z = a + 1', inplace=True)",
        "$P1['o'].iloc[0].append($i1)",
        "$P1.apply(lambda row: $L1.append(len(row)), axis=1)",
        "$P1['a'].map($F1)",
        "$P1.pipe(lambda f: $D1.update(n=len(f)))",
        "$R1.iloc[0] = $i1",
        "$R1 += 1",
        "$R1.update(pd.Series([9]))",
        "$R1.name = 'other'",
        "$R1.fillna(0, inplace=True)",
        "$nA1 = $R1.to_numpy()",
        "$nA1 = $P1.values",
        "$nX1 = $P1.columns",
        "$nX1 = $P1.itertuples()",
        "$D1['frame'] = $P1",
        "$D1['frame']['a'] = $i1",
        "$L1.append($R1)",
        "$O1.frame = $P1",
        "$O1.frame.loc[0, 'a'] = $i1",
        "$P1.query('a > @$N1')",
        "print($P1.shape)",
        "import pandas as pd\npd.set_option('display.max_rows', 10 + $i1)",
        "$X1.sum(numeric_only=True)",
    ],
    "iterator": [
        "$nI1 = iter($L1)",
        "$nI1 = iter([1, 2, 3, 4])",
        "$nI1 = enumerate($L1)",
        "$nI1 = zip($L1, 'abcdef')",
        "$nI1 = map($F1, [1, 2, 3])",
        "$nI1 = map(lambda n: $L1.append(n), [1, 2, 3])",
        "$nI1 = filter(None, [0, 1, 2])",
        "$nI1 = reversed([1, 2, 3])",
        "import itertools\n$nI1 = itertools.count($i1)",
        "import itertools\n$nI1 = itertools.chain($L1, [7, 8])",
        "import itertools\n$nI1 = itertools.cycle('ab')",
        "import itertools\n$nI1, $nI2 = itertools.tee([1, 2, 3])",
        "import itertools\n$nI1 = itertools.islice(itertools.count(), 2, 9)",
        "$nI1 = iter(range($i1, 10))",
        "$nI1 = iter('abcdef')",
        "$nI1 = iter($D1)",
        "$nI1 = iter(lambda: $L1.append(1), 5)",
        "$nG1 = (n for n in $L1)",
        "def _gen():\n    for n in range(9):\n        $L1.append(n)\n        yield n\n$nG1 = _gen()",
        "print(next($I1))",
        "next($I1)",
        "print(next($G1))",
        "$D1['it'] = $I1",
        "next($D1['it'])",
        "for item in $I1:\n    print(item)\n    break",
        "$L1.append($G1)",
        "$O1.gen = $G1",
        "$nD1 = {'g': (n for n in range(5)), 'l': $L1}",
        "next($D1['g'])",
    ],
    "file": [
        "open('f$j1.txt', 'w').write('text $i1')",
        "open('f$j1.txt', 'a').write('more $i1')",
        "import os\nos.remove('f$j1.txt')",
        "print(open('f$j1.txt').read())",
        "import os\nos.makedirs('sub/deep', exist_ok=True)\nopen('sub/deep/x', 'w').write('$i1')",
        "import os\nos.chdir('sub')",
        "import os\nos.chdir('..') if os.getcwd().endswith('sub') else None",
        "import shutil\nshutil.rmtree('sub')",
        "import os\nos.rename('f1.txt', 'f2.txt')",
        "import os\nos.environ['MARK'] = '$i1'",
        "$nX1 = open('f$j1.txt', 'a+')\n$nX1.seek(0)\n$nX1.read(3)",
        "$X1.read(1)",
        "$X1.write('w$i1')",
        "$X1.close()",
        "open('mod$j1.py', 'w').write('count = [0]\\nn = 0\\ndef up(v=1):\\n    global n\\n    n += 1\\n    count.append(v)\\n"
        "    return n\\n')\nimport importlib\nimportlib.invalidate_caches()\nimport mod$j1",
        "import mod$j1\nprint(mod$j1.up($i1))",
        "import mod$j1\nmod$j1.count.append($v1)",
        "import mod$j1\n$nL1 = mod$j1.count",
        "from mod$j1 import up as $nF1",
        "import mod$j1\nmod$j1.note = $L1",
        "import mod$j1\nmod$j1.note.append($i1)",
        "import mod1\nmod1.hook = $F1",
        "import mod1\nmod1.hook($i1)",
        "import random\nrandom.seed($i1)",
        "import random\n$nN1 = random.random()",
        "import random\nrandom.shuffle($L1)",
        "import decimal\ndecimal.getcontext().prec = 20 + $i1",
        "import sys\nsys.setrecursionlimit(900 + $i1)",
    ],
}
_WEIGHTS = {"make": 3, "change": 5, "function": 4, "class": 5, "array": 3, "frame": 3, "iterator": 2, "file": 2}
_NAMES = {
    kind: [f"{kind.lower()}{number}" for number in range(1, count)]
    for kind, count in dict(L=6, D=4, S=3, F=6, C=4, O=6, A=5, P=4, R=4, I=4, G=3, N=3, X=6).items()
}
_START = "l1 = [1, 2]; d1 = {'a': [1]}; l2 = l1"


@dataclass
class Step:
    """`kind`: cell (`code`), undo, fork, switch (`to`: how far back, or which session) or kill."""

    kind: str
    code: str = ""
    to: int = 0


@dataclass
class _Writer:
    random: random.Random
    families: list[str]
    kinds: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list, L=["l1", "l2"], D=["d1"]))

    def cell(self) -> str:
        parts = [part for _ in range(self.random.choice((1, 1, 1, 2, 2, 3))) if (part := self._part())]
        code = "\n".join(parts) or "pass"
        return code

    def _part(self) -> str:
        for _ in range(20):
            family = self.random.choices(self.families, [_WEIGHTS[name] for name in self.families])[0]
            written = self._fill(self.random.choice(_TEMPLATES[family]))
            if written is not None:
                return written
        return "pass"

    def _fill(self, template: str) -> str | None:
        chosen: dict[str, str] = {}
        made: list[tuple[str, str]] = []
        for mark in re.findall(r"\$(\w+?\d)", template):
            if mark in chosen:
                continue
            kind = mark[:-1]
            if kind == "i":
                chosen[mark] = str(self.random.randint(1, 6))
            elif kind == "j":
                chosen[mark] = str(self.random.randint(1, 3))
            elif kind == "v":
                chosen[mark] = self._value()
            elif kind == "any":
                names = [name for held in self.kinds.values() for name in held]
                chosen[mark] = self.random.choice(names)
            elif kind[0] in "ng" and len(kind) == 2:
                # A taken name is bound anew as often as not.
                chosen[mark] = self.random.choice(_NAMES[kind[1]])
                made.append((kind[1], chosen[mark]))
            elif self.kinds[kind]:
                chosen[mark] = self.random.choice(self.kinds[kind])
            else:
                return None
        for kind, name in made:
            if name not in self.kinds[kind]:
                self.kinds[kind].append(name)
        return re.sub(r"\$(\w+?\d)", lambda found: chosen[found[1]], template)

    def _value(self) -> str:
        names = [name for held in self.kinds.values() for name in held]
        if self.random.random() < 0.6:
            return self.random.choice(names)
        return self.random.choice(["[1, 2]", "{'k': 1}", "'text'", "3.5", "None", "(1, [2])", "{1, 2}", "b'x'"])


def write(seed: int, cells: int = 25) -> list[Step]:
    """The program of a seed."""
    source = random.Random(seed)
    count = source.randint(2, len(_TEMPLATES))
    families = sorted({"make", "change", *source.sample(sorted(_TEMPLATES), count)})
    writer = _Writer(source, families)
    steps = [Step("cell", _START)]
    for _ in range(cells):
        steps.append(Step("cell", writer.cell()))
        chance = source.random()
        if chance < 0.05:
            steps.append(Step("undo", to=source.randint(1, 4)))
        elif chance < 0.08:
            steps.append(Step("kill"))
        elif chance < 0.10:
            steps.append(Step("fork", to=source.randint(0, 3)))
        elif chance < 0.12:
            steps.append(Step("switch", to=source.randint(0, 3)))
        elif chance < 0.14:
            steps.append(Step("redo", to=source.randint(1, 3)))
    return steps

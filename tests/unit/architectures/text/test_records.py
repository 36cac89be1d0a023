"""Named tuples, enumerations and containers of a class text are those of Python."""

import pytest

from tests.classes.plain import assert_same_as_python
from tests.classes.refused_texts import net

TEXTS = {
    "namedtuple": net(
        top="""\
import collections
Out = collections.namedtuple('Out', ['a', 'b'])
Cfg = collections.namedtuple('Cfg', 'w d', defaults=[2])
""",
        init="self.c = Cfg(w=3)",
        forward="""\
o = Out(a=x, b=x * 2)
a, b = o
return self.layer(o.a + o[1] + b) * self.c.w * self.c.d * len(o)
""",
    ),
    "NamedTuple": """\
import typing
class Out(typing.NamedTuple):
    a: torch.Tensor
    k: int = 3
    def both(self):
        return self.a * self.k

class Net(nn.Module):

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        o = Out(x)
        return self.layer(o.both())
""",
    "NamedTuple output": """\
import typing
class Out(typing.NamedTuple):
    a: torch.Tensor
    b: torch.Tensor

class Net(nn.Module):

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return Out(self.layer(x), b=x)
""",
    "namedtuple replace": net(
        top="""\
import collections
Cfg = collections.namedtuple('Cfg', 'w d')
""",
        init="""\
c = Cfg(1, 2)._replace(d=5)
self.k = c.d + len(c._asdict())
""",
        forward="return self.layer(x) * self.k",
    ),
    "Enum": """\
import enum
class Mode(enum.Enum):
    A = 1
    B = 'b'

class Net(nn.Module):

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.mode = Mode.A
        self.k = len(Mode) + (Mode('b') is Mode.B) + len([m for m in Mode]) + len(Mode['A'].name)
    def forward(self, x):
        h = self.layer(x)
        if self.mode == Mode.A:
            h = h * self.mode.value * self.k
        d = {Mode.A: 2, Mode.B: 3}
        return h * d[self.mode] * (self.mode is not Mode.B) * (self.mode in (Mode.A,))
""",
    "Enum str": """\
import enum
class Act(str, enum.Enum):
    RELU = 'relu'
    TANH = 'tanh'
class N(enum.IntEnum):
    A = 2
    B = enum.auto()

class Net(nn.Module):

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.act = Act('tanh')
        self.k = N.B + 1
    def forward(self, x):
        h = self.layer(x) * self.k
        if self.act == 'tanh':
            h = h.tanh()
        return F.relu(h) if self.act == Act.RELU else h
""",
    "defaultdict": net(
        top="import collections",
        init="""\
d = collections.defaultdict(list)
d['a'].append(3)
e = collections.defaultdict(int)
e['q'] += 4
self.k = d['a'][0] + e['q'] + len(d['z']) + len(d)
""",
        forward="return self.layer(x) * self.k",
    ),
    "deque": net(
        top="import collections",
        init="""\
d = collections.deque([1, 2], maxlen=2)
d.append(3)
d.appendleft(9)
self.k = d.popleft() + d[0] + len(d)
""",
        forward="""\
q = collections.deque()
q.append(x)
return self.layer(q.pop()) * self.k
""",
    ),
    "OrderedDict": net(
        top="import collections",
        init="""\
self.s = nn.Sequential(collections.OrderedDict([('a', nn.Linear(3, 3)), ('b', nn.ReLU())]))
d = collections.OrderedDict()
d['z'] = nn.ReLU()
d.move_to_end('z')
self.d = nn.ModuleDict(d)
""",
        forward="return self.layer(self.s(x))",
    ),
}

# PyTorch warns of its own older functions.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.mark.parametrize("source", TEXTS.values(), ids=TEXTS)
def test_the_text_is_that_of_python(source: str) -> None:
    """Print, initial values, outputs, gradients and the random numbers that follow are those of Python."""
    assert_same_as_python(source)

"""Decorators of a class text do what they do in Python."""

import pytest

from tests.classes.plain import assert_same_as_python
from tests.classes.refused_texts import net

TEXTS = {
    "lru_cache layer": net(
        top="""\
import functools
@functools.lru_cache
def make(n):
    return nn.Linear(n, n)
""",
        init="""\
self.a = make(3)
self.b = make(3)
""",
    ),
    "lru_cache method": net(
        top="import functools",
        body="""\
@functools.lru_cache(maxsize=8)
def mask(self, n):
    return torch.ones(n)
""",
        forward="return self.layer(x * self.mask(3))",
    ),
    "cached_property": net(
        top="import functools",
        body="""\
@functools.cached_property
def scale(self):
    return torch.full((2,), 3.0)
""",
        forward="return self.layer(x) * self.scale * self.scale",
    ),
    "setter": net(
        body="""\
@property
def k(self):
    return self._k
@k.setter
def k(self, v):
    self._k = v * 2
""",
        init="self.k = 4",
        forward="return self.layer(x) * self.k",
    ),
    "staticmethod function": net(
        body="""\
act = staticmethod(torch.tanh)
norm = staticmethod(F.relu)
""",
        forward="return self.act(self.layer(self.norm(x)))",
    ),
    "property function": net(
        body="""\
def _k(self):
    return 3
k = property(_k)
""",
        forward="return self.layer(x) * self.k",
    ),
    "jit": net(
        top="import typing",
        body="""\
@torch.jit.export
def a(self, x):
    return x
@torch.jit.ignore
def b(self, x):
    return x
@torch.jit.unused
def c(self, x):
    return x
@torch.jit.ignore()
def e(self, x):
    return x
@typing.final
def d(self, x):
    return x
""",
        forward="return self.a(self.b(self.c(self.d(self.e(self.layer(x))))))",
    ),
    "no_grad": net(
        body="""\
@torch.no_grad()
def a(self, x):
    return x * 2
@torch.no_grad
def b(self, x):
    return x * 2
@torch.inference_mode(False)
def c(self, x):
    return x
""",
        forward="return self.layer(x) + self.a(self.b(x)).sum()",
    ),
    "classmethod": net(
        body="""\
@classmethod
def k(cls):
    return 3
""",
        forward="return self.layer(x) * self.k()",
    ),
    "user decorator": net(
        top="""\
import functools
def twice(f):
    @functools.wraps(f)
    def wrapper(*args, **kwargs):
        return f(*args, **kwargs) * 2
    return wrapper
""",
        body="""\
@twice
def h(self, x):
    return x + 1
""",
        forward="return self.layer(self.h(x))",
    ),
    "user decorator args": net(
        top="""\
def times(n):
    def wrap(f):
        def g(self, x):
            return f(self, x) * n
        return g
    return wrap
""",
        body="""\
@times(3)
def h(self, x):
    return x + 1
""",
        forward="return self.layer(self.h(x))",
    ),
    "registry": """\
REG = {}
def register(name):
    def wrap(cls):
        REG[name] = cls
        return cls
    return wrap
@register('a')
class B(nn.Module):
    def __init__(self):
        super().__init__()
        self.l = nn.Linear(3, 3)
    def forward(self, x):
        return self.l(x)

class Net(nn.Module):

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.b = REG['a']()
    def forward(self, x):
        return self.layer(self.b(x))
""",
    "decorated forward": """\
def half(f):
    def g(self, x):
        return f(self, x) / 2
    return g
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
    @half
    def forward(self, x):
        return self.layer(x)
""",
}

# PyTorch warns of its own older functions.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.mark.parametrize("source", TEXTS.values(), ids=TEXTS)
def test_the_text_is_that_of_python(source: str) -> None:
    """Print, initial values, outputs, gradients and the random numbers that follow are those of Python."""
    assert_same_as_python(source)

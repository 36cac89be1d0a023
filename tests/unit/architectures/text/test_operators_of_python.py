# ruff: noqa: E501
"""Operators, strings and masks of a class text compute what they compute in Python."""

import pytest

from tests.classes.plain import assert_same_as_python
from tests.classes.refused_texts import net

TEXTS = {
    "shift": net(
        init="""\
self.k = (1 << 3) + (16 >> 2) + (5 & 3) + (5 | 2) + (5 ^ 1) + ~2
a = 1
a <<= 2
a |= 3
a >>= 1
self.k += a
""",
        forward="return self.layer(x) * self.k",
    ),
    "divmod pow round": net(
        init="""\
q, r = divmod(17, 5)
self.k = q * r + pow(3, 4, 5) + round(3.14159, 2) + round(2.5) + round(number=2.567, ndigits=1)
""",
        forward="return self.layer(x) * self.k",
    ),
    "strings": net(
        init="""\
s = 'conv-bn-relu'.split('-')
self.k = len(s) + len('_'.join(s)) + 'a{}b{x}'.format(1, x=2).startswith('a1') + len('A'.lower().upper().strip().replace('A', 'bb')) + len('x'.zfill(4)) + len('a'.ljust(3)) + 'a,b;'.rstrip(';').count(',') + len('ab\\ncd'.splitlines())
""",
        forward="return self.layer(x) * self.k",
    ),
    "str misc": net(
        init="self.k = len('a'.center(5)) + len('a'.rjust(7)) + 'ab'.isalnum() + 'a'.isidentifier() + len('a-b-c'.rsplit('-', 1)) + 'Ab'.swapcase().startswith('a') + len('%s-%d' % ('a', 3)) + '1'.isnumeric()+ ord('a') + len(chr(97)) + len(repr('a')) + int('ff', 16)",
        forward="return self.layer(x) * self.k",
    ),
    "mask update": net(
        forward="""\
h = self.layer(x)
h[h > 0] *= 2
return h
"""
    ),
    "mask set": net(
        forward="""\
h = self.layer(x)
h[h > 0] = 0.5
return h
"""
    ),
    "mask update add": net(
        forward="""\
h = self.layer(x).clone()
h[h < 0] += 1.5
h[:, 0] -= 1
h[..., 1:] /= 2
return h
"""
    ),
    "bool list": net(forward="return self.layer(x[:, [True, True, True]])"),
    "bool list cut": net(forward="return self.layer(x)[:, [True, False]]"),
    "TYPE_CHECKING": net(
        top="""\
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    K = 1
else:
    K = 3
""",
        forward="return self.layer(x) * K",
    ),
    "typing": net(
        top="""\
from typing import Optional, List, Generic, TypeVar, Protocol, Union, Literal, Callable, Any
T = TypeVar('T')
Float = Union[int, float]
Arr = List[Optional[int]]
""",
        body="""\
k: Optional[int] = 3
def f(self, v: Optional[List[int]] = None, w: 'Callable[..., Any]' = None) -> Union[int, None]:
    return 2
""",
        forward="return self.layer(x) * self.k * self.f()",
    ),
    "abc": net(
        top="""\
from abc import ABC, abstractmethod
class Base(nn.Module, ABC):
    @abstractmethod
    def f(self, x):
        ...
    def forward(self, x):
        return self.f(x)
class Sub(Base):
    def f(self, x):
        return x * 2
""",
        init="self.s = Sub()",
        forward="return self.layer(self.s(x))",
    ),
    "deepcopy list": net(
        top="import copy",
        init="""\
layer = nn.Linear(3, 3)
self.l = nn.ModuleList([copy.deepcopy(layer) for _ in range(3)])
self.c = copy.deepcopy({'a': [1]})
self.f = copy.copy([1])
""",
        forward="""\
for l in self.l:
    x = l(x)
return self.layer(x)
""",
    ),
}

# PyTorch warns of its own older functions.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.mark.parametrize("source", TEXTS.values(), ids=TEXTS)
def test_the_text_is_that_of_python(source: str) -> None:
    """Print, initial values, outputs, gradients and the random numbers that follow are those of Python."""
    assert_same_as_python(source)

# ruff: noqa: E501
"""Iterators of a class text give the elements that they give in Python."""

import pytest

from tests.classes.plain import assert_same_as_python
from tests.classes.refused_texts import net

TEXTS = {
    "getitem iteration": """\
class Seq:
    def __init__(self, n):
        self.n = n
    def __len__(self):
        return self.n
    def __getitem__(self, i):
        if i >= self.n:
            raise IndexError
        return i * 2
class It:
    def __init__(self, v):
        self.v = v
    def __iter__(self):
        return iter(self.v)
    def __contains__(self, q):
        return q in self.v

class Net(nn.Module):

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.k = sum(Seq(4)) + sum(v for v in It([1, 2])) + (1 in It([1])) + len(Seq(2))
    def forward(self, x):
        return self.layer(x) * self.k
""",
    "module iter": """\
class Stack(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(3, 3) for _ in range(2)])
    def __iter__(self):
        return iter(self.layers)
    def __len__(self):
        return len(self.layers)
    def forward(self, x):
        for l in self:
            x = l(x)
        return x * len(self)

class Net(nn.Module):

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.s = Stack()
    def forward(self, x):
        return self.layer(self.s(x))
""",
    "builtins": net(
        init="self.k = sum(i * v for i, v in enumerate([1, 2], start=1)) + sum(a * b for a, b in zip([1, 2], [3, 4], strict=True)) + sorted([3, 1, 2], key=lambda v: -v, reverse=True)[0] + max([], default=4) + max([1, -5], key=abs) + sum([1], 5) + sum([1], start=5) + any(v > 1 for v in [1, 2]) + all([]) + len(list(filter(None, [0, 1]))) + min(3, 4, key=lambda v: -v)",
        forward="return self.layer(x) * self.k",
    ),
    "itertools": net(
        top="import itertools",
        init="self.k = sum(itertools.chain([1], [2, 3])) + len(list(itertools.product([1, 2], repeat=2))) + sum(a * b for a, b in itertools.pairwise([1, 2, 3])) + list(itertools.accumulate([1, 2, 3]))[-1] + sum(itertools.repeat(2, 3)) + sum(itertools.chain.from_iterable([[1], [2]])) + next(itertools.count(3)) + sum(itertools.islice(itertools.count(1), 3)) + len(list(itertools.combinations([1, 2, 3], 2))) + len(list(itertools.permutations([1, 2, 3], 2))) + sum(1 for _ in itertools.zip_longest([1], [1, 2])) + sum(itertools.starmap(pow, [(2, 3)])) + sum(itertools.takewhile(lambda v: v < 3, [1, 2, 3]))",
        forward="return self.layer(x) * self.k",
    ),
    "itertools zip layers": net(
        top="import itertools",
        init="""\
dims = [3, 4, 5, 3]
self.s = nn.Sequential(*itertools.chain.from_iterable((nn.Linear(a, b), nn.ReLU()) for a, b in itertools.pairwise(dims)))
""",
        forward="return self.layer(self.s(x))",
    ),
    "reduce": net(
        init="""\
from functools import reduce
import operator
self.k = reduce(lambda a, b: a * b, [1, 2, 3], 2) + reduce(operator.mul, [2, 3]) + operator.add(1, 2) + operator.itemgetter(1)([5, 6])
""",
        forward="return self.layer(x) * self.k",
    ),
}

# PyTorch warns of its own older functions.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.mark.parametrize("source", TEXTS.values(), ids=TEXTS)
def test_the_text_is_that_of_python(source: str) -> None:
    """Print, initial values, outputs, gradients and the random numbers that follow are those of Python."""
    assert_same_as_python(source)

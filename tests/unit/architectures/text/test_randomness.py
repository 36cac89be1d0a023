"""Seeds and generators of a constructor give the values that they give in Python."""

import pytest

from tests.classes.plain import assert_same_as_python
from tests.classes.refused_texts import net

TEXTS = {
    "generator": net(
        init="""\
g = torch.Generator().manual_seed(0)
nn.init.normal_(self.layer.weight, generator=g)
self.p = nn.Parameter(torch.randn(3, generator=g))
"""
    ),
    "generator device": net(
        init="""\
g = torch.Generator(device='cpu')
g.manual_seed(7)
nn.init.xavier_uniform_(self.layer.weight, generator=g)
nn.init.kaiming_normal_(self.layer.weight, generator=g)
nn.init.trunc_normal_(self.layer.weight, std=.02, generator=g)
nn.init.orthogonal_(self.layer.weight, generator=g)
"""
    ),
    "generator unseeded": net(
        init="""\
g = torch.Generator()
self.register_buffer('b', torch.rand(3, generator=g))
self.register_buffer('c', torch.randperm(5, generator=g))
self.register_buffer('d', torch.randint(0, 9, (3,), generator=g))
"""
    ),
    "generator method": net(
        init="""\
g = torch.Generator().manual_seed(1)
self.layer.weight.data.normal_(0, 1, generator=g)
self.layer.bias.data.uniform_(-1, 1, generator=g)
self.s = g.initial_seed()
""",
        forward="return self.layer(x) * self.s",
    ),
    "generator kept": net(
        init="""\
self.g = torch.Generator().manual_seed(1)
self.p = nn.Parameter(torch.empty(3).normal_(generator=self.g))
"""
    ),
    "generator normal bernoulli": net(
        init="""\
g = torch.Generator().manual_seed(1)
self.register_buffer('a', torch.normal(0.0, 1.0, (3,), generator=g))
self.register_buffer('m', torch.bernoulli(torch.full((9,), .5), generator=g))
self.register_buffer('mm', torch.normal(torch.zeros(3), torch.ones(3), generator=g))
"""
    ),
    "generator big": net(
        init="""\
g = torch.Generator().manual_seed(1)
self.p = nn.Parameter(torch.randn(300, 300, generator=g))
"""
    ),
    "generator none": net(
        init="""\
nn.init.normal_(self.layer.weight, generator=None)
self.p = nn.Parameter(torch.randn(3, generator=None))
"""
    ),
    "manual_seed": net(
        init="""\
torch.manual_seed(0)
self.b = nn.Linear(3, 3)
"""
    ),
    "manual_seed cuda": net(
        init="""\
torch.cuda.manual_seed_all(0)
torch.manual_seed(5)
self.b = nn.Linear(3, 3)
"""
    ),
    "seed fn": net(
        top="""\
def seed_all(s):
    torch.manual_seed(s)
    torch.cuda.manual_seed(s)
    np.random.seed(s)
    random.seed(s)
import random
import numpy as np
""",
        init="""\
seed_all(4)
self.b = nn.Linear(3, 3)
""",
    ),
}

# PyTorch warns of its own older functions.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.mark.parametrize("source", TEXTS.values(), ids=TEXTS)
def test_the_text_is_that_of_python(source: str) -> None:
    """Print, initial values, outputs, gradients and the random numbers that follow are those of Python."""
    assert_same_as_python(source)

"""Modes of layers that a class sets are those that it has in Python."""

import pytest

from tests.classes.plain import assert_same_as_python
from tests.classes.refused_texts import net

TEXTS = {
    "train override": net(
        body="""\
def train(self, mode=True):
    super().train(mode)
    for m in self.modules():
        if isinstance(m, nn.BatchNorm1d):
            m.eval()
    return self
""",
        init="""\
self.bn = nn.BatchNorm1d(3)
self.d = nn.Dropout()
""",
        forward="return self.layer(self.d(self.bn(x)))",
    ),
    "eval override": net(
        body="""\
def eval(self):
    return self.train(False)
""",
        init="self.d = nn.Dropout()",
        forward="return self.layer(self.d(x))",
    ),
    "train nested": """\
class B(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm1d(3)
    def train(self, mode=True):
        return super().train(False)
    def forward(self, x):
        return self.bn(x)

class Net(nn.Module):

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.b = B()
        self.bn = nn.BatchNorm1d(3)
    def forward(self, x):
        return self.layer(self.bn(self.b(x)))
""",
    "training set init": net(
        init="""\
self.bn = nn.BatchNorm1d(3)
self.bn.training = False
""",
        forward="return self.layer(self.bn(x))",
    ),
    "eval in init": net(
        init="""\
self.bn = nn.BatchNorm1d(3)
self.bn.eval()
""",
        forward="return self.layer(self.bn(x))",
    ),
    "eval in forward": net(
        init="self.bn = nn.BatchNorm1d(3)",
        forward="""\
self.bn.eval()
return self.layer(self.bn(x))
""",
    ),
    "training set in forward": net(
        init="self.bn = nn.BatchNorm1d(3)",
        forward="""\
self.bn.training = False
return self.layer(self.bn(x))
""",
    ),
    "mc dropout": net(
        init="self.d = nn.Dropout()",
        forward="""\
self.d.train()
return self.layer(self.d(x))
""",
    ),
}

# PyTorch warns of its own older functions.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.mark.parametrize("source", TEXTS.values(), ids=TEXTS)
def test_the_text_is_that_of_python(source: str) -> None:
    """Print, initial values, outputs, gradients and the random numbers that follow are those of Python."""
    assert_same_as_python(source)

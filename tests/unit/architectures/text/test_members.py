# ruff: noqa: E501
"""Members, class attributes and elements can be read, set and deleted as in Python."""

import pytest

from tests.classes.plain import assert_same_as_python
from tests.classes.refused_texts import net

TEXTS = {
    "class count": """\
class Block(nn.Module):
    count = 0
    def __init__(self):
        super().__init__()
        Block.count += 1
        self.k = Block.count
    def forward(self, x):
        return x * self.k

class Net(nn.Module):

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.a = Block()
        self.b = Block()
    def forward(self, x):
        return self.b(self.a(self.layer(x)))
""",
    "class count type(self)": """\
class Block(nn.Module):
    count = 0
    def __init__(self):
        super().__init__()
        type(self).count += 1
        self.k = self.__class__.count
    def forward(self, x):
        return x * self.k

class Net(nn.Module):

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.a = Block()
        self.b = Block()
    def forward(self, x):
        return self.b(self.a(self.layer(x)))
""",
    "_modules": net(
        init="self.a = nn.ReLU()",
        forward="""\
for name, m in self._modules.items():
    if name != 'layer':
        x = m(x)
return self._modules['layer'](x) * len(self._modules)
""",
    ),
    "_parameters": net(
        init="""\
self.p = nn.Parameter(torch.ones(3))
self.register_buffer('b', torch.ones(3))
""",
        forward="return self.layer(x * self._parameters['p'] + self._buffers['b']) * ('p' in self._parameters)",
    ),
    "_modules set": net(
        init="self._modules['q'] = nn.Linear(3, 3)", forward="return self.layer(self._modules['q'](x))"
    ),
    "_modules values": net(
        init="self.l = nn.Sequential(nn.ReLU(), nn.Linear(3, 3))",
        forward="""\
for m in self.l._modules.values():
    x = m(x)
for k in self.l._modules.keys():
    x = self.l._modules[k](x)
return self.layer(x)
""",
    ),
    "del list": net(
        init="""\
l = [1, 2, 3]
del l[0]
d = {'a': 1}
del d['a']
self.k = len(l) + len(d)
""",
        forward="return self.layer(x) * self.k",
    ),
    "del attribute": net(
        init="""\
self.q = nn.Linear(3, 3)
self.r = 3
del self.q
del self.r
self.k = hasattr(self, 'q') + hasattr(self, 'r') + 3
""",
        forward="return self.layer(x) * self.k",
    ),
    "del layers": net(
        init="""\
self.s = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1))
del self.s[-1]
self.m = nn.ModuleList([nn.ReLU(), nn.ReLU()])
del self.m[0]
self.e = nn.ModuleDict({'a': nn.ReLU(), 'b': nn.ReLU()})
del self.e['a']
""",
        forward="return self.layer(self.s(x))",
    ),
    "del slice": net(
        init="""\
l = [1, 2, 3, 4]
del l[1:3]
self.k = l[1]
""",
        forward="return self.layer(x) * self.k",
    ),
    "delattr": net(
        init="""\
self.q = nn.Linear(3, 3)
delattr(self, 'q')
"""
    ),
    "walrus comprehension": net(
        init="""\
l = [y := i * 2 for i in range(3)]
self.k = y
""",
        forward="return self.layer(x) * self.k",
    ),
    "walrus any": net(
        init="""\
if any((found := m) for m in [0, 0, 3]):
    self.k = found
""",
        forward="return self.layer(x) * self.k",
    ),
    "bn momentum None": net(
        init="self.bn = nn.BatchNorm1d(3, momentum=None)", forward="return self.layer(self.bn(x))"
    ),
    "orthogonal": net(
        init="self.o = nn.utils.parametrizations.orthogonal(nn.Linear(3, 3))",
        forward="return self.layer(self.o(x))",
    ),
    "orthogonal tall": net(
        init="""\
from torch.nn.utils.parametrizations import orthogonal
self.o = orthogonal(nn.Linear(3, 5))
""",
        forward="return self.layer(x) + self.o(x).sum()",
    ),
    "spectral": net(
        init="""\
self.o = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3))
self.p = nn.utils.spectral_norm(nn.Linear(3, 3))
self.w = nn.utils.weight_norm(nn.Linear(3, 3))
""",
        forward="return self.layer(self.w(self.p(self.o(x))))",
    ),
    "methods that a layer calls": net(
        top="""\
class Own(nn.Linear):
    def reset_parameters(self):
        nn.init.xavier_uniform_(self.weight)
        super().reset_parameters()
        nn.Linear.reset_parameters(self)
        self.bias.data.fill_(0.1)
class Conv(nn.Conv1d):
    def _conv_forward(self, input, weight, bias):
        return super().forward(input) if False else F.conv1d(input, weight * 2, bias)
""",
        init="self.own = Own(3, 3)\nself.conv = Conv(4, 4, 1)",
        forward="return self.layer(self.conv(self.own(x)))",
    ),
    "copy of an object": net(
        top="""\
import copy
class Config:
    width = 3
    def __init__(self):
        self.sizes = [1, 2]
""",
        init="""\
a = Config()
b, c = copy.copy(a), copy.deepcopy(a)
b.width = 5
a.sizes.append(3)
self.k = b.width + len(b.sizes) + len(c.sizes) + c.width
""",
        forward="return self.layer(x) * self.k",
    ),
    "attribute set to what it is": net(
        init="self.table = torch.ones(3)",
        forward="self.table = self.table.to(x.device)\nreturn self.layer(x * self.table)",
    ),
    "mark on a parameter": net(
        init="self.layer.weight._no_decay = True\nself.k = getattr(self.layer.weight, '_no_decay', False) + 1",
        forward="return self.layer(x) * self.k",
    ),
    "print in a branch that is not taken": net(forward="if x.dim() > 2:\n    print(x)\nreturn self.layer(x)"),
    "one sample to a layer": net(
        init="self.z = nn.Parameter(torch.randn(3))", forward="return self.layer(x) * self.layer(self.z)"
    ),
    "gradients on a condition": net(
        forward="with torch.set_grad_enabled(self.training):\n    y = self.layer(x)\nreturn y + self.layer(x)"
    ),
}

# PyTorch warns of its own older functions.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.mark.parametrize("source", TEXTS.values(), ids=TEXTS)
def test_the_text_is_that_of_python(source: str) -> None:
    """Print, initial values, outputs, gradients and the random numbers that follow are those of Python."""
    assert_same_as_python(source)

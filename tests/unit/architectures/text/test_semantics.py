"""Statements and expressions of a class text mean what they mean in Python, or are refused."""

import pytest
import torch

from service.architectures.check.check import check
from service.errors import InvalidRequest
from service.specs.architecture import read_architecture
from tests.classes.plain import assert_same_as_python
from tests.classes.refused_texts import net

# Lines of a class whose `self.k` becomes a factor of the output.
EQUAL = {
    "generator is lazy": net(
        init="layers = (nn.Linear(3, 3) for _ in range(2))\nself.head = nn.Linear(3, 1)\n"
        "self.body = nn.Sequential(*layers)"
    ),
    "map is lazy": net(
        init="made = map(lambda w: nn.Linear(3, w), [2, 3])\nself.head = nn.Linear(3, 1)\n"
        "self.body = nn.ModuleList(made)"
    ),
    "zip draws in turn": net(
        init="pairs = zip((nn.Linear(3, 3) for _ in range(2)), (nn.Linear(2, 2) for _ in range(2)))\n"
        "self.body = nn.ModuleList([nn.ModuleList(pair) for pair in pairs])"
    ),
    "iterator goes on": net(
        init="it = iter([1, 2, 3, 4])\nfor i, v in enumerate(it):\n    if v == 2:\n        break\n"
        "self.k = sum(it)",
        forward="return self.layer(x) * self.k",
    ),
    "generator sees later values": net(
        init="k = 1\ng = (k * v for v in range(4))\nk = 10\nself.k = sum(g)",
        forward="return self.layer(x) * self.k",
    ),
    "body of a class in order": net(
        body="def f(self, x):\n    return x * 3\ng = f\nf = lambda self, x: x * 5",
        forward="return self.layer(self.f(self.g(x)))",
    ),
    "comprehension in a class": net(
        body="n = 3\nv = [i * 2 for i in range(n)]", forward="return self.layer(x) * self.v[2]"
    ),
    "class attribute before member": net(
        body="extra = None",
        init="self.extra = nn.Linear(2, 2)",
        forward="x = self.layer(x)\nreturn x if self.extra is None else self.extra(x)",
    ),
    "updates keep aliases": net(
        init="a = [1, 2]\nb = a\nb *= 2\nc = {1}\nd = c\nd |= {2}\ne = {}\nf = e\nf |= {'k': 3}\n"
        "self.k = len(a) + len(c) + e['k']",
        forward="return self.layer(x) * self.k",
    ),
    "copy of a tensor": net(
        forward="h = self.layer(x)\ny = h.to(h.device, copy=True)\ny[:, 0] = 0\nreturn h + y"
    ),
    "number of a base": net(init="self.k = int('101', 2)", forward="return self.layer(x) * self.k"),
    "buffer set and its alias": net(
        init="self.register_buffer('m', torch.zeros(2))",
        forward="old = list(self.buffers())[0]\nself.m = self.layer(x).mean(0)\n"
        "return self.layer(x) + old - self.m",
    ),
    "methods that exist": net(
        init="self.act = nn.ReLU()\nfor m in self.modules():\n"
        "    if hasattr(m, 'reset_parameters'):\n        m.reset_parameters()"
    ),
    "list of modules extended": net(init="self.all = nn.ModuleList([])\nself.all += [nn.Linear(3, 3)]"),
    "values of a parameter": net(init="self.layer.weight.data = torch.ones(2, 3)"),
}


@pytest.mark.parametrize("source", EQUAL.values(), ids=EQUAL)
def test_a_text_computes_what_python_computes(source: str) -> None:
    """Initial values, outputs and buffers are those of the same text in Python."""
    assert_same_as_python(source)


REFUSED = {
    "loop at the top": (
        net(top="n = []\nfor i in range(3):\n    n.append(i)", init="self.n = n"),
        "is not run; remove it",
    ),
    "attribute at the top": (net() + "\nNet.n = 7\n", "is not run; remove it"),
    "plain tensor changed": (
        net(init="self.n = torch.zeros(2)", forward="self.n.add_(1)\nreturn self.layer(x) + self.n"),
        "register_buffer",
    ),
    "plain tensor changed through its data": (
        net(init="self.n = torch.zeros(2)", forward="self.n.data.add_(1)\nreturn self.layer(x) + self.n"),
        "register_buffer",
    ),
    "plain tensor changed through a view": (
        net(
            init="self.n = torch.zeros(2)",
            forward="self.n.detach()[:1].fill_(1)\nreturn self.layer(x) + self.n",
        ),
        "register_buffer",
    ),
    "values of a parameter set in forward": (
        net(forward="self.layer.weight.data = torch.ones(2, 3)\nreturn self.layer(x)"),
        "cannot be set",
    ),
    "tensor of the text changed": (
        net(top="n = torch.zeros(2)", forward="n[0] = 1\nreturn self.layer(x) + n"),
        "register_buffer",
    ),
    "buffer that is not saved": (
        net(
            init="self.register_buffer('n', torch.zeros(2), persistent=False)",
            forward="self.n += 1\nreturn self.layer(x) + self.n",
        ),
        "is not saved with",
    ),
    "iterator of the model": (
        net(init="self.n = iter([1, 2])", forward="return self.layer(x) * next(self.n)"),
        "belongs to the model",
    ),
    "set of the model": (
        net(init="self.n = set()", forward="self.n.add(1)\nreturn self.layer(x)"),
        "belongs to the model",
    ),
    "list of a closure": (
        net(init="n = []\nself.f = lambda x: n.append(1)", forward="self.f(x)\nreturn self.layer(x)"),
        "belongs to the model",
    ),
    "call of a module": (
        net(body="def __call__(self, x):\n    return self.forward(x) * 2"),
        "define `forward`",
    ),
    "question for an attribute of Python": (
        net(init="self.n = hasattr(self, 'state_dict')"),
        "cannot be read here",
    ),
    "comparison of objects": (
        net(top="class C:\n    pass", init="self.n = C() == C()"),
        "compare their attributes",
    ),
    "list in a set": (net(init="self.n = {[1]}"), "cannot be a key"),
    "parameter named as a class attribute": (
        net(body="n = 1", init="self.n = nn.Parameter(torch.ones(1))"),
        "attribute of the class, too",
    ),
}


@pytest.mark.parametrize(("source", "message"), REFUSED.values(), ids=REFUSED)
def test_what_would_differ_from_python_is_refused(source: str, message: str) -> None:
    """A text whose meaning the evaluation could not keep is refused with the reason."""
    with pytest.raises(InvalidRequest) as refusal:
        check(read_architecture({"type": "class", "source": source}), [torch.zeros(4, 3)], 10**6)
    assert message in refusal.value.errors[0].detail

"""Names, constructors and methods in pasted classes that need no change of the text."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from service.architectures.text.errors import ForwardError
from service.architectures.text.program import read_program

INPUT = torch.tensor([[1.0, -2.0]])


def net(
    forward: str = "return self.fc(x)", constructor: str = "", methods: str = "", before: str = ""
) -> str:
    """Return the text of a class with a linear layer `fc`."""

    def lines(text: str, depth: int) -> str:
        return "".join(f"{' ' * depth}{line}\n" for line in text.splitlines())

    return (
        f"{before}\nclass Net(nn.Module):\n{lines(methods, 4)}    def __init__(self):\n"
        f"        super().__init__()\n        self.fc = nn.Linear(2, 1)\n{lines(constructor, 8)}"
        f"    def forward(self, x):\n{lines(forward, 8)}"
    )


def errors_of(source: str) -> list[str]:
    """Return the errors that are found without evaluating a text."""
    return [str(error) for error in read_program(source, None)[1]]


def constructed(source: str, **arguments: Any) -> nn.Module:
    """Construct the model of a text without errors, with seed 0."""
    program, errors = read_program(source, None)
    assert program is not None, errors
    torch.manual_seed(0)
    return program.construct(arguments)


def output(source: str) -> Tensor:
    """Return the output of the model of a text for `INPUT`."""
    result: Tensor = constructed(source)(INPUT)
    return result


PLAIN = output(net())


@pytest.mark.parametrize(
    "source",
    [
        net("if x.is_cuda:\n    return nn.parallel.data_parallel(self.fc, x)\nreturn self.fc(x)"),
        net("y = torch.utils.checkpoint.checkpoint(self.fc, x) if x.is_cuda else self.fc(x)\nreturn y"),
        net(
            "return rearrange(x, 'b c -> c b') if x.is_cuda else self.fc(x)",
            before="from einops import rearrange",
        ),
        net(methods="def plot(self):\n    plt.show()\n    with open('x') as file:\n        yield file"),
        net(methods="def fit(self, batch):\n    print(self.loss(batch))\ndef loss(self, b):\n    yield b"),
        net(methods="__constants__ = ['fc']"),
        net(methods="def to(self, device):\n    self.moved = device\n    return super().to(device)"),
        net(methods="def check(self):\n    raise RuntimeWarning('never')"),
        net(
            "layer = typing.cast(typing.Dict[str, nn.Module], self.fc)\nreturn layer(x)",
            before="import typing",
        ),
        net(before="from torch.nn.modules.module import Module\nfrom torch.nn.modules.linear import Linear"),
    ],
    ids=range(10),
)
def test_what_is_not_reached_does_not_block(source: str) -> None:
    """A branch that is not taken, a method that nothing calls, and names for tools change nothing."""
    assert torch.equal(output(source), PLAIN)


def test_a_branch_that_is_taken_is_an_error() -> None:
    """An unsupported name in a branch is reported with its location where the branch is taken."""
    source = net("if not x.is_cuda:\n    return torch.utils.checkpoint.checkpoint(self.fc, x)")
    with pytest.raises(
        ForwardError, match=r"Line 8, column \d+: .*`torch\.utils`: this name is not supported"
    ):
        output(source)


def test_a_method_that_is_called_is_an_error() -> None:
    """Errors in a method are reported if anything mentions its name, also as a string."""
    methods = "def step(self, x):\n    print(x)\n    return x"
    for forward in ("return self.step(x)", "return getattr(self, 'step')(x)"):
        assert "print" in " ".join(errors_of(net(forward, methods=methods)))
    computed = net("return getattr(self, f\"{'st'}ep\")(x)", methods=methods)
    with pytest.raises(ForwardError, match=r"`step` cannot be called. Line 4"):
        output(computed)


def test_layers_are_found_by_their_name() -> None:
    """`getattr` and `hasattr` look into the modules of PyTorch."""
    source = net("return self.act(self.fc(x))", "self.act = getattr(nn, 'Tanh')()")
    assert torch.equal(output(source), PLAIN.tanh())
    assert constructed(net(constructor="self.has = hasattr(F, 'relu'), hasattr(nn, 'NoSuch')")).has == (
        True,
        False,
    )
    with pytest.raises(ForwardError, match=r"`torch.vmap` is not supported"):
        constructed(net(constructor="self.has = hasattr(torch, 'vmap')"))


@pytest.mark.parametrize("size", ["2, 3", "torch.Size([2, 3])", "*[2, 3]"])
def test_a_tensor_of_a_size_is_zero(size: str) -> None:
    """`torch.Tensor(2, 3)`, `torch.empty` and the like show no memory of other jobs: they are zero."""
    for name in ("torch.Tensor", "torch.FloatTensor", "torch.empty"):
        model = constructed(net(constructor=f"self.w = nn.Parameter({name}({size}))"))
        assert torch.equal(model.w, torch.zeros(2, 3))
    values = constructed(net(constructor="self.w = torch.Tensor([1, 2]); self.n = torch.LongTensor([3])"))
    assert values.w.tolist() == [1.0, 2.0]
    assert (values.n.dtype, values.w.dtype) == (torch.int64, torch.float32)


def test_a_class_prints_itself() -> None:
    """`__repr__` and `__str__` of a class print its model, alone and in others."""
    methods = "def __repr__(self):\n    return f'{self.__class__.__name__} of {self.fc.in_features}'"
    assert repr(nn.Sequential(constructed(net(methods=methods)))) == "Sequential(\n  (0): Net of 2\n)"

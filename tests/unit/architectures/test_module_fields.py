"""Initial values of layers, frozen parameters, buffers and constants: equal to the hand-written class."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from service.architectures.build import build
from service.architectures.check.check import CheckedArchitecture, check
from service.architectures.check.value_probes import check_embeddings
from service.architectures.export.python_source import to_source
from service.architectures.layers import LAYERS
from service.errors import InvalidRequest
from service.specs.architecture import LayerSpec, read_architecture
from tests.support.parity import Json, layer, linear, module, sequential
from tests.support.toys import VALUES, engine, run, script, training

XAVIER = {"weight": {"type": "xavier_uniform_", "gain": 2.0}, "bias": "zeros_"}


class Masked(nn.Module):
    """A class with its own initial values, a frozen body, a buffer and constants."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self._width = 3
        self.sizes = [2, 3]
        self.scale = nn.Parameter(torch.ones(3), requires_grad=False)
        self.register_buffer("mask", torch.tril(torch.ones(self._width, self._width)))
        self._fc = nn.Linear(3, 4)
        nn.init.xavier_uniform_(self._fc.weight, gain=2.0)
        nn.init.zeros_(self._fc.bias)
        self.body = nn.Sequential(nn.Linear(4, 5), nn.Sequential(), nn.Tanh())
        nn.init.normal_(self.body[0].weight, std=0.5)
        self.body.requires_grad_(False)
        self.out = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Any:
        """[B, 3] → [B, 2]."""
        h = self._fc((x * self.scale) @ self.mask) / self.sizes[-1]
        return self.out(self.body(h))


MASKED = module(
    "Masked",
    "h = self._fc((x * self.scale) @ self.mask) / self.sizes[-1]\nreturn self.out(self.body(h))",
    {
        "_fc": linear(4, initial=XAVIER),
        "body": {
            **sequential(
                linear(5, initial={"weight": {"type": "normal_", "std": 0.5}}),
                sequential(),
                layer("Tanh"),
            ),
            "trainable": False,
        },
        "out": linear(2),
    },
    inputs=["x"],
    parameters={"scale": {"shape": [3], "init": "ones_", "trainable": False}},
    buffers={"mask": "torch.tril(torch.ones(self._width, self._width))"},
    constants={"_width": 3, "sizes": [2, 3]},
)


class Listed(nn.Module):
    """A class with lists and dicts of parameters and submodules."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterList()
        for _ in range(2):
            self.weights.append(nn.Parameter(torch.empty(3)))
            nn.init.normal_(self.weights[-1])
        self.shifts = nn.ParameterDict()
        self.shifts["price"] = nn.Parameter(torch.zeros(1))
        self._blocks = nn.ModuleList([nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3), nn.Tanh())])
        self.heads = nn.ModuleDict({"price": nn.Linear(3, 1), "rate": nn.Linear(3, 1)})

    def forward(self, x: Tensor) -> Any:
        """[B, 3] → [B, 2]."""
        h = self._blocks[0](x * self.weights[0]) + self._blocks[-1](x * self.weights[1][:1])
        return torch.cat([self.heads["price"](h) + self.shifts["price"], self.heads.rate(h)], dim=1)


LISTED = module(
    "Listed",
    """h = self._blocks[0](x * self.weights[0]) + self._blocks[-1](x * self.weights[1][:1])
return torch.cat([self.heads["price"](h) + self.shifts["price"], self.heads.rate(h)], dim=1)""",
    {
        "_blocks.0": linear(3),
        "_blocks.1": sequential(linear(3), layer("Tanh")),
        "heads.price": linear(1),
        "heads.rate": linear(1),
    },
    inputs=["x"],
    parameters={
        "weights.0": {"shape": [3], "init": "normal_"},
        "weights.1": {"shape": [3], "init": "normal_"},
        "shifts.price": {"shape": [1], "init": "zeros_"},
    },
)
CLASSES: dict[str, tuple[Json, type[nn.Module]]] = {"masked": (MASKED, Masked), "listed": (LISTED, Listed)}


def checked(spec: Json, *inputs: Tensor) -> CheckedArchitecture:
    return check(read_architecture(spec), inputs or [torch.empty(7, 3)], 10**8)


def details(spec: Json) -> dict[str, str]:
    """Return the details of the errors of an architecture by pointer."""
    with pytest.raises(InvalidRequest) as caught:
        checked(spec)
    return {error.pointer.removeprefix("#/architecture/"): error.detail for error in caught.value.errors}


@pytest.mark.parametrize("case", CLASSES)
def test_a_module_equals_the_class(case: str) -> None:
    """Print, names, initial values, frozen parameters, outputs and gradients are those of the class."""
    spec, make = CLASSES[case]
    torch.manual_seed(0)
    expected = make()
    torch.manual_seed(0)
    net = build(read_architecture(checked(spec).spec))
    assert repr(net) == repr(expected)
    assert list(net.state_dict()) == list(expected.state_dict())
    torch.testing.assert_close(net.state_dict(), expected.state_dict(), rtol=0, atol=0)
    trainable = {name: each.requires_grad for name, each in expected.named_parameters()}
    assert {name: each.requires_grad for name, each in net.named_parameters()} == trainable
    outputs, wanted = net(VALUES.x_train), expected(VALUES.x_train)
    torch.testing.assert_close(outputs, wanted, rtol=0, atol=0)
    outputs.sum().backward()
    wanted.sum().backward()
    for (name, one), other in zip(net.named_parameters(), expected.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), name
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=0)


@pytest.mark.parametrize("case", CLASSES)
def test_the_exported_source_is_the_same_model(case: str) -> None:
    """From the same seed, the class of the source has the same values; both load the other's strictly."""
    document, make = CLASSES[case]
    spec = read_architecture(checked(document).spec)
    names: dict[str, Any] = {}
    exec(to_source(spec), names)
    torch.manual_seed(0)
    exported = names[make.__name__]()
    torch.manual_seed(0)
    net = build(spec)
    torch.testing.assert_close(exported.state_dict(), net.state_dict(), rtol=0, atol=0)
    assert repr(exported) == repr(net)
    exported.load_state_dict(make().state_dict(), strict=True)
    net.load_state_dict(exported.state_dict(), strict=True)
    torch.testing.assert_close(net(VALUES.x_train), exported(VALUES.x_train), rtol=0, atol=0)
    assert [each.requires_grad for each in exported.parameters()] == [
        each.requires_grad for each in net.parameters()
    ]


def test_a_frozen_root_is_exported() -> None:
    """`trainable: false` of the whole architecture, which no job trains, is part of the source."""
    spec = {**sequential(linear(1, in_features=3)), "trainable": False}
    names: dict[str, Any] = {}
    exec(to_source(read_architecture(spec)), names)
    assert [each.requires_grad for each in names["model"].parameters()] == [False, False]


@pytest.mark.parametrize(
    ("init", "refused"),
    [
        ({"type": "constant_", "val": 1e39}, "val"),
        ({"type": "constant_", "val": -3.40282354e38}, "val"),  # a float32 only if rounded
        ({"type": "normal_", "std": 1e39}, "std"),
        ({"type": "normal_", "std": -1}, "std"),
        ({"type": "normal_", "mean": 1e39}, "mean"),
        ({"type": "uniform_", "a": 2, "b": 1}, "b"),
        ({"type": "uniform_", "a": 2}, "a"),  # `b` is 1 by default
        ({"type": "uniform_", "a": -3e38, "b": 3e38}, "b"),
        ({"type": "trunc_normal_", "a": 1, "b": -1}, "b"),
        ({"type": "trunc_normal_", "std": 0}, "std"),
        ({"type": "trunc_normal_", "std": -1}, "std"),
        ({"type": "xavier_uniform_", "gain": 3e38}, "gain"),
        ({"type": "xavier_normal_", "gain": -1}, "gain"),
        ({"type": "kaiming_uniform_", "a": 1e200}, "a"),
        ({"type": "orthogonal_", "gain": 1e39}, "gain"),
    ],
    ids=str,
)
def test_values_that_cannot_be_drawn_are_refused(init: Json, refused: str) -> None:
    """Arguments that fail on real tensors only are errors at the argument, of layers and of parameters."""
    spec = module(
        "Net",
        "return self.out(x) * self.scale",
        {"out": linear(1, initial={"weight": init})},
        parameters={"scale": {"shape": [1, 1], "init": init}},
    )
    assert {*details(spec)} == {
        f"parameters/scale/init/{refused}",
        f"submodules/out/initial/weight/{refused}",
    }


@pytest.mark.parametrize(
    "init",
    [
        {"type": "constant_", "val": 3.4028234e38},
        {"type": "normal_", "std": 0},
        {"type": "uniform_", "a": 1, "b": 1},
        {"type": "trunc_normal_", "a": -3e38, "b": 3e38},
        {"type": "xavier_uniform_", "gain": 9e37},
        {"type": "xavier_normal_", "gain": 0},
        {"type": "orthogonal_", "gain": -1},
    ],
    ids=str,
)
def test_accepted_bounds_can_be_drawn(init: Json) -> None:
    """The bounds themselves are accepted, and PyTorch draws finite values."""
    spec = checked(sequential(linear(1, initial={"weight": init}))).spec
    assert all(each.isfinite().all() for each in build(read_architecture(spec)).parameters())


def test_checking_a_checked_spec_does_not_change_it() -> None:
    """The complete spec has the defaults of initializations, and only the fields that were given."""
    spec = checked(MASKED).spec
    assert checked(spec).spec == spec
    assert spec["submodules"]["out"] == {"type": "Linear", "in_features": 5, "out_features": 2, "bias": True}
    assert spec["submodules"]["body"]["layers"][0]["initial"] == {
        "weight": {"type": "normal_", "mean": 0.0, "std": 0.5}
    }


@pytest.mark.parametrize("optimizer", [{"type": "SGD", "lr": 0.05, "weight_decay": 0.1}, {"type": "Adam"}])
def test_a_training_equals_the_script(optimizer: dict[str, Any]) -> None:
    """Frozen parameters and buffers keep their values; the others have the bits of a plain loop."""
    spec = training(optimizer=optimizer, gradient_clip_norm=1.0)
    trainer = engine(spec, [checked(MASKED).spec])
    arguments = {name: value for name, value in optimizer.items() if name != "type"}

    def make_optimizer(parameters: Any) -> torch.optim.Optimizer:
        made: torch.optim.Optimizer = getattr(torch.optim, optimizer["type"])(parameters, **arguments)
        return made

    before = {name: value.clone() for name, value in trainer.components.model.state_dict().items()}
    run(trainer)
    plain = script(lambda: nn.Sequential(Masked()), make_optimizer, clip=1.0).run()
    after = trainer.components.model.state_dict()
    torch.testing.assert_close(after, plain.model.state_dict(), rtol=0, atol=0)
    kept = [name for name, value in after.items() if torch.equal(value, before[name])]
    assert kept == ["0.scale", "0.mask", "0.body.0.weight", "0.body.0.bias"]


def test_an_empty_sequential_passes_on_its_input() -> None:
    """`layers: []` is `nn.Sequential()`, also as a branch that a text calls."""
    assert "no parameters to train" in details(sequential())["#/architecture"]
    spec = module("Net", "return self.out(self.shortcut(x))", {"shortcut": sequential(), "out": linear(1)})
    assert repr(build(read_architecture(checked(spec).spec)).get_submodule("shortcut")) == "Sequential()"


def test_our_own_fields_are_no_arguments_of_layers() -> None:
    """`PReLU(init=)` is an argument, which is why the field for initial values is called `initial`."""
    own = set(LayerSpec.model_fields)
    assert own == {"name", "type", "initial", "trainable"}
    assert [name for name, each in LAYERS.items() if own & set(each.model.model_fields)] == []


@pytest.mark.parametrize(
    ("changes", "pointer", "words"),
    [
        (
            {"submodules": {"out": linear(2, initial={"wieght": "ones_"})}},
            "submodules/out/initial/wieght",
            "`weight`",
        ),
        (
            {"submodules": {"out": linear(2, bias=False, initial={"bias": "ones_"})}},
            "submodules/out/initial/bias",
            "its parameters are: weight",
        ),
        (
            {"submodules": {"out": linear(2, in_features=3, initial={"bias": "xavier_uniform_"})}},
            "submodules/out/initial/bias",
            "`xavier_uniform_` of shape [2]",
        ),
        (
            {"submodules": {"out": linear(2, initial={"bias": "one_"})}},
            "submodules/out/initial/bias",
            "`ones_`",
        ),
        (
            {"submodules": {"out": linear(2, initial={"bias": {"type": "constant_"}})}},
            "submodules/out/initial/bias",
            "`val` is required",
        ),
        ({"submodules": {"b.1": linear(2)}}, "submodules/b.1", "The next entry of the list is `b.0`"),
        (
            {"submodules": {"b.0": linear(2), "b.x": linear(2)}},
            "submodules/b.x",
            "`b` has positions and keys; use either.",
        ),
        (
            {"submodules": {"b.0": linear(2), "b": linear(2)}},
            "submodules/b.0",
            "`b` is also the name of another member",
        ),
        ({"submodules": {"b.keys": linear(2)}}, "submodules/b.keys", "`keys` is an attribute of dicts"),
        ({"submodules": {"training.0": linear(2)}}, "submodules/training.0", "an attribute of nn.Module"),
        (
            {"submodules": {"b.0": linear(2)}, "forward": "return self.b(x)"},
            "forward",
            "Only submodules can be called",
        ),
        (
            {"submodules": {"b.0": linear(2)}, "forward": "return self.b[1](x)"},
            "forward",
            "The list has 1 layers",
        ),
        (
            {"submodules": {"b.x": linear(2)}, "forward": "return self.b.y(x)"},
            "forward",
            "`y` is not declared",
        ),
        ({"buffers": {"m": "torch.ones(y)"}}, "buffers/m", "`y` is not assigned; assigned names: none."),
        ({"buffers": {"m": "[1, 2]"}}, "buffers/m", "this is of type list; add it to `constants`."),
        ({"buffers": {"m": "torch.ones(3000, 3000)"}}, "buffers/m", "at most 4,194,304 elements"),
        ({"buffers": {"m": "torch.ones(9) @ torch.ones(8)"}}, "buffers/m", "Line 1, column 1"),
        ({"buffers": {"m": "x = torch.ones(3)"}}, "buffers/m", "Write one expression"),
        ({"buffers": {"out": "torch.ones(3)"}}, "submodules/out", "A buffer is called `out` too"),
        ({"constants": {"out": 3}}, "submodules/out", "A constant is called `out` too"),
        ({"constants": {"training": True}}, "constants/training", "an attribute of nn.Module"),
        ({"constants": {"sizes": [[0] * 600, [0] * 600]}}, "constants/sizes", "at most 1,024 elements"),
        ({"constants": {"n": 3}, "forward": "return self.n(x)"}, "forward", "Only submodules can be called"),
        ({"constants": {"n": 3}, "forward": "return self.m * x"}, "forward", "declared names: out, n."),
    ],
)
def test_errors_have_a_pointer_and_a_remedy(changes: Json, pointer: str, words: str) -> None:
    """A wrong initialization, buffer or constant is an error at its place, before anything is built."""
    spec = {**module("Net", "return self.out(x)", {"out": linear(2)}, inputs=["x"]), **changes}
    assert words in details(spec)[pointer]


def test_the_buffers_of_an_architecture_are_limited() -> None:
    """Their number is limited before any is computed, and so are their elements together."""
    buffers = {f"m{number}": "torch.ones(1000, 1000)" for number in range(100)}
    part = module("Part", "return x", {}, inputs=["x"], buffers=buffers)
    assert "has 1,100 buffers; at most 1,000" in details(sequential(*[part] * 11))["#/architecture"]
    large = details(sequential({**part, "buffers": dict(list(buffers.items())[:50])}, part, linear(1)))
    assert "The model has 150,000,000 values in tensors that are no parameters" in large["#/architecture"]


@pytest.mark.parametrize("constant", [{"a": 1}, 2**60, "a" * 101, [[[[1]]]]])
def test_a_constant_of_another_type_is_refused(constant: Any) -> None:
    """The message names the types that a constant has."""
    spec = module("Net", "return self.out(x)", {"out": linear(2)}, constants={"c": constant})
    with pytest.raises(ValueError, match="A constant is a number up to 2\\*\\*53, a string"):
        read_architecture(spec)


def test_a_layer_without_parameters_that_is_never_called_is_no_warning() -> None:
    """Only a layer with parameters is missed when no line calls it."""
    idle = {"act": layer("ReLU"), "drop": layer("Dropout"), "fc": linear(2, in_features=3)}
    found = checked(module("Net", "return self.out(x)", {"out": linear(2), **idle}, inputs=["x"])).warnings
    assert [warning.pointer for warning in found] == ["#/architecture/submodules/fc"]


def test_the_indices_of_a_buffer_are_compared_with_the_embedding() -> None:
    """The check of embeddings reads the values of a buffer."""
    table = {"type": "Embedding", "num_embeddings": 4, "embedding_dim": 3}
    spec = module(
        "Net",
        "return self.out(x + self.table(self.positions).sum(0))",
        {"table": table, "out": linear(1)},
        inputs=["x"],
        buffers={"positions": "torch.arange(6)"},
    )
    found = checked(spec)
    [error] = check_embeddings(found.spec, found.module, [torch.zeros(2, 3)], lambda rows: "")
    assert error.detail.endswith("has 4 rows and receives indices up to 5: set num_embeddings to 6.")

"""States of a module that its class and its arguments don't tell: expressed, or refused with the place."""

import warnings
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from fitserve.describe import InitialValuesWarning, NotDescribable, describe
from service.architectures.build import build
from service.specs.architecture import read_architecture


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 4))


def changed(change: Callable[[nn.Sequential], Any]) -> nn.Module:
    """Return a net after a change; a change that returns a module replaces the first layer."""
    module = net()
    result = change(module)
    if isinstance(result, nn.Module):
        module[0] = result
    return module


def old(reparametrize: Callable[..., nn.Module]) -> Callable[[nn.Sequential], nn.Module]:
    def change(module: nn.Sequential) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated, but in most of the public code
            return reparametrize(module[0])

    return change


def tie_memory(module: nn.Sequential) -> None:
    module[2].weight.data = module[0].weight.data


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (old(torch.nn.utils.weight_norm), "Sequential.0 has a hook (WeightNorm"),
        (old(torch.nn.utils.spectral_norm), "Sequential.0 has a hook (SpectralNorm"),
        (lambda m: prune.l1_unstructured(m[0], "weight", 0.5), "Sequential.0 has a hook (L1Unstructured"),
        (lambda m: parametrizations.weight_norm(m[0]), "Sequential.0 has a parametrization of `weight`"),
        (lambda m: parametrizations.orthogonal(m[0]), "Sequential.0 has a parametrization of `weight`"),
        (lambda m: m[0].register_forward_hook(print), "Sequential.0 has a hook (print, in `_forward_hooks`)"),
        (lambda m: m.register_forward_pre_hook(print), "Sequential has a hook (print"),
        (lambda m: m[1].register_full_backward_hook(print), "Sequential.1 has a hook (print"),
        (lambda m: m[1].register_full_backward_pre_hook(print), "Sequential.1 has a hook (print"),
        (lambda m: m[1].register_load_state_dict_post_hook(print), "Sequential.1 has a hook (print"),
        (lambda m: m[0].weight.register_hook(print), "`0.weight` has a hook on its gradient"),
        (lambda m: setattr(m[0], "forward", torch.tanh), "Sequential.0 has `forward`"),
        (lambda m: setattr(m, "forward", torch.tanh), "Sequential has `forward`"),
        (lambda m: setattr(m[0], "gain", 2.0), "Sequential.0 has `gain`"),
        (lambda m: setattr(m[1], "p", "half"), "Sequential.1: describing it failed: TypeError"),
        (lambda m: setattr(m[0], "out_features", 5), "Sequential.0 has `weight` of shape [4, 4]"),
        (lambda m: setattr(m[0], "weight", nn.Parameter(torch.ones(2, 4))), "Sequential.0 has `weight`"),
        (lambda m: m[0].register_buffer("mask", torch.ones(4)), "Sequential.0 has `mask`"),
        (lambda m: m[0].register_parameter("gain", nn.Parameter(torch.ones(4))), "Sequential.0 has `gain`"),
        (lambda m: m[0].add_module("inner", nn.Tanh()), "Sequential.0 has `_modules`"),
        (lambda m: m[1].eval() and None, "`1` is in evaluation mode and the module itself in training mode"),
        (lambda m: m.eval() and m[1].train() and None, "`1` is in training mode and the module itself in ev"),
        (lambda m: m.double() and None, "`0.weight` has the dtype `torch.float64`"),
        (lambda m: m[2].half() and None, "`2.weight` has the dtype `torch.float16`"),
        (lambda m: m.to("meta") and None, "`0.weight` is on the meta device"),
        (lambda m: nn.LazyLinear(4), "run the module once"),
        (lambda m: m[2], "`0.weight` and `2.weight` are the same tensor"),
        (lambda m: setattr(m[2], "weight", m[0].weight), "`0.weight` and `2.weight` are the same tensor"),
        (tie_memory, "`0.weight` and `2.weight` are the same tensor"),
    ],
)
def test_a_changed_layer_is_refused(change: Callable[[nn.Sequential], Any], words: str) -> None:
    """What a layer has besides the arguments of its constructor is named with its place."""
    with pytest.raises(NotDescribable) as error:
        describe(changed(change))
    assert words in str(error.value)


@pytest.mark.parametrize("value", [nn.Linear, {"type": "sequential"}, None, "Linear"])
def test_what_is_no_module_is_refused(value: Any) -> None:
    """The error says that `describe` takes an instance of `nn.Module`."""
    with pytest.raises(NotDescribable, match=r"an instance of `nn\.Module`"):
        describe(value)


def test_a_module_in_evaluation_mode_is_described() -> None:
    """The mode of the whole module is not part of the spec: a job trains in training mode."""
    assert describe(net().eval()) == describe(net())


def test_a_shared_activation_is_described_twice() -> None:
    """A layer without parameters may be registered under several names."""
    tanh = nn.Tanh()
    assert describe(nn.Sequential(nn.Linear(2, 2), tanh, nn.Linear(2, 2), tanh)) == describe(
        nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2), nn.Tanh())
    )


def test_describing_leaves_module_and_random_numbers_as_they_were() -> None:
    """The mode, the attributes and the state of the random generators are those of before."""
    module = net()
    module[1].eval()
    module[1].train()
    before = (dict(vars(module)), torch.get_rng_state(), [each.training for each in module.modules()])
    describe(module)
    assert vars(module) == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert [each.training for each in module.modules()] == before[2]


class Overriding(nn.Module):
    """A module that keeps its normalization in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Any:
        """Normalize."""
        return self.norm(x)

    def train(self, mode: bool = True) -> "Overriding":
        """Set the mode of everything but the normalization."""
        super().train(mode)
        self.norm.eval()
        return self


class Renaming(Overriding):
    """A module that also saves its parameters by other names."""

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Return the state by other names."""
        return {f"my.{name}": x for name, x in super().state_dict(*args, **kwargs).items()}


def test_an_overridden_method_of_modules_is_refused() -> None:
    """A class that overrides how modules are saved is named with the method; `train` is in its source."""
    with pytest.raises(NotDescribable, match="the class `Renaming` overrides `state_dict`"):
        describe(nn.Sequential(Renaming()))
    frozen = nn.Sequential(Overriding()).train()
    assert "def train" in describe(frozen)["layers"][0]["source"]


class Scaled(nn.Module):
    """A module with a free parameter of small random values."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.empty(40, 30).uniform_(-0.01, 0.01))
        self.l = nn.Linear(30, 1)

    def forward(self, x: Tensor) -> Any:
        """Multiply."""
        return self.l(x @ self.w)


def test_random_values_of_a_free_parameter_keep_their_scale() -> None:
    """The spec draws from a distribution of the same mean and spread, and a warning names the parameter."""
    module = Scaled()
    with pytest.warns(InitialValuesWarning, match="initial values of `w`:"):
        init = describe(module, source=False)["parameters"]["w"]["init"]
    assert init["type"] == "normal_"
    assert init["mean"] == pytest.approx(module.w.mean().item())
    assert init["std"] == pytest.approx(module.w.std(correction=0).item())


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: nn.init.xavier_normal_(nn.Linear(30, 40).weight), "0.weight"),
        (lambda: nn.init.normal_(nn.LayerNorm(40).weight), "0.weight"),
    ],
)
def test_values_that_a_constructor_does_not_give_are_named(make: Callable[[], Tensor], name: str) -> None:
    """A warning names the parameters of layers that were initialized otherwise, or trained."""
    values = make()
    layer = nn.Linear(30, 40) if values.ndim == 2 else nn.LayerNorm(40)
    layer.weight.data = values.data
    with pytest.warns(InitialValuesWarning, match=f"`{name}`"):
        describe(nn.Sequential(OrderedDict([("0", layer), ("1", nn.Tanh())])))


def test_values_of_a_frozen_layer_are_named() -> None:
    """A frozen layer keeps its values, which the spec does not give, however few they are."""
    module = nn.Sequential(nn.Embedding.from_pretrained(torch.eye(3)), nn.Flatten(), nn.Linear(3, 1))
    with pytest.warns(InitialValuesWarning, match=r"of `0\.weight`:"):
        spec = describe(module)
    assert [each.get("trainable", True) for each in spec["layers"]] == [False, True, True]


@pytest.mark.parametrize("seed", range(5))
def test_new_layers_start_as_their_spec_does(seed: int) -> None:
    """Layers with the values of their constructors give no warning."""
    torch.manual_seed(seed)
    describe(nn.Sequential(nn.Linear(50, 40), nn.BatchNorm1d(40), nn.LSTM(40, 8, 2), nn.Embedding(9, 8)))


class Block(nn.Sequential):
    """A sequential with a constructor of its own."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 4), nn.Tanh())


class Buffered(nn.Module):
    """A module with buffers, saved and not, and a frozen free parameter."""

    def __init__(self, *buffers: Tensor, persistent: bool = True) -> None:
        super().__init__()
        self._linear = nn.Linear(4, 4)
        self.register_parameter("gain", nn.Parameter(torch.full((4,), 2.5), requires_grad=False))
        for number, buffer in enumerate(buffers):
            self.register_buffer(f"buffer{number}", buffer, persistent=persistent)

    def forward(self, x: Tensor) -> Any:
        """Multiply by the sum of each buffer."""
        for name in self._buffers:
            x = x * getattr(self, name).sum()
        return self._linear(x) * self.gain


class Listed(nn.Module):
    """A module with a list and a dict of parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterList([torch.full((4,), 0.5), torch.full((4,), 2.0)])
        self.gains = nn.ParameterDict({"one": torch.zeros(4), "two": torch.ones(4)})
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Any:
        """Multiply by each, and add."""
        for weight in self.weights:
            x = x * weight
        return self.linear(x) * self.gains["two"] + self.gains["one"]


def zeroed() -> nn.Module:
    layer = nn.Linear(4, 4)
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, 0.25)
    return layer


BUFFERS = (
    torch.tril(torch.ones(4, 4)).view(1, 1, 4, 4),
    torch.triu(torch.ones(3, 4), 1).bool(),
    torch.arange(5),
    torch.eye(3),
    torch.full((2, 3), float("-inf")),
    torch.tensor([0.1, 0.2, float("inf")]),
    torch.tensor(3),
    torch.zeros(0, 3),
)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Linear(4, 4), nn.Sequential(), nn.Linear(4, 1)),
        nn.Sequential(nn.Linear(4, 4).requires_grad_(False), nn.Linear(4, 1)),
        nn.Sequential(zeroed()),
        Listed(),
        nn.Sequential(Block(), nn.Linear(4, 1)),
        *[Buffered(buffer) for buffer in BUFFERS],
        Buffered(*BUFFERS),
        Buffered(*BUFFERS, persistent=False),
    ],
)
@pytest.mark.filterwarnings("ignore::fitserve.describe.InitialValuesWarning")  # of frozen random values
def test_the_traced_spec_starts_where_the_module_does(module: nn.Module, training: bool) -> None:
    """Constant values, frozen parameters, buffers and empty sequentials are part of a spec."""
    built = build(read_architecture(describe(module, source=False)))
    assert list(built.state_dict()) == list(module.state_dict())
    assert [each.requires_grad for each in built.parameters()] == [
        each.requires_grad for each in module.parameters()
    ]
    expected = module.state_dict()
    for name, value in expected.items():
        if (value.numel() > 1 and len(value.unique()) == 1) or name in dict(module.named_buffers()):
            torch.testing.assert_close(built.state_dict()[name], value, rtol=0, atol=0)
    built.load_state_dict(expected, strict=True)
    x = torch.randn(3, 4)
    torch.testing.assert_close(
        built.train(training)(x), module.train(training)(x), rtol=0, atol=0, equal_nan=True
    )


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Buffered(torch.rand(40, 40)), "Buffered.buffer0 is a buffer of 1600 numbers"),
        (Buffered(torch.rand(40, 40), persistent=False), "`buffer0` is a buffer of 1600 numbers that is not"),
        (nn.Sequential(nn.Linear(4, 4, bias=True)), "Sequential.0 has `bias`, with gradients switched off"),
    ],
)
def test_what_is_partly_expressible_is_refused(module: nn.Module, words: str) -> None:
    """Random buffers and single frozen parameters of a layer are named."""
    if isinstance(module, nn.Sequential):
        module[0].bias.requires_grad = False
    with pytest.raises(NotDescribable) as error:
        describe(module, source=False)
    assert words in str(error.value)


def freeze(module: nn.Module) -> None:
    for parameter in module.parameters(recurse=False):
        parameter.requires_grad = False


def zero(module: nn.Module) -> None:
    for parameter in module.parameters(recurse=False):
        nn.init.zeros_(parameter)


def freeze_one(module: nn.Module) -> None:
    next(module.parameters()).requires_grad = False


def share(module: nn.Module) -> None:
    for child in list(module.children())[1:]:
        child._parameters.update(next(module.children())._parameters)


def repeat(module: nn.Module) -> None:
    module.add_module("again", next(module.children()))


# Changes of any module, whether or not it has what they change.
CHANGES: list[Callable[[Any], Any]] = [
    *(freeze, zero, freeze_one, share, repeat, nn.Module.eval, nn.Module.double, nn.Module.half),
    lambda m: m.register_forward_hook(lambda module, inputs, output: output * 2),
    lambda m: m.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2,)),
    lambda m: m.register_full_backward_hook(lambda module, before, after: None),
    lambda m: m.register_state_dict_pre_hook(lambda module, prefix, keep: None),
    lambda m: m.register_buffer("added", torch.ones(2)),
    lambda m: m.register_buffer("unsaved", torch.rand(2), persistent=False),
    lambda m: m.register_parameter("extra", nn.Parameter(torch.rand(2, 3))),
    lambda m: m.register_parameter("bias", None),
    lambda m: m.add_module("none", None),
    lambda m: m.add_module("a-b", nn.Tanh()),
    lambda m: m.add_module("list", nn.ParameterList([torch.rand(2)])),
    lambda m: m.weight.register_hook(lambda gradient: gradient * 2),
    lambda m: prune.random_unstructured(m, "weight", 0.5),
    parametrizations.weight_norm,
    lambda m: setattr(m, "forward", torch.tanh),
    lambda m: setattr(m, "out_features", 99),
    lambda m: setattr(m, "weight", nn.Parameter(torch.rand(3, 4))),
    lambda m: setattr(m, "p", 0.9),
    lambda m: setattr(m, "eps", object()),
    lambda m: setattr(m, "own", m),
    lambda m: delattr(m, "bias"),
    lambda m: m._modules.popitem(),
    lambda m: m._parameters.clear(),
    lambda m: vars(m).pop("training"),
    lambda m: setattr(m, "__class__", Block),
]
SHAPES: list[Callable[[], nn.Module]] = [
    lambda: nn.Linear(4, 4),
    lambda: nn.BatchNorm1d(4),
    lambda: nn.Dropout(0.5),
    nn.Tanh,
    Block,
    lambda: Buffered(torch.ones(2)),
    lambda: Buffered(torch.rand(2), persistent=False),
    nn.Sequential,
    lambda: nn.Sequential(OrderedDict(a=nn.Linear(4, 4), b=nn.ReLU())),
    lambda: nn.TransformerEncoderLayer(4, 2, dim_feedforward=4, batch_first=True),
    Overriding,
]


@pytest.mark.filterwarnings("ignore::fitserve.describe.InitialValuesWarning")
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3),
    st.lists(st.tuples(st.sampled_from(CHANGES), st.integers(0, 9)), max_size=2),
    st.booleans(),
)
def test_any_module_is_described_right_or_refused(
    shapes: list[Callable[[], nn.Module]], changes: list[tuple[Callable[[Any], Any], int]], source: bool
) -> None:
    """Whatever has been done to a module, the built one computes the same, or it is NotDescribable."""
    torch.manual_seed(0)
    module: nn.Module = nn.Sequential(*(shape() for shape in shapes))
    for change, number in changes:
        modules = list(module.modules())
        with suppress(AttributeError, KeyError, StopIteration, TypeError, ValueError, RuntimeError):
            change(modules[number % len(modules)])
    try:
        built = build(read_architecture(describe(module, source=source)))
    except NotDescribable:
        return
    built.load_state_dict(module.state_dict(), strict=True)
    assert [each.requires_grad for each in built.parameters()] == [
        each.requires_grad for each in module.parameters()
    ]
    x = torch.randn(3, 4)
    for training in (False, True):
        outputs = []
        for each in (module, built):
            torch.manual_seed(1)
            try:
                outputs.append(each.train(training)(x))
            except RuntimeError:  # a change has broken the module itself
                assert each is module or not outputs
                return
        torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=0, equal_nan=True)

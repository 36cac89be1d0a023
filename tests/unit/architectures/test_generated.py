"""Generated architectures: accepted ones train, and refused ones have errors with valid pointers."""

from typing import Any

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fitserve.describe import describe
from service.architectures.build import build
from service.architectures.check.check import check
from service.errors import FieldError, InvalidRequest
from service.specs.architecture import read_architecture
from tests.support.parity import layer, linear, module, sequential
from tests.unit.architectures.check.test_hostile import pointers

ROWS, WIDTH = 5, 4
SIZES = st.integers(1, 6)
LAYERS = st.one_of(
    *[st.builds(linear, SIZES)] * 6,  # weighted, so that many architectures are valid
    st.builds(lambda size, given: linear(size, in_features=given), SIZES, SIZES),
    st.sampled_from(["ReLU", "Tanh", "GELU", "PReLU", "Softplus", "Dropout", "BatchNorm1d", "LayerNorm"]).map(
        layer
    ),
    st.builds(lambda dim: layer("Softmax", dim=dim), st.integers(-3, 2)),
    st.builds(lambda size: layer("GRUCell", hidden_size=size), SIZES),
    st.builds(lambda dim: layer("Flatten", start_dim=dim), st.integers(0, 2)),
    st.builds(lambda size: layer("Unflatten", dim=1, unflattened_size=[size, 1]), SIZES),
)
LINES = st.one_of(
    st.sampled_from(["a", "b", "c"]).map(lambda name: f"h = self.{name}(h)"),
    st.sampled_from(
        [
            "h = torch.tanh(h) * self.scale",
            "h = h + x",
            "h = torch.cat([h, x], dim=1)",
            "h = F.dropout(h, training=self.training)",
            "h = h.reshape(x.shape[0], -1)",
            "h = h @ h.mT",
            "g, h = h.chunk(2, dim=-1)",
            "h = h[:, 1:]",
            "h = h / (h.norm(dim=-1, keepdim=True) + 1e-6)",
            "h = h.mean(dim=1, keepdim=True)",
            "h = h.unsqueeze(1)",
            "h = F.linear(h, self.a.weight)",
            "h = torch.where(h > 0, h, -h)",
            "h = self.d(h)",
        ]
    ),
)


def _module(nodes: list[dict[str, Any]], lines: list[str]) -> dict[str, Any]:
    text = "\n".join(["h = x", *lines, "return self.c(self.b(self.a(h)))"])
    scale = {"scale": {"shape": [1], "init": "ones_"}}
    return module("Net", text, dict(zip("abc", nodes, strict=True)), parameters=scale, inputs=["x"])


def _containers(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda nodes: sequential(*nodes)),
        st.builds(_module, st.lists(inner, min_size=3, max_size=3), st.lists(LINES, max_size=5)),
    )


ARCHITECTURES = _containers(st.recursive(LAYERS, _containers, max_leaves=6))


def accepted(document: dict[str, Any]) -> dict[str, Any] | None:
    """Return the checked spec; None after asserting that each error points into the document."""
    found: list[FieldError] = []
    try:
        return check(read_architecture(document), [torch.empty(ROWS, WIDTH)], 10**6).spec
    except InvalidRequest as error:
        found = error.errors
    valid = set(pointers(document, "#/architecture"))
    assert found
    assert [each for each in found if each.pointer not in valid or not each.detail] == []
    return None


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ARCHITECTURES)
def test_an_accepted_architecture_trains_a_step(document: dict[str, Any]) -> None:
    """Forward, backward and optimizer step raise nothing, and the output has the checked shape."""
    spec = accepted(document)
    if spec is None:
        return
    torch.manual_seed(0)
    net = build(read_architecture(spec))
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
    expected = check(read_architecture(spec), [torch.empty(ROWS, WIDTH)], 10**6).outputs["output"]
    outputs = net(torch.randn(ROWS, WIDTH))
    assert outputs.shape == expected.shape
    if outputs.requires_grad:
        outputs.square().mean().backward()
        optimizer.step()
    assert net.eval()(torch.randn(ROWS, WIDTH)).shape == expected.shape


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ARCHITECTURES)
def test_an_accepted_architecture_can_be_described(document: dict[str, Any]) -> None:
    """The spec that `describe` returns for the module builds one that prints and computes the same."""
    spec = accepted(document)
    if spec is None:
        return
    net = build(read_architecture(spec)).eval()
    again = build(read_architecture(describe(net))).eval()
    assert repr(again) == repr(net)
    again.load_state_dict(net.state_dict(), strict=True)
    inputs = torch.randn(ROWS, WIDTH)
    torch.testing.assert_close(again(inputs), net(inputs), rtol=0, atol=0, equal_nan=True)

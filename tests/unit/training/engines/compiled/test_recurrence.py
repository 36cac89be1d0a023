"""Recurrent layers in compiled programs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from service.datasets.samples import Samples
from service.training.engines.compiled.recurrences import PACKED, RecurrencesAsOperators
from service.training.engines.compiled.tracing import Trace, trace
from service.training.engines.compiled.translation import translated, untranslatable

STEPS, BATCH, INPUTS, HIDDEN = 7, 3, 5, 4
LAYERS: dict[str, dict[str, Any]] = {
    "LSTM": {},
    "LSTM, projected, 2 layers": {"proj_size": 3, "num_layers": 2, "bias": False},
    "LSTM, both directions, batch first": {"bidirectional": True, "num_layers": 2, "batch_first": True},
    "LSTM, both directions, projected": {"bidirectional": True, "proj_size": 2},
    "GRU": {"bias": False, "num_layers": 2, "dropout": 0.3},
    "GRU, both directions": {"bidirectional": True},
    "RNN": {},
    "RNN, relu, both directions": {"nonlinearity": "relu", "bidirectional": True},
}


class Recurrent(nn.Module):
    """A recurrent layer with trainable inputs and initial states, which returns outputs and final states."""

    def __init__(self, name: str, arguments: dict[str, Any], has_states: bool) -> None:
        super().__init__()
        self.layer = getattr(nn, name)(INPUTS, HIDDEN, **arguments)
        self.factors = nn.Parameter(torch.randn(INPUTS))
        if has_states:
            count = self.layer.num_layers * (2 if self.layer.bidirectional else 1)
            sizes = [self.layer.proj_size or HIDDEN, *([HIDDEN] if name == "LSTM" else [])]
            self.states = nn.ParameterList(torch.randn(count, BATCH, size) for size in sizes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs, and with initial states also the final ones, as a vector."""
        if not hasattr(self, "states"):
            outputs: Tensor = self.layer(x * self.factors)[0]
            return outputs
        outputs, final = self.layer(
            x * self.factors, tuple(self.states) if len(self.states) > 1 else self.states[0]
        )
        return torch.cat(
            [each.ravel() for each in (outputs, *(final if isinstance(final, tuple) else (final,)))]
        )


def traced(model: nn.Module, x: Tensor, targets: Tensor) -> Trace:
    """Trace one step."""
    found = trace(model, nn.MSELoss(), Samples((x,), targets), gradients=True)
    assert untranslatable(found.graph) == []
    return found


@pytest.mark.usefixtures("jax_is_set_up")
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
@pytest.mark.parametrize(
    ("name", "has_states"),
    [
        pytest.param(
            name, has_states, marks=() if has_states or name in ("LSTM", "GRU") else pytest.mark.exhaustive
        )
        for name in LAYERS
        for has_states in (False, True)
    ],
)
def test_recurrent_layers(name: str, has_states: bool) -> None:
    """Outputs, final states and gradients equal PyTorch's, whose dropout between layers they draw."""
    torch.manual_seed(0)
    model = Recurrent(name.partition(",")[0], LAYERS[name], has_states)
    x = torch.randn(*((BATCH, STEPS) if model.layer.batch_first else (STEPS, BATCH)), INPUTS)
    torch.manual_seed(1)
    outputs = model(x)
    targets = torch.randn_like(outputs)
    loss = nn.functional.mse_loss(outputs, targets)
    loss.backward()
    found = traced(model, x, targets)
    torch.manual_seed(1)
    tensors = [*model.parameters(), x, targets, *(draw() for draw in found.draws)]
    computed = jax.jit(translated(found.graph))(*(jnp.asarray(each.detach().numpy()) for each in tensors))
    np.testing.assert_allclose(computed[0], loss.item(), rtol=1e-5)
    np.testing.assert_allclose(computed[1], outputs.detach().numpy(), rtol=1e-5, atol=1e-6)
    parameters = dict(model.named_parameters())
    assert {*found.trained} == {name for name, each in parameters.items() if each.grad is not None}
    for parameter, gradient in zip(found.trained, computed[2:], strict=True):
        expected = parameters[parameter].grad
        assert expected is not None
        largest = float(expected.abs().max())
        np.testing.assert_allclose(gradient, expected.numpy(), rtol=0, atol=1e-5 * largest)


def test_the_graph_does_not_grow_with_the_steps() -> None:
    """Two layers over 1000 steps are a graph of less than 100 operators."""
    model = Recurrent("LSTM", {"num_layers": 2, "dropout": 0.0}, has_states=False)
    x = torch.randn(1000, BATCH, INPUTS)
    assert len(traced(model, x, torch.randn(1000, BATCH, HIDDEN)).graph.nodes) < 100


def test_packed_sequences_are_named() -> None:
    """A recurrence over packed sequences is not supported, and the error says so."""
    layer = nn.GRU(INPUTS, HIDDEN)
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(STEPS, BATCH, INPUTS), torch.tensor([7, 5, 2]))
    with RecurrencesAsOperators(), pytest.raises(NotImplementedError, match=PACKED):
        layer(packed)

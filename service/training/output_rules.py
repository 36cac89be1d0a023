"""Rules about the outputs of models: what a loss expects, and what shows it before the training.

Two things show what a model returns: the last operation of its forward pass in autograd, and its outputs for
random parameters (`service.architectures.check.value_probes`).
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from service.training.findings import Findings

# Sums of float32 probabilities differ from 1 by rounding, and so do probabilities.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class OutputRule:
    """Outputs that a loss expects.

    Attributes:
        needs: The outputs, in words.
        remedy: How to obtain them.
        breaks: Function from outputs [B, …] to a mask of the samples that break the rule, bool [B]; None if
            all outputs are valid.
        is_required: Whether outputs that break the rule are an error. Otherwise they are usually unintended.
        kept_by: Last operations that always keep the rule.
        repeated: Last operations that the loss applies itself, with what to do, as a predicate of the loss.
        mistaken: Last operations that are known to break the rule, with what to do instead.
    """

    needs: str = "any outputs"
    remedy: str = ""
    breaks: Callable[[Tensor], Tensor] | None = None
    is_required: bool = True
    kept_by: frozenset[str] = frozenset()
    repeated: Mapping[str, str] = field(default_factory=dict)
    mistaken: Mapping[str, str] = field(default_factory=dict)


def _per_sample(broken: Tensor) -> Tensor:
    """bool [B, …] -> bool [B]."""
    return broken.flatten(1).any(dim=1) if broken.dim() > 1 else broken


def _not_normalized(outputs: Tensor) -> Tensor:
    """Find samples whose exponentials do not sum to 1 over the classes, dimension 1."""
    return _per_sample((outputs.double().exp().sum(dim=min(1, outputs.dim() - 1)) - 1).abs() > TOLERANCE)


def _positive(outputs: Tensor) -> Tensor:
    return _per_sample(outputs > TOLERANCE)


def _log_distribution(outputs: Tensor) -> Tensor:
    """As `_not_normalized` for outputs [B, k]; in more dimensions, what adds up is unknown."""
    return _not_normalized(outputs) if outputs.dim() == 2 else _positive(outputs)


def _outside_unit_interval(outputs: Tensor) -> Tensor:
    return _per_sample((outputs < 0) | (outputs > 1))


def _negative(outputs: Tensor) -> Tensor:
    return _per_sample(outputs < 0)


_LOG_SOFTMAX, _SOFTMAX, _SIGMOID = "LogSoftmaxBackward0", "SoftmaxBackward0", "SigmoidBackward0"
_LAYER_NORM = "NativeLayerNormBackward0"
_NOT_NEGATIVE = frozenset(
    {_SOFTMAX, _SIGMOID, "ReluBackward0", "ExpBackward0", "SoftplusBackward0", "AbsBackward0"}
)
_WITHOUT_IT = "remove it. Predictions include probabilities without it."
_NOT_LOG = "use `LogSoftmax` instead."

ANY = OutputRule()
CLASS_SCORES = OutputRule(
    "scores of the classes",
    repeated={
        _SOFTMAX: f"applies log-softmax itself, and the model ends with a softmax; {_WITHOUT_IT}",
        _SIGMOID: f"applies log-softmax itself, and the model ends with a sigmoid; {_WITHOUT_IT}",
    },
)
LOGITS = OutputRule(
    "logits",
    repeated={
        _SIGMOID: f"applies the sigmoid itself, and the model ends with one; {_WITHOUT_IT}",
        _SOFTMAX: f"applies the sigmoid itself, and the model ends with a softmax; {_WITHOUT_IT}",
        _LOG_SOFTMAX: f"applies the sigmoid itself, and the model ends with a log-softmax; {_WITHOUT_IT}",
    },
)
PROBABILITIES = OutputRule(
    "probabilities",
    "the outputs of this model may be outside 0 to 1; end it with a `Sigmoid`, or use `BCEWithLogitsLoss`.",
    _outside_unit_interval,
    kept_by=frozenset({_SIGMOID, _SOFTMAX}),
    mistaken={_LOG_SOFTMAX: "the model ends with a log-softmax; use a `Sigmoid` instead."},
)
LOG_PROBABILITIES = OutputRule(
    "log-probabilities of the classes",
    "those of this model do not sum to 1; end it with `LogSoftmax` (`dim` 1), or use `CrossEntropyLoss`.",
    _not_normalized,
    kept_by=frozenset({_LOG_SOFTMAX}),
    mistaken={
        _SOFTMAX: f"the model ends with a softmax; {_NOT_LOG}",
        _SIGMOID: f"the model ends with a sigmoid; {_NOT_LOG}",
    },
)
LOG_DISTRIBUTION = OutputRule(
    "logarithms of probabilities",
    "those of this model do not sum to 1; end it with `LogSoftmax` (`dim` 1).",
    _log_distribution,
    kept_by=frozenset({_LOG_SOFTMAX, "LogSigmoidBackward0"}),
    mistaken={
        _SOFTMAX: f"the model ends with a softmax; {_NOT_LOG}",
        _SIGMOID: f"the model ends with a sigmoid; {_NOT_LOG}",
    },
)
_MAKES_POSITIVE = (
    "expects the logarithm of the rate, and the model ends with an operation that makes it positive; remove "
    "the operation, or set `log_input` to false."
)
LOG_RATES = OutputRule(
    "the logarithm of the rate",
    repeated=dict.fromkeys(("ExpBackward0", "SoftplusBackward0"), _MAKES_POSITIVE),
)
RATES = OutputRule(
    "rates without `log_input`",
    "the outputs of this model may be negative; end it with a `Softplus`, or set `log_input` to true.",
    _negative,
    kept_by=_NOT_NEGATIVE,
)
VARIANCES = OutputRule(
    "variances of 0 or greater",
    "those of this model may be negative; end this output with a `Softplus`, or return its exponential.",
    _negative,
    kept_by=_NOT_NEGATIVE,
)
LOG_HAZARDS = OutputRule("logarithms of hazard ratios")
DISTANCES = OutputRule(
    "distances",
    "the outputs of this model may be negative, and then the loss has no lower bound; end it with a "
    "`Softplus`, or use `SoftMarginLoss` for scores.",
    _negative,
    is_required=False,
    kept_by=_NOT_NEGATIVE,
)

# Operations that rearrange values; the operation before them decides.
_REARRANGING = (
    "AliasBackward",
    "CloneBackward",
    "PermuteBackward",
    "ReshapeAliasBackward",
    "SqueezeBackward",
    "TBackward",
    "TransposeBackward",
    "UnsafeViewBackward",
    "UnsqueezeBackward",
    "ViewBackward",
)


LOSS = "#/training/loss"


def check_outputs(
    loss: str,
    rule: OutputRule,
    outputs: Tensor,
    samples: Callable[[], Iterable[Tensor]],
    found: Findings,
) -> None:
    """Check whether the outputs of a model keep a rule, as far as it can be known before the training.

    Args:
        loss: Name of the loss.
        rule: Its rule.
        outputs: Outputs of the model for a batch, [B, …] on the meta device, with their autograd graph.
        samples: Computes outputs [2, …] for random parameters; called only if the last operation does not
            decide.
        found: Receives an error, or a warning of what is usually unintended or can't be known.
    """
    name, is_exact = last_operation(outputs)
    if reason := _constant(outputs):
        found.add_warning(LOSS, f"The outputs are the same for all inputs: {reason}.")
        return
    if name in rule.repeated:
        found.add_warning(LOSS, f"`{loss}` {rule.repeated[name]}")
        return
    if rule.breaks is None or (name in rule.kept_by and is_exact):
        return
    if name in rule.mistaken:
        found.add_error(LOSS, f"`{loss}` needs {rule.needs}, and {rule.mistaken[name]}")
        return
    is_known = name in rule.kept_by
    for sample in samples():
        if rule.breaks(sample).any():
            add = found.add_error if rule.is_required else found.add_warning
            return add(LOSS, f"`{loss}` needs {rule.needs}, and {rule.remedy}")
        is_known = is_known or bool(sample.isfinite().any())
    if not is_known:
        detail = f"Whether the outputs of this model are {rule.needs}, as `{loss}` needs, can't be checked."
        found.add_warning(LOSS, detail)


def last_operation(outputs: Tensor) -> tuple[str, bool]:
    """Find the operation that computed the values of outputs.

    Returns:
        The name of its node in autograd, empty for outputs without a graph; and whether the outputs are its
        result as it is, normalized over the classes (dimension 1) if it is a softmax.
    """
    node = _computing_node(outputs)
    is_exact = node is outputs.grad_fn
    if node is None:
        return "", False
    if is_exact and node.name() in (_SOFTMAX, _LOG_SOFTMAX):
        is_exact = _signed(node._saved_dim) in (1, 1 - outputs.dim())
    return node.name(), is_exact


def _computing_node(outputs: Tensor) -> Any:
    """Return the node of the operation that computed the values of outputs; None without a graph."""
    node: Any = outputs.grad_fn
    while node is not None and node.name().startswith(_REARRANGING):
        node = node.next_functions[0][0]
    return node


def _constant(outputs: Tensor) -> str | None:
    """Return why the outputs do not depend on the inputs, as a clause; None if they do, or it is unknown."""
    node = _computing_node(outputs)
    name = "" if node is None else node.name()
    if name in (_SOFTMAX, _LOG_SOFTMAX):
        result = node._saved_result
        if result.shape[_signed(node._saved_dim)] == 1:
            value, layer = (1, "softmax") if name == _SOFTMAX else (0, "log-softmax")
            return (
                f"the {layer} of a single value is always {value}; use a `Sigmoid` for one probability, or "
                "an output for each class"
            )
    if name == _LAYER_NORM and math.prod(node._saved_normalized_shape) == 1:
        return "the `LayerNorm` of a single value is its bias; normalize several values, or leave it out"
    return None


def _signed(dim: int) -> int:
    """Restore a negative dimension, which autograd saves as an unsigned number of 64 bits."""
    return dim - 2**64 if dim >= 2**63 else dim


def probabilities_or_nan(
    probabilities: Callable[[Tensor], Tensor], rule: OutputRule, outputs: Tensor
) -> tuple[Tensor, int]:
    """Convert outputs to probabilities, NaN for samples whose outputs break the rule of the loss.

    Args:
        probabilities: Function from outputs to probabilities.
        rule: The rule of the loss for outputs.
        outputs: Outputs of a model, [B, …].

    Returns:
        Probabilities of at most 1, of the shape of `outputs`, and the number of samples without them.
    """
    values = probabilities(outputs).clamp(max=1.0)
    if rule.breaks is None:
        return values, 0
    broken = rule.breaks(outputs) | _per_sample(outputs.isnan())
    return torch.where(broken.reshape(-1, *[1] * (values.dim() - 1)), torch.nan, values), int(broken.sum())

"""Rules about the outputs of models: before the training, and for predictions."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service.architectures.check.check import check
from service.architectures.check.value_probes import probe_outputs
from service.specs.architecture import read_architecture
from service.training import output_rules
from service.training.check import quantity_warnings
from service.training.findings import Findings
from service.training.losses import LOSSES
from service.training.output_rules import OutputRule, check_outputs, last_operation, probabilities_or_nan
from tests.support.parity import Json, layer, linear, module, sequential

NOTHING = layer("Identity")
LOG_SOFTMAX, SOFTMAX, SIGMOID = layer("LogSoftmax", dim=1), layer("Softmax", dim=1), layer("Sigmoid")
FUNCTIONS = {
    "Softmax": "torch.softmax(h, dim=1)",
    "LogSoftmax": "torch.log_softmax(h, dim=1)",
    "Sigmoid": "torch.sigmoid(h)",
    "Identity": "h",
    "Softplus": "F.softplus(h)",
    "ReLU": "torch.relu(h)",
    "Tanh": "torch.tanh(h)",
}
RATES = {"log_input": False}
# For each loss: its arguments, the last layer, the level of what is found, and words of it.
CASES: list[tuple[str, dict[str, Any], Json, str | None, str]] = [
    ("BCELoss", {}, NOTHING, "error", "end it with a `Sigmoid`, or use `BCEWithLogitsLoss`"),
    ("BCELoss", {}, layer("Tanh"), "error", "may be outside 0 to 1"),
    ("BCELoss", {}, LOG_SOFTMAX, "error", "ends with a log-softmax"),
    ("BCELoss", {}, SIGMOID, None, ""),
    ("BCELoss", {}, SOFTMAX, None, ""),
    ("BCEWithLogitsLoss", {}, SIGMOID, "warning", "applies the sigmoid itself"),
    ("BCEWithLogitsLoss", {}, SOFTMAX, "warning", "ends with a softmax"),
    ("BCEWithLogitsLoss", {}, LOG_SOFTMAX, "warning", "ends with a log-softmax"),
    ("BCEWithLogitsLoss", {}, NOTHING, None, ""),
    ("CoxPHLoss", {}, NOTHING, None, ""),
    ("CrossEntropyLoss", {}, SOFTMAX, "warning", "applies log-softmax itself"),
    ("CrossEntropyLoss", {}, SIGMOID, "warning", "ends with a sigmoid"),
    ("CrossEntropyLoss", {}, NOTHING, None, ""),
    ("CrossEntropyLoss", {}, LOG_SOFTMAX, None, ""),
    ("GaussianNLLLoss", {}, NOTHING, None, ""),
    ("HingeEmbeddingLoss", {}, NOTHING, "warning", "no lower bound"),
    ("HingeEmbeddingLoss", {}, layer("ReLU"), None, ""),
    ("HuberLoss", {}, NOTHING, None, ""),
    ("KLDivLoss", {}, NOTHING, "error", "end it with `LogSoftmax`"),
    ("KLDivLoss", {"log_target": True}, SOFTMAX, "error", "use `LogSoftmax` instead"),
    ("KLDivLoss", {}, LOG_SOFTMAX, None, ""),
    ("L1Loss", {}, NOTHING, None, ""),
    ("MSELoss", {}, NOTHING, None, ""),
    ("MultiLabelMarginLoss", {}, NOTHING, None, ""),
    ("MultiLabelSoftMarginLoss", {}, SIGMOID, "warning", "applies the sigmoid itself"),
    ("MultiLabelSoftMarginLoss", {}, NOTHING, None, ""),
    ("MultiMarginLoss", {}, NOTHING, None, ""),
    ("NLLLoss", {}, NOTHING, "error", "end it with `LogSoftmax` (`dim` 1), or use `CrossEntropyLoss`"),
    ("NLLLoss", {}, layer("ReLU"), "error", "do not sum to 1"),
    ("NLLLoss", {}, SOFTMAX, "error", "use `LogSoftmax` instead"),
    ("NLLLoss", {}, layer("LogSoftmax", dim=0), "error", "do not sum to 1"),
    ("NLLLoss", {}, LOG_SOFTMAX, None, ""),
    ("NLLLoss", {}, layer("LogSoftmax", dim=-1), None, ""),
    ("PinballLoss", {"quantiles": [0.1, 0.5, 0.9]}, NOTHING, None, ""),
    ("PoissonNLLLoss", {}, NOTHING, None, ""),
    ("PoissonNLLLoss", {}, layer("Softplus"), "warning", "set `log_input` to false"),
    ("PoissonNLLLoss", RATES, NOTHING, "error", "may be negative"),
    ("PoissonNLLLoss", RATES, layer("Softplus"), None, ""),
    ("SmoothL1Loss", {}, NOTHING, None, ""),
    ("SoftMarginLoss", {}, NOTHING, None, ""),
    ("expression", {"text": "return F.mse_loss(output, target)"}, SIGMOID, None, ""),
]
# For a loss with a further output: the last layer of that output, and whether it breaks the loss's rule.
FURTHER_CASES = [
    ("GaussianNLLLoss", NOTHING, True),
    ("GaussianNLLLoss", layer("Tanh"), True),
    ("GaussianNLLLoss", LOG_SOFTMAX, True),
    ("GaussianNLLLoss", SIGMOID, False),
    ("GaussianNLLLoss", layer("ReLU"), False),
    ("GaussianNLLLoss", layer("Softplus"), False),
]


def found(loss: str, architecture: Json, **arguments: Any) -> tuple[list[str], list[str]]:
    """Return errors and warnings of a loss and an architecture with four inputs."""
    return broken(loss, LOSSES[loss].conventions_for(arguments).outputs, architecture)


def broken(loss: str, rule: OutputRule, architecture: Json) -> tuple[list[str], list[str]]:
    """Return errors and warnings of a rule of a loss and an architecture with four inputs."""
    checked = check(read_architecture(architecture), [torch.empty(9, 4)], 10**6)
    findings = Findings()
    extremes = torch.tensor([[-1.0] * 4, [2.0] * 4])
    check_outputs(
        loss, rule, checked.outputs["output"], lambda: probe_outputs(checked.module, [extremes]), findings
    )
    return [each.detail for each in findings.errors], [each.detail for each in findings.warnings]


def test_every_loss_has_a_case() -> None:
    """Each loss is tested here, with the further outputs that it takes."""
    assert {case[0] for case in CASES} == LOSSES.keys()
    assert {case[0] for case in FURTHER_CASES} == {name for name, loss in LOSSES.items() if loss.further}


@pytest.mark.parametrize(("loss", "arguments", "last", "level", "words"), CASES)
def test_the_end_of_a_model_is_compared_with_its_loss(
    loss: str, arguments: dict[str, Any], last: Json, level: str | None, words: str
) -> None:
    """Outputs that a loss does not expect are found behind a layer, a function and a reshape."""
    architectures = [sequential(linear(3), last), sequential(linear(3), last, layer("Flatten"))]
    if last.get("dim", 1) == 1:
        text = f"h = self.out(input)\nreturn {FUNCTIONS[last['type']]}"
        architectures.append(module("Net", text, {"out": linear(3)}))
    for architecture in architectures:
        errors, warnings = found(loss, architecture, **arguments)
        assert (bool(errors), bool(warnings)) == (level == "error", level == "warning")
        assert all(f"`{loss}`" in each and words in each for each in [*errors, *warnings])


@pytest.mark.parametrize(("loss", "last", "is_broken"), FURTHER_CASES)
def test_a_variance_is_not_negative(loss: str, last: Json, is_broken: bool) -> None:
    """An output that a loss reads as a variance must end with an operation that keeps it positive."""
    (rule,) = LOSSES[loss].further
    errors, warnings = broken(loss, rule, sequential(linear(3), last))
    assert not warnings
    assert [f"`{loss}` needs variances of 0 or greater" in each for each in errors] == [True] * is_broken


@pytest.mark.parametrize("loss", ["BCELoss", "BCEWithLogitsLoss", "MSELoss", "L1Loss"])
@pytest.mark.parametrize(
    "layers",
    [
        [linear(1), SOFTMAX],
        [linear(1), layer("Softmax", dim=-1)],
        [linear(1), layer("Softmin", dim=1)],
        [linear(1), LOG_SOFTMAX, layer("Flatten")],
        [linear(3), layer("Unflatten", dim=1, unflattened_size=[3, 1]), layer("Softmax", dim=2)],
        [linear(1), layer("LayerNorm", normalized_shape=[1])],
    ],
)
def test_outputs_that_never_change_are_warned_of(loss: str, layers: list[Json]) -> None:
    """A softmax or a normalization of a single value is the same for all inputs, whatever the loss."""
    errors, (warning,) = found(loss, sequential(*layers))
    assert not errors
    assert warning.startswith("The outputs are the same for all inputs: ")


def test_a_flattened_softmax_is_no_softmax() -> None:
    """Log-probabilities that are normalized over a part of the outputs do not sum to 1."""
    layers = [linear(6), layer("Unflatten", dim=1, unflattened_size=[2, 3]), layer("LogSoftmax", dim=2)]
    errors, _ = found("NLLLoss", sequential(*layers, layer("Flatten")))
    assert "do not sum to 1" in errors[0]


def test_what_cannot_be_known_is_warned_of() -> None:
    """Without outputs for random weights and without a last operation that decides, there is a warning."""
    checked = check(read_architecture(sequential(linear(3))), [torch.empty(9, 4)], 10**6)
    findings = Findings()
    check_outputs("NLLLoss", output_rules.LOG_PROBABILITIES, checked.outputs["output"], list, findings)
    assert not findings.errors
    (warning,) = findings.warnings
    assert "can't be checked" in warning.detail
    findings = Findings()
    unknown = [torch.full((2, 3), torch.nan)]
    check_outputs("BCELoss", output_rules.PROBABILITIES, checked.outputs["output"], lambda: unknown, findings)
    assert len(findings.warnings) == 1


def test_the_last_operation_is_found_behind_reshapes() -> None:
    """Views, transpositions and copies do not hide the operation before them."""
    x = torch.randn(4, 3, requires_grad=True)
    assert last_operation(x.log_softmax(dim=-1)) == ("LogSoftmaxBackward0", True)
    assert last_operation(x.log_softmax(dim=0)) == ("LogSoftmaxBackward0", False)
    for rearranged in (
        x.sigmoid().reshape(2, 6),
        x.sigmoid().T.contiguous(),
        x.sigmoid()[:, :, None].clone(),
    ):
        assert last_operation(rearranged) == ("SigmoidBackward0", False)
    assert last_operation(torch.zeros(2)) == ("", False)


def test_measurements_as_classes_are_warned_of() -> None:
    """Classes that are not all integers are accepted with a warning."""
    (warning,) = quantity_warnings((0.5, 1.0, 2.5))
    assert "3 distinct numbers (0.5, 1.0, 2.5, …)" in warning.detail
    assert "use a regression loss such as `MSELoss`." in warning.detail
    assert quantity_warnings((0, 1, 2)) == []


floats = st.floats(-50, 50, width=32)


@settings(deadline=None)
@given(rows=st.lists(st.lists(floats, min_size=3, max_size=3), min_size=1, max_size=9), which=st.data())
def test_a_probability_is_never_above_1(rows: list[list[float]], which: st.DataObject) -> None:
    """Rows that keep the rule have the probabilities of PyTorch, the others none."""
    outputs = torch.tensor(rows)
    normalized = torch.tensor([which.draw(st.booleans()) for _ in rows])
    sent = torch.where(normalized[:, None], outputs.log_softmax(dim=1), outputs)
    values, without = probabilities_or_nan(torch.exp, output_rules.LOG_PROBABILITIES, sent)
    kept = (sent.double().exp().sum(dim=1) - 1).abs() <= output_rules.TOLERANCE
    assert normalized[~kept].logical_not().all()
    assert without == int((~kept).sum())
    assert values[~kept].isnan().all()
    assert (values[kept] <= 1).all()
    assert torch.equal(values[kept], sent[kept].exp().clamp(max=1))

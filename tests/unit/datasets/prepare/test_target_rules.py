"""Rules about the values of targets, when a job is prepared and when rows are evaluated."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from service.datasets.prepare import target_rules
from service.datasets.prepare.prepare import JobDatasets, Prepared, prepare
from service.datasets.prepare.target_rules import TargetRules
from service.datasets.sources.json import read_json
from service.training.losses import LOSSES
from tests.support.field_errors import refusal
from tests.support.thermometer import declared

HALVES, LOG_HALVES = [[0.5, 0.5], [0.1, 0.9]], [[-0.6931472, -0.6931472], [-2.302585, -0.1053605]]
# Of each loss with numeric targets, by its name and an argument: accepted rows, and refused rows with the
# first bad row and words of its error.
CASES: dict[tuple[str, str, bool | None], tuple[list[Any], list[tuple[list[Any], int, str]]]] = {
    ("BCELoss", "", None): (
        [[0, 1], [0.25, 1]],
        [([[0, 1], [2, 0]], 1, "is 2, and `BCELoss` needs targets from 0 to 1; use `CrossEntropyLoss`")],
    ),
    ("BCEWithLogitsLoss", "", None): ([[0, 1], [1, 0.5]], [([[0, -0.5], [1, 0]], 0, "is -0.5, and")]),
    ("HingeEmbeddingLoss", "", None): ([[-1, 1], [1, 1]], [([[-1, 1], [0, 1]], 1, "send −1 in place of 0")]),
    ("HuberLoss", "", None): ([[-7, 0.5], [1e9, 3]], []),
    ("KLDivLoss", "", None): (
        HALVES,
        [
            ([[0.5, 0.5], [-0.5, 1.5]], 1, "targets that are probabilities"),
            ([[0.5, 0.6], [0.5, 0.5]], 0, "is 0.5, 0.6, and `KLDivLoss` needs targets whose sum in each row"),
        ],
    ),
    ("KLDivLoss", "log_target", True): (
        LOG_HALVES,
        [(HALVES, 0, "set `log_target` to false"), ([[-1, -1], *LOG_HALVES], 0, "subtract the `logsumexp`")],
    ),
    ("L1Loss", "", None): ([[-7, 0.5], [1e9, 3]], []),
    ("MSELoss", "", None): ([[-7, 0.5], [1e9, 3]], []),
    ("MultiLabelMarginLoss", "", None): (
        [[1, -1], [0, 1], [-1, -1]],
        [
            ([[0, -1], [0.5, -1]], 1, "is 0.5, and"),
            ([[0, -1], [2, -1]], 1, "class indices from 0 to 1, padded with −1"),
            ([[0, 1], [-1, 0]], 1, "is -1, 0, and"),
            ([[1, 1], [0, -1]], 0, "use `BCEWithLogitsLoss` for a 0 or 1 per class"),
        ],
    ),
    ("MultiLabelSoftMarginLoss", "", None): ([[0, 1], [1, 1]], [([[0, 1], [0.5, 1]], 1, "are 0 or 1")]),
    ("PoissonNLLLoss", "", None): ([[0, 2.5], [7, 1]], [([[0, 1], [-1, 3]], 1, "such as counts")]),
    ("PoissonNLLLoss", "log_input", False): ([[0, 2.5], [7, 1]], [([[-3, 1], [1, 3]], 0, "is -3, and")]),
    ("SmoothL1Loss", "", None): ([[-7, 0.5], [1e9, 3]], []),
    ("SoftMarginLoss", "", None): ([[-1, 1], [1, 1]], [([[-1, 1], [0, 0]], 1, "−1 or 1")]),
}
# Losses of ours, and of several outputs: their targets are any, but those of `CoxPHLoss`.
OTHERS = {"CoxPHLoss", "GaussianNLLLoss", "PinballLoss", "expression"}
COX = [([[1, 1], [-2, 0]], 1, "a time of 0 or greater"), ([[1, 2], [2, 0]], 0, "1 for an event or 0")]
REFUSED = [
    *(pytest.param("CoxPHLoss", {}, rows, first, words, id=words) for rows, first, words in COX),
    *(
        pytest.param(loss, arguments, rows, first, words, id=f"{loss} {words}")
        for (loss, name, value), (_, refused) in CASES.items()
        for arguments in [{name: value} if name else {}]
        for rows, first, words in refused
    ),
]


def table(rows: list[Any], **more: Any) -> dict[str, Any]:
    """A data section of one feature and a target column for each number of a row."""
    names = [f"y{number}" for number in range(len(rows[0]))]
    targets = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    return {"columns": {"x": [*range(len(rows))], **targets}, "features": ["x"], "targets": names, **more}


def tensors(rows: list[Any]) -> dict[str, Any]:
    """A data section of tensors."""
    return {"inputs": [[number] for number in range(len(rows))], "targets": rows}


def prepared(section: dict[str, Any], loss: str, arguments: dict[str, Any], **whole: Any) -> Prepared:
    """Prepare the data of a loss."""
    rules = LOSSES[loss].target_rules(arguments)
    datasets = JobDatasets(
        read_json(section, "#/data"), {side: read_json(each) for side, each in whole.items()}
    )
    return prepare(datasets, declared(**section), LOSSES[loss].targets, target_rules=rules)


def test_every_loss_has_a_case() -> None:
    """Each loss with numeric targets, and each of its variants, is tested here."""
    numeric = {name: loss for name, loss in LOSSES.items() if loss.targets != "classes"}
    assert {name for name in OTHERS if numeric.pop(name).conventions.targets} == {"CoxPHLoss"}
    variants = {(name, *variant) for name, loss in numeric.items() for variant in loss.variants}
    assert CASES.keys() == {(name, "", None) for name in numeric} | variants


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss:UserWarning")
@pytest.mark.parametrize(("loss", "name", "value"), CASES)
def test_valid_targets_are_accepted(loss: str, name: str, value: bool | None) -> None:
    """Targets that PyTorch documents for a loss are accepted, and have a finite loss of 0 or more."""
    rows, _ = CASES[loss, name, value]
    arguments = {name: value} if name else {}
    for section in (table(rows), tensors(rows)):
        targets = prepared(section, loss, arguments).train.targets
        outputs = torch.zeros(len(rows), 2) if loss != "KLDivLoss" else torch.tensor(LOG_HALVES)
        built = getattr(nn, loss)(**arguments)
        dtype = LOSSES[loss].target_dtype or torch.float32
        assert built(outputs.sigmoid() if loss == "BCELoss" else outputs, targets.to(dtype)).isfinite()


@pytest.mark.parametrize(("loss", "arguments", "rows", "first", "words"), REFUSED)
def test_other_targets_are_errors(
    loss: str, arguments: dict[str, Any], rows: list[Any], first: int, words: str
) -> None:
    """The error of a table names column, row and value; that of tensors names the row."""
    pointer, detail = next(iter(refusal(lambda: prepared(table(rows), loss, arguments)).items()))
    assert pointer.startswith("#/data/targets/")
    assert detail.startswith("`y")
    assert f"in row {first} " in detail
    assert words in detail
    found = refusal(lambda: prepared(tensors(rows), loss, arguments))
    assert f"`targets` in row {first} is" in found["#/data/targets"]


def test_rows_of_every_split_are_checked() -> None:
    """A bad target in the test rows, or in a validation dataset, is an error."""
    rows = [[0], [1], [1], [5]]
    section = table(rows, split={"test": 1, "shuffle": False})
    assert "row 3 is 5" in refusal(lambda: prepared(section, "BCELoss", {}))["#/data/targets/0"]
    section = table(rows[:3], split={"validation_dataset_id": "ds_2"})
    found = refusal(lambda: prepared(section, "BCELoss", {}, validation=table(rows)))
    assert "row 3 is 5" in found["#/data/split/validation_dataset_id"]


def test_values_are_those_after_the_transforms() -> None:
    """Targets are checked after their transforms, and the error says so."""
    scale = {"type": "minmax", "columns": ["y0"]}
    prepared(table([[3], [9], [6]], transforms=[scale]), "BCELoss", {})
    section = table([[3], [9], [6]], transforms=[{**scale, "type": "standardize"}])
    detail = refusal(lambda: prepared(section, "PoissonNLLLoss", {}))["#/data/targets/0"]
    assert "row 0 is -1.22474 after its transforms, and" in detail


def test_many_bad_rows_are_one_error() -> None:
    """The error names the first row and counts the others."""
    detail = refusal(lambda: prepared(table([[2]] * 999), "BCELoss", {}))["#/data/targets/0"]
    assert detail.startswith("`y0` in row 0 is 2, and `BCELoss` needs")
    assert "998 more rows" in detail


def test_labels_of_two_classes_keep_every_rule() -> None:
    """Text and booleans are encoded as 0 and 1."""
    for labels in (["no", "yes"], [False, True]):
        assert prepared(table([[label] for label in labels]), "BCELoss", {}).encoding.is_binary


@settings(deadline=None)
@given(rows=st.lists(st.lists(st.integers(-2, 4), min_size=3, max_size=3), min_size=1, max_size=4))
def test_indices_are_those_that_pytorch_accepts(rows: list[list[int]]) -> None:
    """A value is no class index where PyTorch raises; lists are those whose meaning it documents."""
    targets = torch.tensor(rows)
    outside = target_rules.LABEL_INDICES.breaks(targets.float())
    try:
        nn.MultiLabelMarginLoss()(torch.zeros(len(rows), 3), targets)
        assert not outside.any()
    except RuntimeError:
        assert outside.any()
    if not outside.any():
        labels = [[index for index in row if index >= 0] for row in rows]
        odd = [
            len(set(kept)) < len(kept) or row != [*kept, *[-1] * (3 - len(kept))]
            for row, kept in zip(rows, labels, strict=True)
        ]
        assert target_rules.LABEL_LISTS.breaks(targets.float()).tolist() == odd


@settings(deadline=None)
@given(
    scores=st.lists(st.lists(st.floats(-30, 30), min_size=4, max_size=4), min_size=1, max_size=9),
    factor=st.sampled_from([0.5, 0.99, 1.01, 2.0]),
)
def test_any_softmax_is_a_distribution(scores: list[list[float]], factor: float) -> None:
    """Softmax of any scores is a distribution in float32, its logarithm too, and multiples of it are not."""
    targets = torch.tensor(scores).softmax(dim=1)
    logarithms = torch.tensor(scores).log_softmax(dim=1)
    assert not target_rules.DISTRIBUTION.breaks(targets).any()
    assert not target_rules.LOG_DISTRIBUTION.breaks(logarithms).any()
    assert target_rules.DISTRIBUTION.breaks(factor * targets).all()


@given(values=st.lists(st.floats(allow_nan=False, width=32), min_size=1))
def test_rules_of_single_values(values: list[float]) -> None:
    """Each rule is a comparison with the values that it accepts."""
    targets = torch.tensor(values)
    accepted = {
        target_rules.UNIT_INTERVAL: lambda value: 0 <= value <= 1,
        target_rules.ZERO_OR_ONE: lambda value: value in (0, 1),
        target_rules.PLUS_OR_MINUS_ONE: lambda value: value in (-1, 1),
        target_rules.NOT_NEGATIVE: lambda value: value >= 0,
    }
    for rule, accepts in accepted.items():
        assert rule.breaks(targets).tolist() == [not accepts(value) for value in values]


def test_keys_distinguish_rules() -> None:
    """Different losses, and arguments that change a rule, have different keys."""
    keys = [tuple(LOSSES[loss].target_rules({name: value}).key()) for loss, name, value in CASES]
    same = keys.count(tuple(LOSSES["PoissonNLLLoss"].target_rules({}).key()))
    assert len(set(keys)) == len(keys) - (same - 1)
    assert TargetRules("MSELoss").key() == ["MSELoss"]

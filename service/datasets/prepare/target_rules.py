"""Rules about the values of targets: what a loss accepts, checked for jobs and for evaluations."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from service.datasets.prepare.encoding import TARGETS, Encoding
from service.datasets.prepare.raw_rows import RawRows
from service.datasets.validation import Cells

# Sums of float32 probabilities differ from 1 by rounding.
SUM_TOLERANCE = 1e-3
_MAX_SHOWN = 5  # names of columns and values in one message


@dataclass(frozen=True)
class TargetRule:
    """Values that a loss accepts as targets, after their transforms.

    Attributes:
        needs: The accepted values, in words; `{last}` stands for the largest class index.
        remedy: How to obtain them.
        breaks: Function from targets [B, …] to a mask of the values that break the rule: bool [B, …], or
            bool [B] for a rule about whole rows.
    """

    needs: str
    remedy: str
    breaks: Callable[[Tensor], Tensor]


UNIT_INTERVAL = TargetRule(
    "targets from 0 to 1",
    "use `CrossEntropyLoss` for classes, or `MSELoss` for numbers",
    lambda targets: (targets < 0) | (targets > 1),
)
ZERO_OR_ONE = TargetRule(
    "targets that are 0 or 1",
    "use `BCEWithLogitsLoss` for probabilities, or `MSELoss` for numbers",
    lambda targets: (targets != 0) & (targets != 1),
)
MEASURABLE = TargetRule(
    "targets that are 0 or 1 for the metrics of the job",
    "leave the row out",
    ZERO_OR_ONE.breaks,
)
PLUS_OR_MINUS_ONE = TargetRule(
    "targets that are −1 or 1",
    "send −1 in place of 0, or use `BCEWithLogitsLoss` for targets of 0 and 1",
    lambda targets: targets.abs() != 1,
)
NOT_NEGATIVE = TargetRule(
    "targets that are 0 or greater, such as counts",
    "use `MSELoss` for numbers of both signs",
    lambda targets: targets < 0,
)


def _no_time_or_event(targets: Tensor) -> Tensor:
    """Find times below 0 and events that are not 0 or 1, in targets [B, 2]; other shapes are no rule here."""
    if targets.shape[1:] != (2,):
        return torch.zeros_like(targets, dtype=torch.bool)
    events = targets[:, 1]
    return torch.stack([targets[:, 0] < 0, (events != 0) & (events != 1)], dim=1)


TIME_AND_EVENT = TargetRule(
    "a time of 0 or greater, and then 1 for an event or 0 without one",
    "name the two columns in this order in `targets`",
    _no_time_or_event,
)
LABEL_INDICES = TargetRule(
    "class indices from 0 to {last}, padded with −1",
    "use `BCEWithLogitsLoss` for a 0 or 1 per class",
    lambda targets: (targets != targets.floor()) | (targets < -1) | (targets >= targets[0].numel()),
)
_ONE_ROW = "targets whose sum in each row is 1, a probability distribution"


def _repeated_or_after_padding(targets: Tensor) -> Tensor:
    """Find lists of class indices [B, k] with an index after −1, which PyTorch ignores, or an index twice."""
    indices = targets.reshape(len(targets), -1)
    padded = indices < 0
    after_padding = (padded[:, :-1] & ~padded[:, 1:]).any(dim=1)
    ordered = indices.sort(dim=1).values
    repeated = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(dim=1)
    return after_padding | repeated


LABEL_LISTS = TargetRule(
    "the different class indices of a row first, then −1",
    "use `BCEWithLogitsLoss` for a 0 or 1 per class",
    _repeated_or_after_padding,
)


def _not_normalized(targets: Tensor) -> Tensor:
    """Find rows of probabilities [B, k] whose sum is not 1; in more dimensions, what adds up is unknown."""
    if targets.dim() > 2:
        return torch.zeros(len(targets), dtype=torch.bool)
    return (targets.double().reshape(len(targets), -1).sum(dim=1) - 1).abs() > SUM_TOLERANCE


PROBABILITIES = TargetRule(
    "targets that are probabilities",
    "send probabilities, or set `log_target` to true for their logarithms",
    UNIT_INTERVAL.breaks,
)
DISTRIBUTION = TargetRule(
    _ONE_ROW,
    "divide the targets of each row by their sum",
    _not_normalized,
)
SOFT_LABELS = TargetRule(
    "targets that are the probabilities of the classes",
    "send one column of labels, or integers in tensors, for one class of each row",
    UNIT_INTERVAL.breaks,
)
LOG_PROBABILITIES = TargetRule(
    "targets that are logarithms of probabilities, 0 or less",
    "send logarithms, or set `log_target` to false for probabilities",
    lambda targets: targets > SUM_TOLERANCE,
)
LOG_DISTRIBUTION = TargetRule(
    "logarithms of " + _ONE_ROW,
    "subtract the `logsumexp` of each row from its targets",
    lambda targets: _not_normalized(targets.double().exp()),
)


class TargetRules(NamedTuple):
    """The rules of one loss, of which a later one assumes that the values keep to those before it.

    Attributes:
        loss: Name of the loss.
        rules: The rules.
    """

    loss: str
    rules: tuple[TargetRule, ...] = ()

    def key(self) -> list[str]:
        """Return a key that distinguishes the rules of different losses and arguments."""
        return [self.loss, *(rule.needs for rule in self.rules)]

    def check(self, encoding: Encoding, raw: RawRows, targets: Tensor) -> None:
        """Check the targets of rows; values that break a rule are added to `raw.errors`.

        Args:
            encoding: Encoding of the targets. Class labels are not checked: encoding them is the check.
            raw: The rows.
            targets: Their encoded targets, [B, …].
        """
        if encoding.classes is not None:
            return
        for rule in self.rules:
            broken = _without_missing(rule.breaks(targets), targets)
            if not broken.any():
                continue
            needs = f"`{self.loss}` needs {rule.needs.format(last=targets[0].numel() - 1)}; {rule.remedy}"
            for column in _columns(encoding, raw, targets, broken):
                _report(*column, needs)
            return


def _without_missing(broken: Tensor, targets: Tensor) -> Tensor:
    """Exclude missing targets, which are reported elsewhere or masked."""
    missing = targets.isnan()
    return broken & ~(
        missing if broken.shape == targets.shape else missing.reshape(len(missing), -1).any(dim=1)
    )


class _Column(NamedTuple):
    cells: Cells
    values: Tensor  # [B, …]
    broken: Tensor  # bool [B]
    is_transformed: bool


def _columns(encoding: Encoding, raw: RawRows, targets: Tensor, broken: Tensor) -> Iterator[_Column]:
    """Iterate over the target columns, all of them together for a rule about rows, or over the tensor."""
    names = encoding.targets
    if not names:
        is_transformed = bool(encoding.transforms_of(TARGETS))
        rows = broken.reshape(len(targets), -1).any(dim=1)  # [B, …] -> [B]
        yield _Column(raw.cells(TARGETS), targets, rows, is_transformed)
    elif broken.shape == targets.shape:
        for position, name in enumerate(names):
            is_transformed = bool(encoding.transforms_of(name))
            yield _Column(raw.cells(name), targets[:, position], broken[:, position], is_transformed)
    else:
        is_transformed = any(map(encoding.transforms_of, names))
        cells = replace(raw.cells(names[0]), name="`, `".join(_first(names)))
        yield _Column(cells, targets, broken, is_transformed)


def _report(cells: Cells, values: Tensor, broken: Tensor, is_transformed: bool, needs: str) -> None:
    after = " after its transforms" if is_transformed else ""
    cells.add_errors(broken, lambda row: f"is {_shown(values[row])}{after}, and {needs}")


def _shown(value: Tensor) -> str:
    return ", ".join(_first([f"{number:g}" for number in value.flatten().tolist()]))


def _first(texts: Sequence[str]) -> list[str]:
    return [*texts[:_MAX_SHOWN], *(["…"] if len(texts) > _MAX_SHOWN else [])]

"""Predictions for new rows, in the units of the targets."""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, count
from typing import Any

import numpy as np
import torch
from torch import Tensor

from service.datasets.dataset import Dataset, TabularDataset
from service.datasets.formulas import without_formula
from service.datasets.prepare.encode import encode
from service.datasets.prepare.encoding import Encoding, in_target_units
from service.datasets.prepare.far_inputs import FarInputs
from service.datasets.prepare.ids import RowIds
from service.datasets.prepare.raw_rows import RawRows
from service.datasets.prepare.request_rows import prediction_rows
from service.datasets.prepare.windows import identify
from service.errors import FieldError, InvalidRequest
from service.inference.indices import report_indices
from service.inference.model import TrainedModel
from service.specs.transforms import Label
from service.training.labels import label_key, output_names, target_names
from service.training.metrics import THRESHOLD
from service.training.out_of_memory import is_out_of_memory
from service.training.output_rules import OutputRule, probabilities_or_nan
from service.training.target_units import variances_in_target_units

Outputs = Mapping[str, Tensor]
"""Outputs of a model, [B, …], by name."""

_Column = tuple[str, Sequence[Any]]  # name and cells

# Rows to run through the model at once, so that activations stay small.
SLICE_ROWS = 4096


def predict(model: TrainedModel, body: Mapping[str, Any] | list[Any] | Dataset) -> Iterator[dict[str, Any]]:
    """Predict for each row, in order.

    Args:
        model: The model.
        body: The rows, as a JSON document or as a dataset.

    Yields:
        For each slice of rows, `epoch`, `ids` if some were sent, `windows` of a model of windows, and the
        entries of `describe_outputs`; for the last one, the `warnings` of all.

    Raises:
        InvalidRequest: The rows don't fit the model. Errors in cells are raised after the last slice, all
            at once.
    """
    raw = prediction_rows(model.encoding, body)
    ids = RowIds(model.encoding.id, body, raw.dataset.rows)
    far, rows = FarInputs(model.encoding), 0
    warnings: list[dict[str, str]] = []
    for part in raw.slices(SLICE_ROWS):
        inputs = encode(model.encoding, part).inputs
        if raw.errors.count:
            continue  # only look for further errors
        try:
            with torch.inference_mode():
                outputs = run_model(model, inputs, part)
        except (RuntimeError, IndexError) as error:
            if is_out_of_memory(error):
                raise
            detail = f"The model can't be run on these rows: {error}"
            raise InvalidRequest(detail, [FieldError("#", detail)]) from None
        own = ids.of(part.rows)
        answer = {
            "epoch": model.epoch,
            **({"ids": own} if own else {}),
            **_describe_windows(model, part),
            **describe_outputs(model, outputs),
        }
        far.add(inputs, part)
        rows += len(part.rows)
        warnings += [each for each in answer.pop("warnings", ()) if each not in warnings]
        if rows == len(raw.rows):
            warnings += map(vars, far.warnings(raw))
            if warnings:
                answer["warnings"] = warnings
        yield answer
    raw.errors.raise_if_any()


def _describe_windows(model: TrainedModel, raw: RawRows) -> dict[str, Any]:
    """Return `windows`: `order` and `by` of the last row of each; nothing if each row is a sample."""
    window = model.encoding.window
    if window is None or not isinstance(raw.dataset, TabularDataset):
        return {}
    return {"windows": identify(window, raw.dataset.table, raw.rows)}


def run_model(model: TrainedModel, inputs: Sequence[Tensor], raw: RawRows) -> Outputs:
    """Compute the model's outputs [B, …] by name, of inputs [B, …], a slice of rows at a time.

    Args:
        model: The model.
        inputs: Encoded inputs of the rows.
        raw: The rows, to report those that the model can't take.

    Raises:
        InvalidRequest: An embedding has no row for an index in the rows.
    """
    starts = range(0, len(inputs[0]), SLICE_ROWS)
    try:
        slices = [
            model.layout.named(model.module(*(x[start : start + SLICE_ROWS] for x in inputs)))
            for start in starts
        ]
    except IndexError:
        report_indices(model.module, model.encoding, inputs, raw)
        raise
    return {name: torch.cat([each[name] for each in slices]) for name in model.layout.names}


def describe_outputs(model: TrainedModel, outputs: Outputs, threshold: float = THRESHOLD) -> dict[str, Any]:
    """Decode outputs into predictions.

    Args:
        model: The model.
        outputs: The model's outputs, [B, …] by name.
        threshold: Minimum probability for which a binary prediction is 1.

    Returns:
        `outputs`, nested lists [B, …], of several outputs by name; those that are compared with the targets
        are in their units. From the output of the loss, a classification adds `labels` [B],
        `classes` [k] and, if the loss implies them, `probabilities` [B, k] in the order of `classes`. Several
        targets of two labels, and targets of 0 and 1, add `labels` and `probabilities` of the shape of
        `outputs`; of outputs [B, k], `classes` holds the names of the targets. Probabilities of rows whose
        outputs don't imply any are NaN, with an entry in `warnings`.
    """
    decoded = {name: _decode(model, name, output) for name, output in outputs.items()}
    answer: dict[str, Any] = {"outputs": decoded}
    if model.layout.is_single:
        answer["outputs"] = decoded[model.roles.main.output]
    if quantiles := model.training.loss.arguments().get("quantiles"):
        answer["quantiles"] = quantiles
    return {**answer, **_classify(model, outputs, threshold)}


def _decode(model: TrainedModel, name: str, output: Tensor) -> list[Any]:
    """Return an output [B, …] as nested lists, in the units of the targets if it is compared with them."""
    values, roles = output.detach().float().cpu(), model.roles
    if name not in roles.compared or not roles.are_comparable(values, model.encoding):
        decoded = values
    elif name in roles.loss[1:]:
        decoded = variances_in_target_units(model.encoding, values)
    elif roles.main.task == "quantiles":  # [B, …, q]
        decoded = in_target_units(model.encoding, values.movedim(-1, 0)).movedim(0, -1)
    else:
        decoded = in_target_units(model.encoding, values)
    return list(decoded.tolist())


def _classify(model: TrainedModel, by_name: Outputs, threshold: float) -> dict[str, Any]:
    """Return `labels`, `classes` and `probabilities` of a classification; see `describe_outputs`."""
    encoding, outputs = model.encoding, by_name[model.roles.main.output]
    answer: dict[str, Any] = {}
    decided = decide_labels(model, outputs, threshold)
    if decided is None:
        return answer
    if model.classes is not None:
        answer["classes"] = list(model.classes)
        answer["labels"] = labels_of(model.classes, decided.tolist())
    else:
        if outputs.dim() == 2:
            answer["classes"] = list(target_names(encoding))
        answer["labels"] = column_labels(encoding, decided)
    if model.loss.probabilities is not None:
        rule = model.conventions.outputs
        probabilities, without = probabilities_or_nan(model.loss.probabilities, rule, outputs)
        if without:
            answer["warnings"] = [_without_probabilities(model, rule)]
        if encoding.is_binary:  # [B, 1] or [B], of the second class -> [B, 2]
            second = probabilities.flatten()
            probabilities = torch.stack([1 - second, second], dim=1)
        elif encoding.classes is not None:
            probabilities = of_classes(encoding, probabilities)
        answer["probabilities"] = probabilities.tolist()
    return answer


def _without_probabilities(model: TrainedModel, rule: OutputRule) -> dict[str, str]:
    detail = (
        f"Some rows have no probabilities, because their outputs are not {rule.needs}, as "
        f"`{model.training.loss.type}` needs."
    )
    return {"pointer": "#", "detail": detail}


def labels_of(classes: Sequence[Label], positions: list[Any]) -> list[Any]:
    """Replace positions of classes, in nested lists, by their labels; None for −1."""
    return [
        labels_of(classes, each) if isinstance(each, list) else (None if each < 0 else classes[each])
        for each in positions
    ]


def decide_labels(model: TrainedModel, outputs: Tensor, threshold: float = THRESHOLD) -> Tensor | None:
    """Decide the labels that outputs [B, …] stand for.

    Args:
        model: The model.
        outputs: The model's outputs, [B, …].
        threshold: Minimum probability for which a binary prediction is 1.

    Returns:
        Positions in `classes`, int64 [B], or [B, d1, …] of outputs [B, k, d1, …]; for several targets of two
        labels, and for targets of 0 and 1, int64 of the shape of `outputs`; None for a regression.
    """
    encoding, probabilities = model.encoding, model.loss.probabilities
    if model.classes is not None and not encoding.is_binary:
        return of_classes(encoding, outputs).argmax(dim=1)
    if probabilities is None:
        return None
    likely = (probabilities(outputs) >= threshold).long()
    return likely.flatten() if encoding.is_binary else likely


def of_classes(encoding: Encoding, outputs: Tensor) -> Tensor:
    """Select the outputs of classes, [B, outputs] -> [B, k].

    A model may have an output for the ignored label, and one of an earlier version more outputs than classes:
    these are never predicted.
    """
    chosen = encoding.outputs_by_class
    if encoding.classes is None or len(chosen) == outputs.shape[1]:
        return outputs
    return outputs[:, list(chosen)]


def column_labels(encoding: Encoding, numbers: Tensor) -> list[Any]:
    """Convert 0 and 1 of several targets [B, …] to the labels of their columns, nested lists.

    −1 becomes None: a missing target.
    """
    if not encoding.column_classes:
        return list(numbers.tolist())
    labels = [encoding.column_classes.get(name, (0, 1)) for name in encoding.targets]
    return [
        [None if value < 0 else pair[value] for pair, value in zip(labels, row, strict=True)]
        for row in numbers.tolist()
    ]


def as_csv(
    answer: Mapping[str, Any], encoding: Encoding, *, header: bool = True, keep_formulas: bool = False
) -> bytes:
    """Write predictions as CSV, with columns for ids, windows, targets or outputs, labels and probabilities.

    Of several outputs, one with a single value for each row has a column of its name; the values of another
    are numbered, `<name>_0`, `<name>_1`, … A column whose name an earlier one has is `<name>_2`, and so on.

    Args:
        answer: The predictions that `predict` yields.
        encoding: The model's encoding, which has the names.
        header: Whether to write the line of column names.
        keep_formulas: Whether text that spreadsheets would run as a formula stays as it is.
    """
    columns: list[_Column] = [*answer.get("windows", {}).items()]
    if isinstance(answer["outputs"], dict):
        columns += _output_columns(answer["outputs"])
        answer = {key: value for key, value in answer.items() if key != "outputs"}
    soft = encoding.classes is None and "classes" in answer and not isinstance(answer["labels"][0], list)
    if encoding.classes or soft:
        columns += _class_columns(answer)
    else:
        columns += _value_columns(answer, encoding)
    ids = {name: list(map(_label_cell, values)) for name, values in answer.get("ids", {}).items()}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    titles = _distinct([name for name, _ in columns])
    header_row = (*ids, *titles)  # an id may be named like another column
    rows: Iterator[Sequence[Any]] = zip(*ids.values(), *(values for _, values in columns), strict=True)
    for row in chain([header_row] if header else [], rows):
        writer.writerow(row if keep_formulas else map(without_formula, row))
    return text.getvalue().encode()


def _distinct(names: Sequence[str]) -> list[str]:
    """Number the names that an earlier column has: the second `y` is `y_2`."""
    taken: dict[str, None] = {}
    for name in names:
        numbered = chain([name], (f"{name}_{number}" for number in count(2)))
        taken[next(each for each in numbered if each not in taken)] = None
    return [*taken]


def _output_columns(outputs: Mapping[str, list[Any]]) -> list[_Column]:
    """Make the columns of several outputs."""
    columns: list[_Column] = []
    for name, nested in outputs.items():
        values = torch.tensor(nested, dtype=torch.float64)  # [B, …]
        flat = values.reshape(len(values), -1)
        for index in range(flat.shape[1]):
            title = name if flat.shape[1] == 1 else f"{name}_{index}"
            columns.append((title, _finite(flat[:, index].tolist())))
    return columns


def _class_columns(answer: Mapping[str, Any]) -> list[_Column]:
    """Make the columns `label` and, for each class, `probability_<class>`; positions have numbers at the end.

    A table with several positions in a row has `label_0`, `label_1`, …, `probability_<class>_0`, ….
    """
    labels = np.array(answer["labels"], dtype=object).reshape(len(answer["labels"]), -1)  # [B, positions]
    ends = [""] if labels.shape[1] == 1 else [f"_{position}" for position in range(labels.shape[1])]
    columns: list[_Column] = [
        (f"label{end}", list(map(_label_cell, column))) for end, column in zip(ends, labels.T, strict=True)
    ]
    if "probabilities" in answer:
        classes = answer["classes"]
        values = torch.tensor(answer["probabilities"], dtype=torch.float64)  # [B, k, …]
        by_class = values.reshape(len(values), len(classes), -1).permute(1, 2, 0)  # [k, positions, B]
        columns += [
            (f"probability_{label_key(label)}{end}", _finite(column.tolist()))
            for label, positions in zip(classes, by_class, strict=True)
            for end, column in zip(ends, positions, strict=True)
        ]
    return columns


def _value_columns(answer: Mapping[str, Any], encoding: Encoding) -> list[_Column]:
    """Make a column for each target, and `label_<name>` and `probability_<name>` for two labels."""
    columns: list[_Column] = []
    for prefix, key in (("", "outputs"), ("label_", "labels"), ("probability_", "probabilities")):
        if key not in answer:
            continue
        names = _value_names(answer, encoding)
        if key == "labels" and encoding.column_classes:
            for name, labels in zip(names, zip(*answer[key], strict=True), strict=True):
                columns.append((f"{prefix}{name}", list(map(_label_cell, labels))))
            continue
        dtype = torch.int64 if key == "labels" else torch.float64
        values = torch.tensor(answer[key], dtype=dtype).reshape(len(answer[key]), -1)
        columns += [
            (f"{prefix}{name}", _finite(values[:, index].tolist())) for index, name in enumerate(names)
        ]
    return columns


def _value_names(answer: Mapping[str, Any], encoding: Encoding) -> Sequence[str]:
    """Return the names of the values of a row: those of the targets, with their quantiles if there are any.

    A loss may have other outputs than targets; these are `output`, or `output_0`, `output_1`, ….
    """
    names: Sequence[str] = output_names(encoding)
    names = [f"{name}_q{quantile}" for name in names for quantile in answer.get("quantiles", ())] or names
    values = answer.get("outputs", answer.get("labels"))
    width = len(np.ravel(values[0]))
    if width == len(names):
        return names
    return ["output"] if width == 1 else [f"output_{index}" for index in range(width)]


def _label_cell(label: Any) -> Any:
    """Return a label or an id as a cell. A number stays one: a negative number is no formula."""
    return label_key(label) if isinstance(label, bool) else label


def _finite(values: Sequence[float]) -> list[float | None]:
    """Replace NaN and infinity by None, which is an empty cell in CSV and null in JSON."""
    return [value if math.isfinite(value) else None for value in values]

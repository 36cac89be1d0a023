"""Raw data to the model's tensors, by an encoding: the same way for training and for predictions."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from service.datasets.columns import NUMBER, TEXT, stray_texts
from service.datasets.dataset import Dataset, TabularDataset, TensorDataset
from service.datasets.encoding import Encoding
from service.datasets.json_reader import read_json
from service.datasets.mistakes import Mistakes, counted, shown
from service.datasets.transforms import apply
from service.errors import pointer_to
from service.specs.base import did_you_mean

NamePlace = Callable[[str], str]
"""The pointer of a column or an input in the request."""

LARGEST_WHOLE = 2**53  # what a double holds exactly

Body = Mapping[str, Any] | Dataset


class _Source(NamedTuple):
    """Data for predictions: `container` is the pointer of what holds its columns, rows or inputs."""

    dataset: Dataset
    container: str
    place: NamePlace


def encode_inputs(encoding: Encoding, body: Body, pointer: str = "#") -> tuple[torch.Tensor, ...]:
    """The model's inputs from the data of a prediction.

    Args:
        encoding: of the job that trained the model.
        body: a dataset, or JSON with `columns`, `rows` or `inputs`. Columns come in any order and others are
            ignored; `inputs` of a model trained on a table are raw feature rows [B, k].
        pointer: the place of `body` in the request.

    Returns:
        float32 or int64 [B, …], one for each of `encoding.input_names`.

    Raises:
        InvalidRequest: columns are missing or can't be read as numbers, or a shape doesn't fit.
    """
    dataset, container, place = _read(body, pointer)
    mistakes = Mistakes()
    if isinstance(dataset, TabularDataset):
        _check_names(encoding.features, dataset, container, mistakes)
    else:
        _check_shapes(encoding, dataset, container, mistakes)
    mistakes.check()
    inputs = inputs_of(encoding, dataset, place, mistakes)
    mistakes.check()
    return inputs


def encode_targets(encoding: Encoding, body: Body, pointer: str = "#") -> torch.Tensor:
    """The targets of labelled data, as `encode_inputs` reads its inputs.

    Returns:
        int64 [B] for classes, else float32 [B, k].

    Raises:
        InvalidRequest: targets are missing, can't be read as numbers, or are no class the model knows.
    """
    dataset, container, place = _read(body, pointer)
    mistakes = Mistakes()
    if isinstance(dataset, TabularDataset):
        _check_names(encoding.targets, dataset, container, mistakes)
    elif dataset.targets is None or encoding.features:
        mistakes.add(pointer, "Give `targets` beside `inputs`, or columns that hold them.")
    elif dataset.targets.shape[1:] != encoding.target_shape:
        found, wanted = list(dataset.targets.shape), _shape_text(encoding.target_shape)
        mistakes.add(place("targets"), f"The targets have shape {found}; the model's are {wanted}.")
    mistakes.check()
    targets = targets_of(encoding, dataset, place, mistakes)
    mistakes.check()
    return targets


def inputs_of(
    encoding: Encoding, dataset: Dataset, place: NamePlace, mistakes: Mistakes
) -> tuple[torch.Tensor, ...]:
    """float32 or int64 [B, …] of each input of a dataset whose names and shapes are known to fit."""
    if not encoding.features and isinstance(dataset, TensorDataset):
        return tuple(
            _tensor_input(
                torch.tensor(dataset.inputs[name]), name, encoding.dtype(name), place(name), mistakes
            )
            for name in encoding.input_names
        )
    if isinstance(dataset, TabularDataset):
        columns = numbers_of(encoding.features, dataset, place, mistakes)
    else:
        columns = {}
        for name, features in encoding.groups().items():
            rows = torch.tensor(dataset.inputs[name], dtype=torch.float64)
            columns |= dict(zip(features, rows.unbind(dim=1), strict=True))
    return tuple(
        _encode_columns(encoding, features, columns, dataset.rows, place, mistakes, encoding.dtype(name))
        for name, features in encoding.groups().items()
    )


def _tensor_input(
    values: torch.Tensor, name: str, dtype: torch.dtype, pointer: str, mistakes: Mistakes
) -> torch.Tensor:
    if dtype is torch.int64:
        _check_whole(values, f"`{name}`", pointer, mistakes)
    else:
        check_float32(values.float(), f"`{name}`", pointer, mistakes)
    return values.to(dtype)


def _check_whole(values: torch.Tensor, title: str, pointer: str, mistakes: Mistakes) -> None:
    """Note the first sample of [B, …] that is no whole number of 64 bits."""
    if values.is_floating_point():
        broken = (values != values.floor()) | (values.abs() >= LARGEST_WHOLE)
        if broken.any():
            row = int(broken.nonzero()[0, 0])
            mistakes.add(pointer, f"{title} is int64, and has a value in row {row} that is no whole number.")


def targets_of(encoding: Encoding, dataset: Dataset, place: NamePlace, mistakes: Mistakes) -> torch.Tensor:
    """int64 [B, …] class indices or float32 [B, k] of a dataset whose names and shapes are known to fit."""
    if isinstance(dataset, TensorDataset):
        targets = torch.tensor(dataset.targets)
        if encoding.classes is not None:
            return _class_indices_of_tensor(encoding, targets, place("targets"), mistakes)
        check_float32(targets.float(), "`targets`", place("targets"), mistakes)
        return targets.float()
    if encoding.classes is not None:
        (name,) = encoding.targets
        return _class_indices_of_column(encoding, dataset.table[name], place(name), mistakes)
    columns = numbers_of(encoding.targets, dataset, place, mistakes)
    return _encode_columns(encoding, encoding.targets, columns, dataset.rows, place, mistakes)


def numbers_of(
    names: Iterable[str], dataset: TabularDataset, place: NamePlace, mistakes: Mistakes
) -> dict[str, torch.Tensor]:
    """float64 [B] by name of the columns that are numbers or booleans (0 and 1) without gaps."""
    numbers = {}
    for name in names:
        column = dataset.table[name]
        if check_numbers(name, column, place(name), mistakes):
            numbers[name] = torch.tensor(column.cast(NUMBER).to_numpy())
    return numbers


def check_numbers(name: str, column: pa.ChunkedArray, pointer: str, mistakes: Mistakes) -> bool:
    """Whether a column is numbers or booleans without gaps; what it is instead is noted."""
    if column.type != TEXT:
        return check_complete(name, column, pointer, mistakes)
    if strays := stray_texts(column):
        row, text = strays[0]
        detail = (
            f"`{name}` is text because of {counted(len(strays), 'value')} that can't be read as a number, "
            f"the first {shown(text)} in row {row}."
        )
    else:
        examples = ", ".join(map(shown, column.drop_null().unique().slice(0, 3).to_pylist()))
        detail = (
            f"`{name}` is text ({examples}, …), and the model takes numbers: "
            f"send a column of 0 and 1 for each category instead."
        )
    mistakes.add(pointer, detail)
    return False


def check_complete(name: str, column: pa.ChunkedArray, pointer: str, mistakes: Mistakes) -> bool:
    """Whether a column has a value in every row; where it has none is noted."""
    if not column.null_count:
        return True
    first = int(np.flatnonzero(column.is_null().to_numpy())[0])
    detail = (
        f"`{name}` has {counted(column.null_count, 'missing value')}, the first in row {first}: "
        "leave these rows out, or fill the values in."
    )
    mistakes.add(pointer, detail)
    return False


def check_float32(values: torch.Tensor, title: str, pointer: str, mistakes: Mistakes) -> None:
    """Note the first sample of float32 [B, …] that the rounding to float32 made infinite."""
    finite = torch.isfinite(values)
    if not finite.all():
        row = int((~finite).nonzero()[0, 0])
        mistakes.add(pointer, f"{title} has a value in row {row} that is too large for float32 (3.4e38).")


def _encode_columns(
    encoding: Encoding,
    names: Sequence[str],
    columns: Mapping[str, torch.Tensor],
    rows: int,
    place: NamePlace,
    mistakes: Mistakes,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """[B, k] of float64 columns [B], transformed; columns that aren't there stay 0."""
    encoded = torch.zeros(rows, len(names), dtype=dtype)
    for position, name in enumerate(names):
        if name not in columns:
            continue
        values = apply(encoding.transforms, name, columns[name])
        if dtype is torch.int64:
            # Numbers that no transform changed are exact; transformed ones are float32.
            _check_whole(values, f"`{name}`", place(name), mistakes)
        encoded[:, position] = values
        if dtype is torch.float32:
            check_float32(encoded[:, position], f"`{name}`", place(name), mistakes)
    return encoded


def _class_indices_of_column(
    encoding: Encoding, column: pa.ChunkedArray, pointer: str, mistakes: Mistakes
) -> torch.Tensor:
    check_complete(encoding.targets[0], column, pointer, mistakes)
    index = {label: number for number, label in enumerate(encoding.classes or ())}
    labels = column.to_pylist()
    for label in {label for label in labels if label is not None and label not in index}:
        mistakes.add(pointer, _unknown_class(label, encoding))
    return torch.tensor([index.get(label, 0) for label in labels])


def _class_indices_of_tensor(
    encoding: Encoding, targets: torch.Tensor, pointer: str, mistakes: Mistakes
) -> torch.Tensor:
    classes = torch.tensor(encoding.classes, dtype=torch.int64)
    labels = targets.long()
    indices = torch.searchsorted(classes, labels).clamp(max=len(classes) - 1)
    for label in set(labels[classes[indices] != labels].tolist()):
        mistakes.add(pointer, _unknown_class(label, encoding))
    return indices


def _unknown_class(label: object, encoding: Encoding) -> str:
    known = ", ".join(map(shown, (encoding.classes or ())[:10]))
    return f"{shown(label)} is no class of the training data: they are {known}."


def _read(body: Body, pointer: str) -> _Source:
    if isinstance(body, TabularDataset | TensorDataset):
        return _Source(body, pointer, lambda name: pointer)
    dataset = read_json(body, pointer)
    if isinstance(dataset, TensorDataset):
        container, targets = pointer_to(pointer, "inputs"), pointer_to(pointer, "targets")
        return _Source(dataset, container, lambda name: targets if name == "targets" else container)
    if "rows" in body:
        container = pointer_to(pointer, "rows")
        return _Source(dataset, container, lambda name: container)
    container = pointer_to(pointer, "columns")
    return _Source(dataset, container, lambda name: pointer_to(container, name))


def _check_names(names: Sequence[str], dataset: TabularDataset, pointer: str, mistakes: Mistakes) -> None:
    present = dataset.table.column_names
    if not names:
        mistakes.add(pointer, "The model was trained on tensors: send `inputs`.")
    for name in names:
        if name not in present:
            mistakes.add(pointer, f"The column `{name}` is missing{did_you_mean(name, present) or '.'}")


def _check_shapes(encoding: Encoding, dataset: TensorDataset, pointer: str, mistakes: Mistakes) -> None:
    shapes = dict(zip(encoding.input_names, encoding.sample_shapes, strict=True))
    if dataset.inputs.keys() != shapes.keys():
        found, wanted = ", ".join(dataset.inputs), ", ".join(shapes)
        mistakes.add(pointer, f"The model's inputs are called {wanted}; these are called {found}.")
        return
    groups = encoding.groups() if encoding.features else {}
    for name, shape in shapes.items():
        found_shape = dataset.inputs[name].shape
        columns = f" ({', '.join(groups[name])})" if groups else ""
        if found_shape[1:] != shape:
            detail = f"`{name}` has shape {list(found_shape)}; the model takes {_shape_text(shape)}{columns}."
            mistakes.add(pointer, detail)


def _shape_text(sample_shape: tuple[int, ...]) -> str:
    return f"[{', '.join(['B', *map(str, sample_shape)])}]"

"""Fitting of an encoding on the training rows, and checks of features and targets."""

from collections.abc import Callable, Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import torch

from service.datasets.dataset import Dataset, TabularDataset, TensorDataset
from service.datasets.prepare.classes import check_classes, check_exact, fit_classes, label_columns
from service.datasets.prepare.declared_data import MISSING_TARGETS, DeclaredData, TargetType
from service.datasets.prepare.declared_tensors import check_class_tensor
from service.datasets.prepare.encoding import TARGETS, Encoding
from service.datasets.prepare.missing_values import dropping_columns
from service.datasets.prepare.raw_values import tensor_values, values_of
from service.datasets.rows import Rows, select_rows
from service.datasets.sources.cell_texts import GAPS
from service.datasets.sources.columns import DATETIME, INTEGER, TEXT
from service.datasets.sources.text_columns import TypeMismatches, find_type_mismatches
from service.datasets.sources.text_hints import PADDED, explain_texts, likely_gaps
from service.datasets.transforms import pipeline
from service.datasets.transforms.fitted import FittedTransform, Values
from service.datasets.transforms.registry import TRANSFORM_TYPES
from service.datasets.transforms.resolve import COPY_OF_TARGET, Step, converted_columns
from service.datasets.validation import ErrorCollector, count_of, json_text, quote_value
from service.specs.transforms import Transform
from service.specs.upload import ReadOptions

_SHOWN_ROWS = 5

NUMERIC_TYPES = ("numeric", "boolean")
"""Types of columns that hold numbers."""


def check_types(
    declared: DeclaredData,
    target_type: TargetType,
    transforms: Sequence[Transform],
    steps: Sequence[Step],
    errors: ErrorCollector,
) -> None:
    """Check that features become numbers, and that the targets have the type that the loss needs.

    Args:
        declared: The dataset and its declaration.
        target_type: Type of targets that the loss needs.
        transforms: The declared transforms. Those that a column cannot have are reported elsewhere.
        steps: Transforms of each column.
        errors: Receives the errors.
    """
    if declared.masks_targets and target_type == "classes":
        detail = (
            "This loss compares a row with one class, so that a row without a class has no part in it; drop "
            "such rows by `drop_rows`, and remove `missing_targets`."
        )
        errors.add(MISSING_TARGETS, detail)
    if isinstance(declared.dataset, TensorDataset):
        check_classes(declared, target_type, steps, errors)
        targets = declared.dataset.targets
        if targets is not None and target_type == "classes":
            check_class_tensor(targets, declared.pointers[TARGETS], errors)
        return
    # Columns of text or datetimes that a transform converts to numbers.
    converted = {step.column for step in steps if TRANSFORM_TYPES[step.transform.type].output}
    # Of a column that is a target too, a refused transform is the error already.
    converted |= converted_columns(transforms, declared.columns()).intersection(declared.targets)
    converted |= {*declared.ambiguous}
    for name in declared.features:
        if name not in converted:
            one_hot = f'{{"type": "one_hot", "columns": ["{name}"]}}'
            remedy = (
                f"the model needs numbers; add {one_hot} to `data.transforms` for a column of 0 and 1 per "
                "category, or use `ordinal` for the index of the category."
            )
            if name in declared.targets:
                remedy = (
                    f"the model needs numbers, but as a target `{name}` keeps its text; {COPY_OF_TARGET}."
                )
            _check_numbers(declared, name, remedy, _date_parts_remedy, errors)
        elif declared.dataset.table[name].type == INTEGER:
            check_exact(declared, name, errors)
    types = declared.types()
    if declared.weights is not None and types[declared.weights] not in NUMERIC_TYPES:
        detail = f"`{declared.weights}` is {types[declared.weights]}; weights must be numbers, 0 or more."
        errors.add(declared.pointers[declared.weights], detail)
    check_classes(declared, target_type, steps, errors)
    labels = label_columns(declared, target_type)
    window = declared.window
    if labels and target_type == "binary" and window and (window.horizon > 1 or len(declared.targets) > 1):
        detail = "Targets of several rows or columns of windows are numbers here: send 0 and 1, not labels."
        errors.add(declared.pointers[labels[0]], detail)
    for name in declared.targets:
        if name not in labels and name not in declared.features:
            _check_numbers(declared, name, _label_remedy(declared), _target_remedy, errors)


def _target_remedy(name: str, column: pa.ChunkedArray) -> str:
    """Advise what to send instead of a target column of datetimes."""
    return "the model predicts numbers; send numbers made of it, such as the days since a date."


def _date_parts_remedy(name: str, column: pa.ChunkedArray) -> str:
    """Advise the transform that makes numbers of a feature column of datetimes."""
    has_hours = pc.any(pc.not_equal(pc.floor_temporal(column, unit="day"), column)).as_py()
    parts = ["month", "day", "weekday", *(["hour"] if has_hours else [])]
    advised = {"type": "date_parts", "columns": [name], "parts": parts, "cyclic": True}
    return (
        f"the model needs numbers; add {json_text(advised)} to `data.transforms`, with the parts that "
        'matter, and `"since"` for the days elapsed since a date.'
    )


def _label_remedy(declared: DeclaredData) -> str:
    loss = "`CrossEntropyLoss`, with one output for each class"
    if len(declared.targets) > 1:
        loss = "`BCEWithLogitsLoss`, with one output for each column of two labels"
    return f"this loss needs numbers; for classes use {loss}."


def _check_numbers(
    declared: DeclaredData,
    name: str,
    text_remedy: str,
    datetime_remedy: Callable[[str, pa.ChunkedArray], str],
    errors: ErrorCollector,
) -> None:
    """Check that a column holds numbers or booleans.

    Args:
        declared: The table and its declaration.
        name: The column.
        text_remedy: End of the error of a text column.
        datetime_remedy: Returns the end of the error of a column of datetimes, from its name and values.
        errors: Receives the errors.
    """
    assert isinstance(declared.dataset, TabularDataset)
    pointer = declared.pointers[name]
    column = declared.dataset.table[name]
    if column.type == DATETIME:
        errors.add(pointer, f"`{name}` is a datetime, and {datetime_remedy(name, column)}")
    elif column.type == TEXT:
        errors.add(pointer, f"`{name}` is text {explain_text(name, column, declared.options, text_remedy)}")


def explain_text(name: str, column: pa.ChunkedArray, options: ReadOptions, text_remedy: str) -> str:
    """Say why a column is text although the model needs numbers, and what to do; the end of a sentence.

    Args:
        name: Name of the column.
        column: large_string, [rows].
        options: The options by which it was read.
        text_remedy: What to do with a column of real text.
    """
    examples = ", ".join(map(quote_value, column.drop_null().unique().slice(0, 3).to_pylist()))
    hint = explain_texts(column, options, column)
    if hint is None and (mismatches := find_type_mismatches(column, column, options)):
        return _explain_mismatches(column, mismatches, options)
    if hint is None or not hint.type_name:
        return f"({examples}, …), and {text_remedy}"
    types = f'"types": {{"{name}": "{hint.type_name}"}}'
    fields = types if not hint.fields else f'"reading": {{{hint.fields}}}, {types}'
    if hint.looks == PADDED:
        return (
            f"({examples}, …): {hint.looks}. For codes, {text_remedy} For numbers, add `{fields}` to `data`."
        )
    return f"({examples}, …) and looks like {hint.looks}; add `{fields}` to `data` to read it so."


def _explain_mismatches(column: pa.ChunkedArray, mismatches: TypeMismatches, options: ReadOptions) -> str:
    """Describe the cells that keep a column from being numbers, booleans or times, with a remedy."""
    found = column.take(pa.array(mismatches.rows))
    rows = mismatches.rows[:_SHOWN_ROWS].tolist()
    shown = ", ".join(f"{quote_value(found[i].as_py())} in row {row}" for i, row in enumerate(rows))
    more = ", …" if len(found) > len(rows) else ""
    remedy = "correct them or leave them out"
    if words := likely_gaps(found):
        missing = json_text([*options.missing, *words])
        remedy += f'; if they mean missing values, add `"reading": {{"missing": {missing}}}` to `data`'
    count = f"{count_of(len(found), 'value')} of {len(column)}"
    return f"because {count} can't be read as a {mismatches.noun} ({shown}{more}); {remedy}."


def fit_encoding(
    declared: DeclaredData,
    target_type: TargetType,
    steps: Sequence[Step],
    rows: Sequence[tuple[Dataset, Rows]],
    train: torch.Tensor,
    ignored: int | None,
    errors: ErrorCollector,
) -> Encoding:
    """Fit the transforms on the training rows, and find the classes.

    Args:
        declared: A dataset and its declaration, without errors of `check_types` and the other checks.
        target_type: Type of targets that the loss needs.
        steps: Transforms of each column, from `resolve`.
        rows: Rows of all splits, whose labels are the classes; see `fit_classes`.
        train: Training rows, int64 [n].
        ignored: The label that the loss ignores; None for a loss that ignores none.
        errors: Receives an error for each transform that cannot be fitted.
    """
    transforms = pipeline.fit(steps, lambda column: _column_values(declared, column, train), errors)
    encoding = Encoding(
        input_names=tuple(declared.groups),
        sample_shapes=_sample_shapes(declared, transforms),
        target_shape=_target_shape(declared, target_type),
        groups={name: columns for name, columns in declared.groups.items() if columns},
        targets=declared.targets,
        types=declared.read_types() | declared.id_types(),  # type: ignore[arg-type]
        transforms=tuple(transforms),
        dtypes=declared.dtypes,
        reading=declared.options,
        words=words_in(declared, [dataset for dataset, _ in rows]),
        window=declared.window,
        weights=declared.weights,
        id=declared.id,
        masks_targets=declared.masks_targets,
        dropping=tuple(dropping_columns(steps)),
    )
    return fit_classes(encoding, declared, target_type, rows, ignored, errors)


def words_in(declared: DeclaredData, datasets: Iterable[Dataset]) -> dict[str, list[str]]:
    """Find the words for a missing value that are texts in datasets, by column."""
    words = pa.array([*GAPS, *declared.options.missing], TEXT)
    names = {*declared.read_types(), *declared.id_types()}
    found: dict[str, set[str]] = {}
    for dataset in datasets:
        for name in names.intersection(
            dataset.table.column_names if isinstance(dataset, TabularDataset) else ()
        ):
            column = dataset.table[name]  # type: ignore[union-attr]
            if column.type == TEXT:
                texts = column.filter(pc.is_in(column, words)).unique().to_pylist()
                found.setdefault(name, set()).update(text for text in texts if text is not None)
    return {name: sorted(texts) for name, texts in found.items() if texts}


def check_targets_differ(
    declared: DeclaredData,
    encoding: Encoding,
    target_type: TargetType,
    targets: torch.Tensor,
    errors: ErrorCollector,
) -> None:
    """Check that numeric targets of a binary loss are not all equal.

    Args:
        declared: The dataset and its declaration.
        encoding: The fitted encoding.
        target_type: Type of targets that the loss needs; only `binary` is checked.
        targets: Encoded targets of all rows, float32 [B, …]; NaN for missing ones.
        errors: Receives the error.
    """
    if target_type == "binary" and not encoding.is_binary and (targets == targets[0]).all():
        value = ", ".join(f"{each:g}" for each in targets[0].flatten()[:10].tolist())
        errors.add(
            declared.target_pointer,
            f"All targets are {value}; training needs at least two different targets.",
        )


def _column_values(declared: DeclaredData, name: str, rows: torch.Tensor) -> Values:
    """Return the values of a column or a tensor in some rows."""
    if isinstance(declared.dataset, TabularDataset):
        return values_of(select_rows(declared.dataset.table[name], rows))
    return tensor_values(declared.dataset, name, rows).double()


def _sample_shapes(
    declared: DeclaredData, transforms: Sequence[FittedTransform]
) -> tuple[tuple[int, ...], ...]:
    if isinstance(declared.dataset, TensorDataset):
        return tuple(tuple(declared.dataset.inputs[name].shape[1:]) for name in declared.groups)
    fitted = pipeline.by_column(transforms)
    widths = {  # a column becomes several by `one_hot` or an indicator of missing values
        name: len(pipeline.titles(name, fitted.get(name, []))) for name in declared.features
    }
    return tuple((sum(widths[column] for column in columns),) for columns in declared.groups.values())


def _target_shape(declared: DeclaredData, target_type: TargetType) -> tuple[int, ...]:
    if isinstance(declared.dataset, TensorDataset):
        assert declared.dataset.targets is not None
        return tuple(declared.dataset.targets.shape[1:])
    return () if target_type == "classes" else (len(declared.targets),)

"""Differences between the encoding of a job and that of the job whose parameters it starts with.

A parameter belongs to a column of an input. Where another column, category or scale takes its place, the
model starts with parameters that were trained for something else, although all shapes fit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from service.datasets.prepare.classes import quote_labels
from service.datasets.prepare.encoding import TARGETS, Encoding
from service.datasets.transforms import pipeline
from service.datasets.transforms.categories import ACCEPTING_UNKNOWN, FittedCategories
from service.datasets.transforms.fitted import FittedTransform
from service.datasets.validation import count_of
from service.errors import FieldError
from service.jobs.parent import FROM_JOB

_MAX_COLUMNS = 5  # columns in one message


def column_differences(now: Encoding, then: Encoding) -> list[FieldError]:
    """Find inputs and targets that are made of other columns, categories or lags.

    These may change the shapes of the model.

    Args:
        now: The encoding of the new job.
        then: The encoding of the job that it starts from.
    """
    found = [*_names(now, then), *_categories(now, then)]
    if now.window is not None and then.window is not None and now.window.lags != then.window.lags:
        found.append(f"A window has {now.window.lags} lags here, and {then.window.lags} in that job.")
    return [FieldError(FROM_JOB, detail) for detail in found]


def constant_differences(now: Encoding, then: Encoding) -> list[FieldError]:
    """Find columns that are transformed otherwise; arguments as in `column_differences`."""
    changed = {}
    for column in _common(now, then):
        here, there = now.transforms_of(column), then.transforms_of(column)
        ours, theirs = [*map(_text, here)], [*map(_text, there)]
        if ours != theirs:
            changed[column] = (
                f"`{column}` by {_shown(ours, theirs)} here, and by {_shown(theirs, ours)} there"
            )
    if not changed:
        return []
    more = f"; and {len(changed) - _MAX_COLUMNS} more" if len(changed) > _MAX_COLUMNS else ""
    listed = "; ".join([*changed.values()][:_MAX_COLUMNS]) + more
    detail = (
        f"That job transforms other values to the same numbers: {listed}. The model starts with parameters "
        "that were trained for the transforms of that job."
    )
    return [FieldError(FROM_JOB, detail)]


def _names(now: Encoding, then: Encoding) -> Iterator[str]:
    """Describe inputs, then targets, whose columns have other names or another order."""
    inputs = [
        ("feature", now.groups[here], then.groups[there])
        for here, there in zip(now.groups, then.groups, strict=False)
    ]
    for noun, here, there in [*inputs, ("target", now.targets, then.targets)]:
        if here == there or not (here and there):
            continue
        if sorted(here) == sorted(there):
            yield (
                f"The {noun}s are in another order than in that job: {_listed(here)} here, and "
                f"{_listed(there)} there. List them in its order, so that the parameters belong to them."
            )
            continue
        position = next(
            (n for n, (ours, theirs) in enumerate(zip(here, there, strict=False)) if ours != theirs),
            min(len(here), len(there)),
        )
        ours, theirs = (f"`{each[position]}`" if position < len(each) else "none" for each in (here, there))
        yield (
            f"The {noun}s are others than in that job: the one at position {position} is {ours} here, and "
            f"{theirs} there."
        )


def _categories(now: Encoding, then: Encoding) -> Iterator[str]:
    """Describe columns whose categories have other indices, or that become more or fewer columns."""
    for column in _common(now, then):
        here, there = (_category_transform(each, column) for each in (now, then))
        if here is not None and there is not None and here.type == there.type:
            if here.categories != there.categories:
                yield _other_categories(column, here, there)
            continue
        widths = [len(pipeline.titles(column, each.transforms_of(column))) for each in (now, then)]
        if widths[0] != widths[1]:
            yield f"`{column}` becomes {count_of(widths[0], 'column')} here, and {widths[1]} in that job."


def _category_transform(encoding: Encoding, column: str) -> FittedCategories | None:
    return next((each for each in encoding.transforms_of(column) if isinstance(each, FittedCategories)), None)


def _other_categories(column: str, here: FittedCategories, there: FittedCategories) -> str:
    added = [each for each in here.categories if each not in there.categories]
    gone = [each for each in there.categories if each not in here.categories]
    changes = [
        f"{quote_labels(labels)} {'is' if len(labels) == 1 else 'are'} {word}"
        for labels, word in ((added, "new"), (gone, "gone"))
        if labels
    ]
    changed = " and ".join(changes) or "they are in another order"
    remedy = f"set `categories` to those of that job, {quote_labels(there.categories)}"
    if added:
        remedy += f', and `unknown` to "{ACCEPTING_UNKNOWN[here.type]}" for the new ones'
    return (
        f"`{column}` has other categories in its `{here.type}` than in that job: {changed}. So that the "
        f"parameters belong to the same categories, {remedy}."
    )


def _common(now: Encoding, then: Encoding) -> list[str]:
    """Return the columns, or the tensors, that both jobs have."""
    return [name for name in _columns(now) if name in set(_columns(then))]


def _columns(encoding: Encoding) -> list[str]:
    own = [*encoding.features, *encoding.targets] if encoding.groups else [*encoding.input_names, TARGETS]
    return list(dict.fromkeys(own))


def _shown(texts: Sequence[str], others: Sequence[str]) -> str:
    """List the transforms of a column that are not among those of the other job."""
    return ", ".join(each for each in texts if each not in others) or "no other transform"


def _text(transform: FittedTransform) -> str:
    """Write a transform with its constants except categories; equal to 6 digits is equal."""
    constants = {
        name: value for name, value in asdict(transform).items() if name not in ("column", "categories")
    }
    listed = ", ".join(f"{name} {_value(value)}" for name, value in constants.items())
    return f"`{transform.type}`" + (f" ({listed})" if listed else "")


def _value(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _listed(names: Sequence[str]) -> str:
    more = ", …" if len(names) > _MAX_COLUMNS else ""
    return ", ".join(f"`{name}`" for name in names[:_MAX_COLUMNS]) + more

"""What the inputs of a job mean, compared with those of the job that it starts from."""

from typing import Any

import pytest

from service.datasets.prepare.encoding import Encoding
from service.preflight.encoding_differences import column_differences, constant_differences
from tests.support.encoded import encoding_of

ONE_HOT = {"type": "one_hot", "columns": ["k"]}
STANDARDIZE = {"type": "standardize", "columns": ["x"]}


def section(
    k: tuple[str, ...] = ("a", "b", "c"),
    x: tuple[float, ...] = (1, 2, 3),
    transforms: Any = (ONE_HOT, STANDARDIZE),
    **more: Any,
) -> Encoding:
    """The encoding of a column of categories, one of numbers and a target."""
    columns = {"k": [*k], "x": [*x], "z": [2, 1, 3], "y": [0, 1, 2]}
    names = {"features": ["k", "x"], "targets": ["y"], **more}
    return encoding_of({"columns": columns, **names, "transforms": [*transforms]})


def details(now: Encoding, then: Encoding) -> tuple[list[str], list[str]]:
    """Details of the differences of columns, and of constants."""
    found = (column_differences(now, then), constant_differences(now, then))
    columns, constants = ([each.detail for each in differences] for differences in found)
    return columns, constants


def test_equal_encodings_have_no_differences() -> None:
    """The same data and transforms give no warning, also after the encoding was stored."""
    assert details(section(), Encoding.from_document(section().to_document())) == ([], [])


@pytest.mark.parametrize("kind", ["one_hot", "ordinal"])
@pytest.mark.parametrize(
    ("k", "changes"),
    [
        (("a", "b", "d"), '"d" is new and "c" is gone'),
        (("a", "d", "e"), '"d", "e" are new and "b", "c" are gone'),
        (("a", "b", "b"), '"c" is gone'),
    ],
)
def test_categories_that_are_new_or_gone_are_named(kind: str, k: tuple[str, ...], changes: str) -> None:
    """Other categories are named, with the declaration that keeps the old ones."""
    transforms = [{"type": kind, "columns": ["k"]}, STANDARDIZE]
    ((detail,), constants) = details(section(k, transforms=transforms), section(transforms=transforms))
    assert f"`{kind}` than in that job: {changes}" in detail
    assert '`categories` to those of that job, "a", "b", "c"' in detail
    assert ("`unknown`" in detail) == ("new" in changes)
    assert constants == []


def test_categories_in_another_order_are_named() -> None:
    """The same categories in another order have other columns."""
    ordered = {**ONE_HOT, "categories": ["c", "b", "a"]}
    ((detail,), _) = details(section(transforms=[ordered, STANDARDIZE]), section())
    assert "they are in another order" in detail


def test_other_constants_and_transforms_are_named() -> None:
    """Other constants of a transform are named with both values, and so is a missing transform."""
    (columns, (detail,)) = details(section(x=(1, 2, 6)), section())
    assert columns == []
    assert "`x` by `standardize` (mean 3, std 2.1602" in detail
    assert "here, and by `standardize` (mean 2, std 0.816497) there" in detail
    (_, (detail,)) = details(section(transforms=[ONE_HOT]), section())
    assert "`x` by no other transform here, and by `standardize` (mean 2, std 0.816497) there" in detail


def test_transforms_of_targets_are_compared() -> None:
    """A target on another scale makes outputs mean something else."""
    scale = {"type": "scale", "columns": ["y"], "factor": 2}
    (_, (detail,)) = details(section(transforms=[ONE_HOT, STANDARDIZE, scale]), section())
    assert "`y` by `scale` (factor 2) here" in detail


def test_another_order_of_features_is_named() -> None:
    """Features, and targets, in another order are named in both orders."""
    ((detail,), _) = details(section(features=["x", "k"]), section())
    assert "`x`, `k` here, and `k`, `x` there" in detail
    swapped, kept = section(targets=["y", "z"]), section(targets=["z", "y"])
    ((detail,), _) = details(swapped, kept)
    assert "The targets are in another order" in detail


def test_other_features_are_named_by_their_position() -> None:
    """A feature of another name, and one that is added, are named."""
    ((detail,), _) = details(section(features=["k", "z"], transforms=[ONE_HOT]), section())
    assert "the one at position 1 is `z` here, and `x` there" in detail
    ((detail,), _) = details(section(features=["k", "x", "z"]), section())
    assert "the one at position 2 is `z` here, and none there" in detail


def test_a_column_that_becomes_more_columns_is_named() -> None:
    """The number of columns of a hash differs by its buckets."""
    few, many = (
        section(transforms=[{"type": "hash", "columns": ["k"], "buckets": n, "output": "columns"}])
        for n in (4, 8)
    )
    (columns, _) = details(many, few)
    assert columns == ["`k` becomes 8 columns here, and 4 in that job."]


def test_transforms_of_tensors_are_compared() -> None:
    """Tensors are compared by the name of their input, and by `targets`."""
    now, then = (
        encoding_of(
            {
                "inputs": [[1.0], [2.0]],
                "targets": [[1.0], [top]],
                "transforms": [{"type": "minmax", "columns": ["targets"]}],
            }
        )
        for top in (2.0, 3.0)
    )
    (columns, (detail,)) = details(now, then)
    assert columns == []
    assert "`targets` by `minmax` (min 1, max 2) here, and by `minmax` (min 1, max 3) there" in detail

"""The split: the division of rows into train, validation and test."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator
from typing_extensions import TypeAliasType

from service.specs.base import (
    DatasetId,
    Integer,
    Spec,
    at_least_one,
    at_most_one,
    implies,
    one_error,
    published,
    rules,
)
from service.specs.transforms import ColumnName

Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[Integer, Field(ge=0)]


def _amount_tag(value: Any) -> str:
    # A tag, so that a value out of range is reported once, not for both alternatives.
    return "fraction" if isinstance(value, float) else "count"


def _whole_as_integer(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Amount = TypeAliasType(
    "Amount",
    Annotated[
        Annotated[Fraction, Tag("fraction")] | Annotated[Count, Tag("count")],
        Discriminator(_amount_tag),
        BeforeValidator(_whole_as_integer),
        Field(description="Rows: a fraction of all, between 0 and 1, or their number, a whole number."),
    ],
)


def _is_whole(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and value == value // 1 < 2**63


RowNumbers = Annotated[
    list[Integer],
    one_error(_is_whole, "row numbers"),
    published(uniqueItems=True, items={"type": "integer", "minimum": 0, "exclusiveMaximum": 2**63}),
]
SplitName = Literal["train", "validation", "test"]

SPLIT_NAMES: tuple[SplitName, ...] = ("train", "validation", "test")
_HELD_OUT = ("validation", "test")
_RULES = ("stratify", "group", "time", "column")
_ROW_NUMBERS = ("validation_rows", "test_rows")


class Split(Spec):
    """Division of the rows into train, validation and test.

    By default the n rows are permuted by
    `torch.randperm(n, generator=torch.Generator().manual_seed(seed))`. The last `int(fraction · n)` rows are
    the validation rows, those before them the test rows, the others the training rows. At most one of
    `stratify`, `group`, `time` and `column` can be set; the first three need `validation`, `test` or both.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(
            *(at_most_one(split, f"{split}_rows", f"{split}_dataset_id") for split in _HELD_OUT),
            at_most_one(*_RULES),
            *(at_most_one(rule, rows) for rule in _RULES for rows in _ROW_NUMBERS),
            *(at_most_one("column", name) for split in _HELD_OUT for name in (split, f"{split}_dataset_id")),
            implies(at_least_one("stratify", "group", "time"), at_least_one(*_HELD_OUT)),
        )
    )

    validation: Amount | None = None
    """Validation rows: a fraction of all rows if between 0 and 1 (`0.2`), otherwise their number. Null: no
    validation."""
    test: Amount | None = None
    """Test rows, evaluated once after the training: a fraction or a number of rows, as in `validation`. Null:
    no test."""
    validation_rows: RowNumbers | None = None
    """Row numbers of the validation rows, from 0, instead of `validation`."""
    test_rows: RowNumbers | None = None
    """Row numbers of the test rows, from 0, instead of `test`."""
    validation_dataset_id: DatasetId | None = None
    """Id of a dataset whose rows are the validation rows, instead of `validation`."""
    test_dataset_id: DatasetId | None = None
    """Id of a dataset whose rows are the test rows, instead of `test`."""
    stratify: ColumnName | None = None
    """Name of a column whose values get the same proportions in train, validation and test: the rows of each
    value are divided separately, in permuted order."""
    group: ColumnName | None = None
    """Name of a column whose equal values stay in the same split: groups are assigned as a whole, in permuted
    order, each if it still fits into the size of `validation` or `test`."""
    time: ColumnName | None = None
    """Name of a column by which the rows are sorted instead of permuted: the latest rows are the test rows,
    those before them the validation rows."""
    column: ColumnName | None = None
    """Name of a column with the split of each row: `train`, `validation` or `test`."""
    shuffle: bool = True
    """If true, the rows are permuted; otherwise they keep their order, and the last ones are the validation
    rows."""
    seed: Annotated[Integer, Field(ge=0)] = 0
    """Seed of the permutation, independent of the seed of the training."""

    @model_validator(mode="after")
    def _one_rule(self) -> "Split":
        for split in _HELD_OUT:
            sources = [name for name in (split, f"{split}_rows", f"{split}_dataset_id") if self._is_set(name)]
            if len(sources) > 1:
                raise ValueError(f"Give `{sources[0]}` or `{sources[1]}`, not both.")
            if self.column is not None and sources:
                raise ValueError(f"`column` already assigns every row; remove `{sources[0]}`.")
        rules = [name for name in _RULES if self._is_set(name)]
        if len(rules) > 1:
            raise ValueError(f"Give `{rules[0]}` or `{rules[1]}`, not both.")
        row_numbers = next((name for name in _ROW_NUMBERS if self._is_set(name)), None)
        if rules and row_numbers:
            raise ValueError(f"Give `{rules[0]}` or `{row_numbers}`, not both.")
        if rules and self.column is None and not any(map(self._is_set, _HELD_OUT)):
            raise ValueError(f"`{rules[0]}` needs the sizes to divide by; give `validation`, `test` or both.")
        return self

    def _is_set(self, name: str) -> bool:
        return getattr(self, name) is not None

    def rule(self) -> tuple[str, str] | None:
        """Return the rule of the split: `stratify`, `group`, `time` or `column`, and the name of its column.

        Returns:
            The rule and the column; None for the default permutation.
        """
        return next(((rule, getattr(self, rule)) for rule in _RULES if self._is_set(rule)), None)

    def is_undecided(self) -> bool:
        """Return whether sizes are given, but neither a rule, nor rows, nor whether to shuffle them."""
        sized = any(map(self._is_set, _HELD_OUT))
        listed = any(self._is_set(f"{split}_rows") for split in _HELD_OUT)
        return sized and not listed and self.rule() is None and "shuffle" not in self.model_fields_set

    def is_random(self) -> bool:
        """Return whether validation or test rows are drawn at random from all rows."""
        return self.rule() is None and self.shuffle and any(getattr(self, name) for name in _HELD_OUT)

    def dataset_ids(self) -> dict[SplitName, str]:
        """Return the ids of the datasets whose rows are the validation or test rows, by split."""
        ids: dict[SplitName, str | None] = {
            "validation": self.validation_dataset_id,
            "test": self.test_dataset_id,
        }
        return {split: dataset_id for split, dataset_id in ids.items() if dataset_id is not None}

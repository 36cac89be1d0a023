"""How a client says which rows train, which validate and which test."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from service.specs.base import Spec
from service.specs.transforms import ColumnName

Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=0)]


def _amount_form(value: Any) -> str:
    return "fraction" if isinstance(value, float) else "count"


Amount = Annotated[
    Annotated[Fraction, Tag("fraction")] | Annotated[Count, Tag("count")], Discriminator(_amount_form)
]
"""A fraction of the rows or a count: told apart by the JSON type, so that one error is told once."""
Side = Literal["train", "validation", "test"]

SIDES: tuple[Side, ...] = ("train", "validation", "test")
_HELD_OUT = ("validation", "test")
_RULES = ("stratify", "group", "time", "column")


class Split(Spec):
    """Which rows train, validate and test.

    `perm = torch.randperm(n, generator=torch.Generator().manual_seed(seed))`; the last
    `int(fraction · n)` rows of it validate, those before them test, the others train.
    """

    validation: Amount | None = None
    """Validation rows, as a fraction of all or a count."""
    test: Amount | None = None
    """Test rows, as a fraction of all or a count."""
    validation_rows: list[int] | None = None
    """Validation rows by number, from 0, instead of `validation`."""
    test_rows: list[int] | None = None
    """Test rows by number, from 0, instead of `test`."""
    validation_dataset_id: str | None = None
    """Instead of `validation`: all rows of another dataset validate."""
    test_dataset_id: str | None = None
    """Instead of `test`: all rows of another dataset test."""
    stratify: ColumnName | None = None
    """A column whose values have the same shares on all sides: each value's rows are divided by
    themselves, in the permuted order."""
    group: ColumnName | None = None
    """A column whose equal values stay on one side: whole groups are taken, in permuted order, while they
    fit into the side's size."""
    time: ColumnName | None = None
    """A column to sort by instead of the permutation: the latest rows test, those before them validate."""
    column: ColumnName | None = None
    """A column that says it for each row: `train`, `validation` or `test`."""
    shuffle: bool = True
    """`false` keeps the rows' order: the last ones validate."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the permutation."""

    @model_validator(mode="after")
    def _one_rule(self) -> "Split":
        for side in _HELD_OUT:
            ways = [name for name in (side, f"{side}_rows", f"{side}_dataset_id") if self._gives(name)]
            if len(ways) > 1:
                raise ValueError(f"Give `{ways[0]}` or `{ways[1]}`, not both.")
            if self.column is not None and ways:
                raise ValueError(f"`column` says which rows are which: leave `{ways[0]}` out.")
        rules = [name for name in _RULES if self._gives(name)]
        if len(rules) > 1:
            raise ValueError(f"Give `{rules[0]}` or `{rules[1]}`, not both.")
        by_name = next((name for name in ("validation_rows", "test_rows") if self._gives(name)), None)
        if rules and by_name:
            raise ValueError(f"Give `{rules[0]}` or `{by_name}`, not both.")
        if rules and self.column is None and not any(map(self._gives, _HELD_OUT)):
            raise ValueError(f"`{rules[0]}` divides the rows by a size: give `validation`, `test` or both.")
        return self

    def _gives(self, name: str) -> bool:
        return getattr(self, name) is not None

    def rule(self) -> tuple[str, str] | None:
        """`stratify`, `group`, `time` or `column`, and the column it names; None without any."""
        return next(((rule, getattr(self, rule)) for rule in _RULES if self._gives(rule)), None)

    def dataset_ids(self) -> dict[Side, str]:
        """The other datasets by the side that they are."""
        given = {"validation": self.validation_dataset_id, "test": self.test_dataset_id}
        return {side: given[side] for side in SIDES if given.get(side) is not None}  # type: ignore[misc]

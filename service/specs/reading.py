"""How the cells of a table are read: column types, and formats of numbers, dates and missing values."""

import re
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from service.specs.base import Spec, one_error
from service.specs.transforms import ColumnName

ColumnType = Literal["numeric", "boolean", "categorical", "datetime"]
ColumnTypes = Annotated[
    dict[ColumnName, ColumnType], one_error(lambda value: value in get_args(ColumnType), "column types")
]

# Each is compared with every cell.
MAX_UNITS = 100
MAX_DATE_FORMATS = 100
MAX_MISSING_WORDS = 1_000
_DIRECTIVES = set("YymdHIMSpbBj%")
_DATE_DIRECTIVES = "a year (%Y or %y), a month (%m, %b or %B) and a day (%d)"
_YEAR, _MONTH, _DAY = {"%Y", "%y"}, {"%m", "%b", "%B"}, {"%d"}


def _check_date_format(pattern: str) -> str:
    found = set(re.findall("%.?", pattern))
    if unknown := {directive for directive in found if directive[1:] not in _DIRECTIVES}:
        raise ValueError(
            f"`{sorted(unknown)[0]}` is not supported; use %Y %y %m %d %b %B %j %H %I %p %M %S, as in "
            "`%d.%m.%Y %H:%M`."
        )
    has_date = bool(found & _YEAR) and ("%j" in found or (bool(found & _MONTH) and (bool(found & _DAY))))
    if not has_date:
        raise ValueError(f"A date format needs {_DATE_DIRECTIVES}, as in `%d.%m.%Y`.")
    return pattern


DateFormat = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_check_date_format)]


def _check_unit(unit: str) -> str:
    if re.search(r"[\d+\-−.,'_]|^\s|\s$", unit) or unit in ("e", "E", "%"):
        raise ValueError(
            f"`{unit}` may be a part of a number; a unit has no digits, signs and separators (for `%` use "
            "`percent`)."
        )
    return unit


Unit = Annotated[str, Field(min_length=1, max_length=32), AfterValidator(_check_unit)]


# Published as a pattern: generators can't name an enum's value that is a space.
Thousands = Annotated[
    Literal[",", ".", " ", "'", "_"], WithJsonSchema({"type": "string", "pattern": "^[,. '_]$"})
]


class CellOptions(Spec):
    """Formats of the cells of a table. A model keeps those of its training data."""

    decimal: Literal[".", ","] = "."
    """Decimal sign of numbers."""
    thousands: Thousands | None = None
    """Character between groups of three digits of numbers. A space also stands for the other spaces of
    Unicode."""
    percent: bool = False
    """If true, numbers may end with a per cent sign: `3%` is 0.03."""
    units: Annotated[list[Unit], Field(max_length=MAX_UNITS)] = []
    """Texts before or after a number to ignore, such as `$`, `€` or `kg`."""
    dates: Annotated[list[DateFormat], Field(max_length=MAX_DATE_FORMATS)] = []
    """Formats of dates and times besides ISO 8601, with the directives of C's strptime, such as `%d.%m.%Y` or
    `%m/%d/%Y %H:%M`; the first that fits a cell is used."""
    missing: Annotated[list[str], Field(max_length=MAX_MISSING_WORDS)] = []
    """Further cells that mean a missing value, besides empty cells and words such as `NA` or `null`. A number
    is compared by its value."""
    types: ColumnTypes = {}
    """Types of columns by column name, overriding the inferred types."""

    @model_validator(mode="after")
    def _check_signs(self) -> "CellOptions":
        if self.decimal == self.thousands:
            raise ValueError(f"`decimal` and `thousands` are both `{self.decimal}`; they must differ.")
        return self

    @property
    def reads_plain_numbers(self) -> bool:
        """True if numbers have no other form than that of JSON, with an optional plus sign."""
        return self.decimal == "." and self.thousands is None and not self.percent and not self.units

    @property
    def reads_texts_as_numbers(self) -> bool:
        """True if something is declared about numbers, so that also strings of JSON are read as numbers."""
        return not self.reads_plain_numbers or bool(self.missing)

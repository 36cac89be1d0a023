"""Base class of response models, and types that several of them have."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, WithJsonSchema

from service.runtime.docstrings import docstring
from service.specs.base import published
from service.specs.content import CELLS, NESTED_NUMBERS
from service.specs.transforms import LABEL

Nested = Annotated[list[Any], WithJsonSchema(NESTED_NUMBERS)]
"""Nested list of numbers; values that are not finite are null."""
Cells = Annotated[list[Any], WithJsonSchema(CELLS)]
"""Values of a column."""
Labels = Annotated[list[Any], WithJsonSchema({"type": "array", "items": LABEL})]
"""Class labels, as they appear in the data."""
Shape = Annotated[list[int | None], WithJsonSchema({"type": "array", "items": {"type": ["integer", "null"]}})]
"""Size of each dimension; the first one, null, is the batch dimension."""
Timestamp = Annotated[str, published(format="date-time")]
"""Time by RFC 3339, in UTC with microseconds."""
DeviceName = Annotated[str, published(pattern=r"^(cpu|cuda(:\d+)?)$")]
"""`cpu` or `cuda:N`."""


class Resource(BaseModel):
    """Response body; closed, so that undocumented fields fail the tests."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        # The OpenAPI document shows the docstring, which `python -OO` strips.
        cls.__doc__ = docstring(cls) or None

"""Base class of response models."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from service.runtime.docstrings import docstring

Nested = list[Any]
"""Nested list of numbers; values that are not finite are null."""
Label = bool | int | float | str
"""Class label, as it appears in the data."""


class Resource(BaseModel):
    """Response body; closed, so that undocumented fields fail the tests."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        # The OpenAPI document shows the docstring, which `python -OO` strips.
        cls.__doc__ = docstring(cls) or None

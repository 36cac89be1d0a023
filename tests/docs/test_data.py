"""Completeness of docs/reference/data.md."""

from typing import get_args

import pytest

from service.specs.split import Split
from service.specs.transforms import TRANSFORMS
from tests.support.repository import ROOT

PAGE = (ROOT / "docs" / "reference" / "data.md").read_text()


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: transform.__name__)
def test_a_transform_is_in_the_table_with_its_arguments(transform: type) -> None:
    """Each transform has a row in the table, and the page names all its arguments."""
    fields = transform.model_fields
    name = get_args(fields["type"].annotation)[0]
    assert f"\n| `{name}` |" in PAGE
    for argument in fields.keys() - {"columns", "type"}:
        assert f"`{argument}`" in PAGE or f'"{argument}"' in PAGE


@pytest.mark.parametrize("field", Split.model_fields)
def test_a_field_of_splits_is_described(field: str) -> None:
    """The page names each field of a split."""
    assert f"`{field}`" in PAGE or f'"{field}"' in PAGE or f"({field})" in PAGE

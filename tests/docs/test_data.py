"""docs/reference/data.md: it describes all transforms and splits."""

from typing import get_args

import pytest

from service.specs.split import Split
from service.specs.transforms import TRANSFORMS
from tests.support.server import ROOT

PAGE = (ROOT / "docs" / "reference" / "data.md").read_text()


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: transform.__name__)
def test_a_transform_is_in_the_table_with_its_arguments(transform: type) -> None:
    """The type has a row, and each argument of the transform is named."""
    fields = transform.model_fields
    name = get_args(fields["type"].annotation)[0]
    assert f"\n| `{name}` |" in PAGE
    for argument in fields.keys() - {"columns", "type"}:
        assert f"`{argument}`" in PAGE or f'"{argument}"' in PAGE


@pytest.mark.parametrize("field", Split.model_fields)
def test_a_field_of_splits_is_described(field: str) -> None:
    """Each field of a split is named."""
    assert f"`{field}`" in PAGE or f'"{field}"' in PAGE or f"({field})" in PAGE

"""docs/data.md: it tells of all that a data section may say."""

from typing import get_args

import pytest

from service.specs.split import Split
from service.specs.transforms import TRANSFORMS
from tests.support.server import ROOT

PAGE = (ROOT / "docs" / "data.md").read_text()


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: transform.__name__)
def test_a_transform_is_in_the_table_with_its_arguments(transform: type) -> None:
    """Its type has a row, and each argument of its own is named."""
    fields = transform.model_fields
    name = get_args(fields["type"].annotation)[0]
    assert f"\n| `{name}` |" in PAGE
    for argument in fields.keys() - {"columns", "type"}:
        assert f"`{argument}`" in PAGE or f'"{argument}"' in PAGE


@pytest.mark.parametrize("field", Split.model_fields)
def test_a_rule_of_splits_is_told(field: str) -> None:
    """Each field is named."""
    assert f"`{field}`" in PAGE or f'"{field}"' in PAGE or f"({field})" in PAGE

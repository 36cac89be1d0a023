"""The page docs/reference/classes.md."""

import pytest
import torch

from service.architectures.check.check import check
from service.architectures.text.class_reference import EXAMPLES, Example, example_source, reference
from service.specs.architecture import read_architecture
from tests.support.repository import ROOT


def test_the_page_is_current() -> None:
    """The page is what the tables say."""
    page = (ROOT / "docs" / "reference" / "classes.md").read_text()
    assert page == reference(), "docs/reference/classes.md is out of date: run `make docs`."


@pytest.mark.parametrize(
    "example", [each for examples in EXAMPLES.values() for each in examples], ids=lambda each: each.form
)
def test_each_example_is_accepted(example: Example) -> None:
    """A class with the lines of the example is a valid architecture, and Python accepts the same text."""
    source = example_source(example)
    check(read_architecture({"type": "class", "source": source}), [torch.zeros(4, 3)], 10**6)
    namespace = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional}
    exec(source, namespace)  # the text is ours
    assert namespace["Net"]()(torch.zeros(4, 3)).shape == (4, 2)

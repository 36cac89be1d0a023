"""Messages of refused class texts are sentences with the form to write."""

import pytest
import torch

from service.architectures.check.check import check
from service.errors import InvalidRequest
from service.specs.architecture import read_architecture
from tests.classes.refused_texts import net

MESSAGES = {
    "len()": "`len` is called as `len(value, /)`",
    "len([1], 2)": "`len` is called as",
    "getattr(self)": "`getattr` is called as",
    "functools.reduce(lambda a, b: a, [])": "needs a start: `reduce(function, values, start)`",
    "range()": "`range` is called as",
    "list(range(2.5))": "write `int(…)`",
    "max([])": "give `default=…`",
    "int('a')": "`int` raises ValueError, as in Python",
    "[1].index(3)": "`index` raises ValueError, as in Python",
    "{}.pop('a')": "there is no key 'a'",
    "{'width': 1}['widht']": "did you mean `width`?",
    "[1][3]": "there is no element 3 of this list, which has 1",
    "1 // 0": "this divides by zero",
    "list(zip([1], [1, 2], strict=True))": "values of the same length",
    "nn.utils.parametrizations.weight_norm(nn.Linear(3, 3), 'nothing')": "'nothing'",
    "print('a')": "remove it: a job reports shapes and losses itself",
    "logging.info('a')": "remove it: a job reports shapes and losses itself",
    "warnings.warn('a')": "remove it: a job reports shapes and losses itself",
    "torch.randn(2, generator=3)": "`generator` is a `torch.Generator`",
    "torch.manual_seed(0.5)": "a seed is an integer",
}


@pytest.mark.parametrize("expression", MESSAGES)
def test_the_message_says_what_to_write(expression: str) -> None:
    """The error has the location of the expression, and its remedy."""
    source = net(init=f"self.k = {expression}", top="import functools, logging, warnings")
    with pytest.raises(InvalidRequest) as refusal:
        check(read_architecture({"type": "class", "source": source}), [torch.zeros(4, 3)], 10**6)
    (error,) = refusal.value.errors
    assert error.detail.startswith("Line 7, column")
    assert MESSAGES[expression] in error.detail

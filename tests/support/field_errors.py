"""Field errors of a refused request."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from service.datasets.validation import ErrorCollector
from service.errors import InvalidRequest

_INTERNALS = re.compile(r" at 0x[0-9a-f]|<class |<\w[\w.]* object|<function|<built-in|Traceback|pydantic")


def assert_plain(problem: Mapping[str, Any]) -> None:
    """Assert that a problem document shows no objects, addresses or tracebacks, and repeats no long text."""
    for text in (problem["detail"], *(error["detail"] for error in problem["errors"])):
        assert not _INTERNALS.search(text), text
        assert len(text) <= 2_001, text


def refusal(call: Callable[[], object]) -> dict[str, str]:
    """Assert that `call` raises `InvalidRequest`; return the details of its errors by pointer."""
    with pytest.raises(InvalidRequest) as raised:
        call()
    assert_plain(raised.value.document("/"))
    return {error.pointer: error.detail for error in raised.value.errors}


def error_details(errors: ErrorCollector) -> dict[str, str]:
    """Return the details of collected errors by pointer; assert that there is one."""
    return refusal(errors.raise_if_any)

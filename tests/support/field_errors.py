"""Field errors of a refused request."""

from collections.abc import Callable

import pytest

from service.datasets.validation import ErrorCollector
from service.errors import InvalidRequest


def refusal(call: Callable[[], object]) -> dict[str, str]:
    """Assert that `call` raises `InvalidRequest`; return the details of its errors by pointer."""
    with pytest.raises(InvalidRequest) as raised:
        call()
    return {error.pointer: error.detail for error in raised.value.errors}


def error_details(errors: ErrorCollector) -> dict[str, str]:
    """Return the details of collected errors by pointer; assert that there is one."""
    return refusal(errors.raise_if_any)

"""What a refused request says, as tests compare it."""

from collections.abc import Callable

import pytest

from service.datasets.validation import ErrorCollector
from service.errors import InvalidRequest


def refusal(call: Callable[[], object]) -> dict[str, str]:
    """Detail by pointer of the errors that `call` raises."""
    with pytest.raises(InvalidRequest) as raised:
        call()
    return {error.pointer: error.detail for error in raised.value.errors}


def error_details(errors: ErrorCollector) -> dict[str, str]:
    """Map the pointers of collected errors to their details."""
    return refusal(errors.raise_if_any)

"""Fingerprints of requests, by which a repeated idempotency key is compared with its first request.

Two requests have the same fingerprint if the service understands the same: white space, the order of names,
defaults and the notation of numbers (`3`, `3.0`, `3e0`) don't matter.
"""

import hashlib
from typing import Any

import orjson
from pydantic import ValidationError

from service.errors import NESTED_TOO_DEEP, InvalidRequest
from service.specs.data import CONTENT
from service.specs.job import JobRequest

# Objects in which the order of names has a meaning: of parameters that are drawn, of inputs.
_ORDERED = {
    "arguments",
    "buffers",
    "constants",
    "feature_groups",
    "initial",
    "inputs",
    "parameters",
    "submodules",
}
# Fields of the data that a spec takes as they are.
_VALUES = {*CONTENT, "targets", "weights"}
_MAX_INTEGER = 2**63


def job_fingerprint(document: Any) -> str:
    """Return the fingerprint of a parsed job request, valid or not.

    Raises:
        InvalidRequest: It is nested too deep.
    """
    try:
        request = JobRequest.model_validate(document)
    except ValidationError:  # the check of the request reports it
        return fingerprint(document)
    understood = request.model_dump(exclude_defaults=True, exclude={"data": _VALUES})
    values = {name: value for name, value in document["data"].items() if name in _VALUES}
    return fingerprint({**understood, "data": {**understood["data"], **values}})


def fingerprint(document: Any) -> str:
    """Return the fingerprint of a JSON document.

    Raises:
        InvalidRequest: It is nested too deep.
    """
    try:
        canonical = orjson.dumps(_canonical(document), option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        raise InvalidRequest(NESTED_TOO_DEEP) from None
    return hashlib.sha256(canonical).hexdigest()


def _canonical(value: Any, is_ordered: bool = False) -> Any:
    """Return a value with whole numbers as integers, and ordered objects as lists of their members."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < _MAX_INTEGER else value
    if isinstance(value, list):
        return [_canonical(each) if type(each) in _NOT_CANONICAL else each for each in value]
    if isinstance(value, dict):
        members = {name: _canonical(member, name in _ORDERED) for name, member in value.items()}
        return [*members.items()] if is_ordered else members
    return value


_NOT_CANONICAL = {float, list, dict}

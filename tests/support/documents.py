"""JSON documents with a change at a pointer (RFC 6901, as a URI fragment: `#/data/split`)."""

from copy import deepcopy
from typing import Any


def changed(document: Any, pointer: str, value: Any) -> Any:
    """Return a copy of a document with another value at `pointer`, whose parent must exist."""
    result = deepcopy(document)
    *parents, last = _parts(pointer)
    parent = _get(result, parents)
    parent[_key(parent, last)] = value
    return result


def without(document: Any, pointer: str) -> Any:
    """Return a copy of a document without the value at `pointer`."""
    result = deepcopy(document)
    *parents, last = _parts(pointer)
    parent = _get(result, parents)
    del parent[_key(parent, last)]
    return result


def exists(document: Any, pointer: str) -> bool:
    """Return whether the document has a value at `pointer`."""
    try:
        _get(document, _parts(pointer))
    except (KeyError, IndexError, TypeError, ValueError):
        return False
    return True


def _parts(pointer: str) -> list[str]:
    first, *parts = pointer.split("/")
    if first != "#":
        raise ValueError(f"{pointer!r} does not start with #.")
    return [part.replace("~1", "/").replace("~0", "~") for part in parts]


def _get(document: Any, parts: list[str]) -> Any:
    for part in parts:
        document = document[_key(document, part)]
    return document


def _key(container: Any, part: str) -> str | int:
    return int(part) if isinstance(container, list) else part

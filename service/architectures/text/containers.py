"""Containers of Python's `collections` in a class text."""

import ast
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from service.architectures.text.evaluation import Run
from service.architectures.text.sequences import listed
from service.architectures.text.values import DefaultDict, Native

Arguments = Sequence[Any]
Named = Mapping[str, Any]


def make_dict(run: Run, at: ast.AST, positional: Arguments, named: Named) -> dict[Any, Any]:
    """Return a dictionary of pairs or of another one, as `dict(…)` does."""
    first = positional[0] if positional else {}
    if isinstance(first, Mapping):
        return {**first, **named}
    pairs = [tuple(listed(run, at, pair)) for pair in listed(run, at, first)]
    return {**dict(pairs), **named}


def _default_dict(run: Run, at: ast.AST, positional: Arguments, named: Named) -> DefaultDict:
    factory, *rest = positional or (None,)
    made = DefaultDict(make_dict(run, at, rest, named))
    made.factory = factory
    return made


def _deque(run: Run, at: ast.AST, positional: Arguments, named: Named) -> deque[Any]:
    arguments = dict(zip(("iterable", "maxlen"), positional, strict=False)) | dict(named)
    return deque(listed(run, at, arguments.get("iterable") or ()), arguments.get("maxlen"))


COLLECTIONS: Mapping[str, Native] = {
    "collections.OrderedDict": Native("collections.OrderedDict", make_dict, "pairs=(), /, **named"),
    "collections.defaultdict": Native(
        "collections.defaultdict", _default_dict, "factory=None, pairs=(), /, **named"
    ),
    "collections.deque": Native("collections.deque", _deque, "iterable=(), maxlen=None"),
}
"""Containers by their full name."""

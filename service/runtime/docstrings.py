"""Docstrings, read from source where `python -OO` has stripped them."""

import ast
import inspect
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

_Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def docstring(obj: Any) -> str:
    """Return the docstring of a class or function; empty if it has none or no source."""
    if obj.__doc__:
        return inspect.cleandoc(obj.__doc__)
    try:
        path = inspect.getsourcefile(inspect.unwrap(obj))
        return _docstrings(path).get(obj.__qualname__, "") if path else ""
    except (OSError, TypeError, SyntaxError):  # made at run time, or built in
        return ""


@cache
def _docstrings(path: str) -> Mapping[str, str]:
    """Return the docstrings in a file by qualified name. `inspect.getsource` parses it for each object."""
    return dict(_found(ast.parse(Path(path).read_bytes()), ""))


def _found(node: ast.AST, prefix: str) -> Iterator[tuple[str, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _Definition):
            name = prefix + child.name
            yield name, ast.get_docstring(child) or ""
            yield from _found(child, f"{name}." if isinstance(child, ast.ClassDef) else f"{name}.<locals>.")
        else:
            yield from _found(child, prefix)

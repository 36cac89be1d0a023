"""Docstrings, read from source where `python -OO` has stripped them."""

import ast
import inspect
import textwrap
from typing import Any


def docstring(obj: Any) -> str:
    """Return the docstring of a class or function; empty if it has none or no source."""
    if obj.__doc__:
        return inspect.cleandoc(obj.__doc__)
    try:
        (definition, *_) = ast.parse(textwrap.dedent(inspect.getsource(obj))).body
    except (OSError, TypeError, SyntaxError):  # made at run time, built in, or part of a statement
        return ""
    if isinstance(definition, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return ast.get_docstring(definition) or ""
    return ""

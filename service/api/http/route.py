"""Route class of all routers."""

from collections.abc import Callable
from typing import Any

from fastapi.routing import APIRoute

from service.runtime.docstrings import docstring


class DocumentedRoute(APIRoute):
    """Route that keeps its handler's docstring: the OpenAPI document shows it, `python -OO` strips it."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        endpoint.__doc__ = docstring(endpoint)
        super().__init__(path, endpoint, **options)

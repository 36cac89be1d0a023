"""Route class of all routers."""

from collections.abc import Callable, Iterator
from typing import Any

from fastapi.routing import APIRoute

from service.api.http.negotiation import JSON
from service.runtime.docstrings import docstring


class DocumentedRoute(APIRoute):
    """Route that keeps its handler's docstring: the OpenAPI document shows it, `python -OO` strips it.

    Attributes:
        media_types: Media types of the answers with a content, the preferred one first.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        endpoint.__doc__ = docstring(endpoint)
        super().__init__(path, endpoint, **options)
        self.media_types = list(dict.fromkeys(self._documented_media_types()))

    def _documented_media_types(self) -> Iterator[str]:
        if self.response_model is not None:
            yield JSON
        for status, response in self.responses.items():
            if str(status).startswith("2"):
                yield from response.get("content", ())

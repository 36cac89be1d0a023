"""Route class of all routers."""

from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import ValidationError

from service.api.http.negotiation import JSON, choose
from service.api.http.requests import refuse_parameters
from service.runtime.docstrings import docstring

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class DocumentedRoute(APIRoute):
    """Route that checks the query and `Accept` of a request before its handler.

    It keeps the handler's docstring: the OpenAPI document shows it, `python -OO` strips it.

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

    def get_route_handler(self) -> Handler:
        parsing, parsed = super().get_route_handler(), self._handler_without_query()

        async def handle(request: Request) -> Response:
            refuse_parameters(request, accepts_any=bool(self.dependant.query_params))
            request.state.media_type = choose(request, self.media_types)
            return await (parsing if request.scope["query_string"] else parsed)(request)

        return handle

    def _handler_without_query(self) -> Handler:
        """Return the handler of requests without a query, whose model is not parsed again and again.

        FastAPI looks for each of its fields, which would take two fifths of the time of a prediction.
        """
        whole = self.dependant
        try:
            defaults = {
                query.name: model() for query in whole.query_params if (model := query.field_info.annotation)
            }
        except ValidationError:  # some parameter is required
            return super().get_route_handler()
        self.dependant = replace(whole, query_params=[], call=partial(self.endpoint, **defaults))
        try:
            return super().get_route_handler()
        finally:
            self.dependant = whole

"""Pages that explain the problem types, for people and for programs."""

from html import escape
from typing import Any

from fastapi import APIRouter, Response

from service.api.http.negotiation import JSON, AcceptedMediaType
from service.api.http.pages import HTML, page
from service.api.http.responses import json_response
from service.api.http.route import DocumentedRoute
from service.api.state import RootPath
from service.errors import FitserveError, ProblemTypeNotFound, problem_types

router = APIRouter(route_class=DocumentedRoute)
_CONTENT: dict[int | str, dict[str, Any]] = {200: {"content": {HTML: {}, JSON: {}}}}


@router.get("/problems", responses=_CONTENT, include_in_schema=False)
async def list_problem_types(media_type: AcceptedMediaType, root: RootPath) -> Response:
    """List the problem types."""
    if media_type == JSON:
        return json_response({"items": [_document(cls, root) for cls in problem_types().values()]})
    items = "".join(
        f'<li><a href="{root}{cls.path()}">{slug}</a> ({cls.status}): {escape(cls.title)}</li>'
        for slug, cls in problem_types().items()
    )
    return page("Problems", f"<ul>{items}</ul>")


@router.get("/problems/{slug}", responses=_CONTENT, include_in_schema=False)
async def get_problem_type(slug: str, media_type: AcceptedMediaType, root: RootPath) -> Response:
    """Explain a problem type and its remedy."""
    cls = problem_types().get(slug)
    if cls is None:
        raise ProblemTypeNotFound(f"No problem type has the name {slug!r}.")
    if media_type == JSON:
        return json_response(_document(cls, root))
    return page(
        escape(cls.title),
        f"<p>Status {cls.status}, <code>{cls.path()}</code></p><p>{escape(cls.remedy)}</p>"
        f'<p><a href="{root}/problems">All problems</a></p>',
    )


def _document(cls: type[FitserveError], root: str) -> dict[str, Any]:
    return {"type": f"{root}{cls.path()}", "title": cls.title, "status": cls.status, "remedy": cls.remedy}

"""HTML pages that explain the problem types."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from service.errors import ProblemTypeNotFound, problem_types

router = APIRouter()


@router.get("/problems", response_class=HTMLResponse, include_in_schema=False)
def list_problem_types() -> str:
    """List the problem types."""
    items = "".join(
        f'<li><a href="/problems/{slug}">{slug}</a> ({cls.status}): {cls.title}</li>'
        for slug, cls in problem_types().items()
    )
    return _page("Problems", f"<ul>{items}</ul>")


@router.get("/problems/{slug}", response_class=HTMLResponse, include_in_schema=False)
def get_problem_type(slug: str) -> str:
    """Explain a problem type and its remedy."""
    cls = problem_types().get(slug)
    if cls is None:
        raise ProblemTypeNotFound(f"No problem type has the name {slug!r}.")
    return _page(cls.title, f"<p>Status {cls.status}, <code>/problems/{slug}</code></p><p>{cls.remedy}</p>")


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>body{{font:16px/1.5 system-ui;max-width:42rem;margin:3rem auto;"
        f'padding:0 1rem}}</style><h1>{title}</h1>{body}<p><a href="/problems">All problems</a></p></html>'
    )

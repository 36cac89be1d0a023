"""HTML pages: they run their own inline scripts, and load nothing from elsewhere."""

import base64
import hashlib
import re

from starlette.responses import HTMLResponse

HTML = "text/html"
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def page(title: str, body: str) -> HTMLResponse:
    """Return a page of text in the common style."""
    return html_response(
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>body{{font:16px/1.5 system-ui;max-width:42rem;margin:3rem auto;"
        f"padding:0 1rem}}</style><h1>{title}</h1>{body}</html>"
    )


def html_response(text: str) -> HTMLResponse:
    """Return a page with a Content-Security-Policy that allows its own inline scripts."""
    scripts = " ".join(f"'sha256-{_sha256(script)}'" for script in _INLINE_SCRIPT.findall(text))
    policy = (
        f"default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return HTMLResponse(text, headers={"Content-Security-Policy": policy})


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

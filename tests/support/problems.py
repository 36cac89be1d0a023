"""Problem documents (RFC 9457) in the responses of a service."""

import httpx


def problem(response: httpx.Response, status: int, slug: str) -> list[dict[str, str]]:
    """Check that a response is this problem and return its field errors."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    document = response.json()
    assert document.keys() == {"type", "title", "status", "detail", "instance", "request_id", "errors"}
    assert (document["type"], document["status"]) == (f"/problems/{slug}", status)
    assert document["request_id"] == response.headers["X-Request-ID"]
    assert document["instance"] == response.request.url.path
    assert document["title"]
    assert document["detail"]
    for error in document["errors"]:
        assert error.keys() == {"pointer", "detail"}
        assert error["detail"].endswith((".", "?")), error["detail"]
    return list(document["errors"])

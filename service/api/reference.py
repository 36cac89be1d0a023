"""openapi.md: the HTTP reference for readers, made from the OpenAPI document."""

from fastapi import FastAPI


def reference(app: FastAPI) -> str:
    """The reference as Markdown."""
    return f"# {app.title}\n"

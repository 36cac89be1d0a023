"""The OpenAPI document, and the reference in a browser."""

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html

from service.api.http.negotiation import JSON
from service.api.http.pages import HTML, html_response
from service.api.http.responses import json_response
from service.api.http.route import DocumentedRoute
from service.api.state import RootPath

router = APIRouter(route_class=DocumentedRoute)


@router.get("/docs", responses={200: {"content": {HTML: {}}}}, include_in_schema=False)
async def show_reference(request: Request, root: RootPath) -> Response:
    """Show the reference, with files of the package `fastapi_offline`."""
    files = f"{root}/static-offline-docs"
    shown = get_swagger_ui_html(
        openapi_url=f"{root}/openapi.json",
        title=request.app.title,
        swagger_js_url=f"{files}/swagger-ui-bundle.js",
        swagger_css_url=f"{files}/swagger-ui.css",
        swagger_favicon_url=f"{files}/favicon.png",
    )
    return html_response(bytes(shown.body).decode())


@router.get("/openapi.json", responses={200: {"content": {JSON: {}}}}, include_in_schema=False)
def get_openapi(request: Request, root: RootPath) -> Response:
    """Get the OpenAPI document; a thread builds it for the first client, which takes half a second."""
    document = request.app.openapi()
    if root:
        document = {**document, "servers": [{"url": root}, *document["servers"]]}
    return json_response(document)

"""`/docs`: Swagger UI, whose files are those of the package `fastapi-swagger`, the extra `docs`.

FastAPI's own `/docs` and `/redoc` load scripts from other hosts: they don't work without the
internet, and what those hosts send runs in a page that knows the API key. So they are removed.
"""

from functools import partial
from importlib.util import find_spec
from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from ..errors import RequestError
from .page import OpenRoute, PageRoute

PATH = "/docs"
_PACKAGE = "fastapi_swagger"
_MEDIA_TYPES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
# The address of a file is the same in every release of the package.
_HEADERS = {"Cache-Control": "max-age=3600", "X-Content-Type-Options": "nosniff"}


class NoSwaggerUI(RequestError):
    """The service was installed without Swagger UI."""

    status = 404
    title = "Not Found"
    kind = "not-found"


def remove_fastapi_pages(app: FastAPI) -> None:
    """Remove the pages that FastAPI has added to an application, with their redirect for OAuth2."""
    paths = {app.docs_url, app.redoc_url, app.swagger_ui_oauth2_redirect_url}
    app.router.routes[:] = [
        route for route in app.router.routes if getattr(route, "path", None) not in paths
    ]


def swagger_ui_routes() -> list[OpenRoute]:
    """Return the routes of `/docs`: the page and its files, or one that says what is missing."""
    folder = swagger_ui_folder()
    if folder is None:
        return [OpenRoute(PATH, _say_what_is_missing, include_in_schema=False)]
    files = [
        OpenRoute(
            f"{PATH}/{name}", partial(_send_file, folder / name, kind), include_in_schema=False
        )
        for name, kind in _MEDIA_TYPES.items()
    ]
    return [PageRoute(PATH, "swagger_ui.html", script="'self'", style="'self'"), *files]


def swagger_ui_folder() -> Path | None:
    """Return the folder with Swagger UI's files; None if the extra `docs` is not installed."""
    spec = find_spec(_PACKAGE)  # importing it would import what it does to an application
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0], "resources")


async def _send_file(file: Path, media_type: str, _request: Request) -> Response:
    return FileResponse(file, media_type=media_type, headers=_HEADERS)


async def _say_what_is_missing(_request: Request) -> Response:
    raise NoSwaggerUI(
        "This service is installed without Swagger UI, the extra `docs` of serving-engine. "
        "/openapi.json describes its API."
    )

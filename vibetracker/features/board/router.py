"""The page and the files that it is made of."""

from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import Path, Request
from fastapi.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from vibetracker.core.api.preconditions import REVALIDATED
from vibetracker.core.api.routing import Router
from vibetracker.core.http.problems import NotFound

PAGE = FilePath(__file__).parent / "page"
FILES = sorted(path.name for path in PAGE.iterdir() if path.name != "index.html")
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the page may load and do (CSP Level 3): its own files and this service, nothing inline."""

_HEADERS = {
    name: {"description": description, "schema": {"type": "string"}}
    for name, description in {
        "Accept-Ranges": "That parts of the file can be asked for (RFC 9110 14.3).",
        "Content-Security-Policy": "What the page may load and do (CSP Level 3).",
        "ETag": "The file's version; with `If-None-Match` an unchanged one is 304.",
        "Last-Modified": "When the file was changed (RFC 9110 8.8.2).",
    }.items()
}


_CONDITION = {
    "parameters": [
        {
            "name": "If-None-Match",
            "in": "header",
            "required": False,
            "description": "Answer 304 if the file still has this `ETag` (RFC 9110 13.1.2).",
            "schema": {"type": "string", "examples": ['"1f5f7e8b"']},
        }
    ]
}


def _file_of(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """Return what the OpenAPI document says of an operation that answers with a file."""
    content = {media_type: {"schema": {"type": "string"}} for media_type in media_types}
    return {
        200: {"description": "The file.", "content": content, "headers": _HEADERS},
        304: {"description": "Unchanged.", "headers": _HEADERS},
    }


router = Router("/board", description="The tasks on a page, to look at and to move.", home=True)
files = StaticFiles(directory=PAGE)


@router.get(
    "",
    response_class=HTMLResponse,
    responses=_file_of("text/html"),
    openapi_extra=_CONDITION,
)
async def get_board(request: Request) -> Response:
    """Return the page: every status is a column, every task a card.

    It uses the operations of this API alone, and shows what others change while it is open.
    """
    return await _file("index.html", request)


@router.get(
    "/{name}",
    response_class=Response,
    responses=_file_of("text/css", "text/javascript", "image/svg+xml"),
    openapi_extra=_CONDITION,
)
async def get_board_file(
    name: Annotated[
        str, Path(description="One of the files that the page names.", examples=["board.js"])
    ],
    request: Request,
) -> Response:
    """Return a file that the page is made of; its style, its code or its icon."""
    if name not in FILES:
        raise NotFound(f"The page has no file of this name; it is made of {', '.join(FILES)}")
    return await _file(name, request)


async def _file(name: str, request: Request) -> Response:
    response = await files.get_response(name, request.scope)
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.headers["Cache-Control"] = REVALIDATED
    return response

"""The operations of transfers."""

from email.message import Message
from functools import partial
from hashlib import sha256
from typing import Annotated, Any, Literal

from fastapi import Query, Request
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from sqlalchemy import ColumnElement, select

from vibetracker.core.api.parameters import BodyFile
from vibetracker.core.api.preconditions import REVALIDATED, check
from vibetracker.core.api.routing import Router, raising
from vibetracker.core.api.session import SessionDep
from vibetracker.core.db.types import utcnow
from vibetracker.core.http.problems import UnsupportedMediaType
from vibetracker.features.projects.problems import ProjectArchived
from vibetracker.features.tasks.calendar import ClockDep
from vibetracker.features.tasks.filters import Asked, TaskFiltersDep, still_open
from vibetracker.features.tasks.model import live, tasks

from . import ics_format
from .collection import collections
from .export import Export, read_snapshot
from .formats import DEFAULT, FORMATS, MEDIA_TYPES, OCTET_STREAM, contents, losses
from .imports import Import
from .schema import ImportResult

router = Router("/transfer", description="In from elsewhere, and out without loss.")

ETAG = {
    "description": "Stays the same for as long as the calendar does.",
    "schema": {"type": "string", "pattern": '^"[0-9a-f]+"$', "examples": ['"3f2a"']},
}
MAX_FILE = 50 * 1024 * 1024
MAX_RECORDS = 250_000
CHUNK = 1024 * 1024
CHARSETS = {"utf-8", "utf8", "us-ascii", "ascii"}
"""What a file in UTF-8 may say that it is in."""


def _known(name: str) -> str:
    if name not in FORMATS:
        raise PydanticCustomError("format", f"Expected one of {', '.join(FORMATS)}")
    return name


FormatName = Annotated[
    str,
    AfterValidator(_known),
    Field(json_schema_extra={"enum": list(FORMATS), "examples": [DEFAULT]}),
]


EXPORT = f"""Export everything, or what belongs to the tasks that the filters leave.

With filters there are the tasks that match, what refers to them, and the tags and whatever else
they refer to; the trash is in it too, unless `deleted` is given. Everything is as it was at the
moment at which the export began.

`json` is lossless: imported into an empty service it is the same, ids and times included. The
others leave out what their programs have no place for:

{"\n".join(f"- `{name}`: {losses(name)}." for name in FORMATS if name != DEFAULT)}"""


@router.get(
    "/export",
    description=EXPORT,
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The file.",
            "content": contents(*(it.MEDIA_TYPE for it in FORMATS.values())),
            "headers": {
                "Content-Disposition": {
                    "description": "The name of the file.",
                    "schema": {"type": "string"},
                }
            },
        }
    },
)
def get_export(
    request: Request,
    session: SessionDep,
    clock: ClockDep,
    filters: TaskFiltersDep,
    format: Annotated[FormatName, Query(description="The format of the file.")] = DEFAULT,  # noqa: A002 - the parameter's name
) -> StreamingResponse:
    """Export everything, or what belongs to the tasks that the filters leave."""
    read_snapshot(session)
    chosen = FORMATS[format]
    narrowed = None
    asked_for = filters.model_fields_set
    if asked_for or not chosen.HAS_TRASH:
        if chosen.HAS_TRASH and "deleted" not in asked_for:
            filters = filters.model_copy(update={"deleted": "include"})
        narrowed = [*filters.conditions(Asked(session, clock))]
        if not chosen.HAS_TRASH:
            narrowed.append(live)
    name = f"vibetracker-{utcnow():%Y-%m-%d}.{chosen.EXTENSION}"
    return StreamingResponse(
        chosen.write(Export(session, collections(request.app.state.features), narrowed)),
        media_type=chosen.MEDIA_TYPE,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


@router.get(
    "/calendar.ics",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The calendar.",
            "content": contents(ics_format.MEDIA_TYPE),
            "headers": {"ETag": ETAG},
        },
        304: {"description": "Unchanged.", "headers": {"ETag": ETAG}},
    },
    openapi_extra={
        "parameters": [
            {
                "name": "If-None-Match",
                "in": "header",
                "required": False,
                "description": "Answer 304 if it is still the same (RFC 9110 13.1.2).",
                "schema": {"type": "string", "examples": ['"3f2a"']},
            }
        ]
    },
)
def get_calendar(
    request: Request,
    session: SessionDep,
    show: Annotated[
        Literal["tasks", "events"],
        Query(
            description="`events` shows each task as an event at its due, for calendars that show "
            "no tasks (VTODO)."
        ),
    ] = "tasks",
) -> StreamingResponse:
    """Get a calendar (RFC 5545) of the open tasks with a due, to be subscribed to.

    Its `ETag` stays the same for as long as none of them changes, so that asking again is cheap.
    """
    read_snapshot(session)
    narrowed: list[ColumnElement[bool]] = [live, still_open, tasks.c.due.is_not(None)]
    versions = select(tasks.c.id, tasks.c.version, tasks.c.updated_at).where(*narrowed)
    digest = sha256(show.encode())
    for row in session.execute(versions.order_by(tasks.c.id)):
        digest.update(str(tuple(row)).encode())
    etag = digest.hexdigest()
    check(session, etag)
    # What is not of the tasks themselves would change without their versions.
    found = collections(request.app.state.features)
    export = Export(session, {name: found[name] for name in found.keys() & {tasks.name}}, narrowed)
    write = ics_format.write_events if show == "events" else ics_format.write
    headers = {"ETag": f'"{etag}"', "Cache-Control": REVALIDATED}
    return StreamingResponse(write(export), media_type=ics_format.MEDIA_TYPE, headers=headers)


@router.post(
    "/import",
    response_model=ImportResult,
    responses=raising(ProjectArchived),
    max_body_size=MAX_FILE,
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "The file, of its own media type or of none in particular.",
            "content": contents(),
        }
    },
)
def import_file(
    request: Request,
    session: SessionDep,
    file: BodyFile,
    format: Annotated[  # noqa: A002 - the parameter's name
        FormatName | None,
        Query(
            description="The format of the file; by default the one that its media type stands "
            "for, or `json`."
        ),
    ] = None,
) -> dict[str, Any]:
    """Import a file of up to 50 MiB and 250,000 records: all of it, or nothing.

    Into an empty service a `json` export brings back the ids. Otherwise everything gets new ids,
    what refers to something in the file refers to its new id, and tasks come behind those that are
    there. Tags, and whatever else has a name of its own, that are there already stay as they are,
    and take the place of those in the file; an archived project that is there takes no tasks.
    """
    kind = Message()
    kind["Content-Type"] = request.headers["content-type"]
    media_type = kind.get_content_type()
    chosen = FORMATS[format or MEDIA_TYPES[media_type]]
    is_known = media_type in {chosen.MEDIA_TYPE, OCTET_STREAM}
    if not is_known or kind.get_content_charset("utf-8") not in CHARSETS:
        detail = f"Send {chosen.MEDIA_TYPE} or {OCTET_STREAM} for this format, in UTF-8"
        accepted = f"{chosen.MEDIA_TYPE}, {OCTET_STREAM}"
        raise UnsupportedMediaType(detail, headers={"Accept": accepted})
    importing = Import(session, collections(request.app.state.features), MAX_RECORDS)
    many_lines = sum(chunk.count(b"\n") for chunk in iter(partial(file.read, CHUNK), b""))
    importing.run(lambda: chosen.read(file), many_lines=many_lines > MAX_RECORDS)
    return {"created": importing.created, "skipped": importing.told.entries()}

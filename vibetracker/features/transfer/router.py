"""The operations of transfers."""

from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from vibetracker.core.api.parameters import BodyFile
from vibetracker.core.api.routing import Router
from vibetracker.core.api.session import SessionDep
from vibetracker.core.db.database import read_snapshot
from vibetracker.core.db.types import utcnow
from vibetracker.core.http.problems import UnsupportedMediaType
from vibetracker.features.tasks.calendar import ClockDep
from vibetracker.features.tasks.filters import Asked, TaskFiltersDep

from .collection import collections
from .export import Export
from .formats import DEFAULT, FORMATS, MEDIA_TYPES, OCTET_STREAM, contents
from .imports import Import
from .schema import ImportResult

router = Router("/transfer", description="In from elsewhere, and out without loss.")

MAX_FILE = 50 * 1024 * 1024
MAX_RECORDS = 250_000


def _known(name: str) -> str:
    if name not in FORMATS:
        raise PydanticCustomError("format", f"Expected one of {', '.join(FORMATS)}")
    return name


FormatName = Annotated[
    str, AfterValidator(_known), Field(json_schema_extra={"enum": list(FORMATS)})
]


@router.get(
    "/export",
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
    """Export everything, or what belongs to the tasks that the filters leave.

    `json` is lossless: imported into an empty service it is the same, ids and times included. With
    filters there are the tasks that match, what refers to them, and the tags and whatever else they
    refer to; the trash is in it too, unless `deleted` is given. Everything is as it was at the
    moment at which the export began.
    """
    read_snapshot(session)
    narrowed = None
    if asked_for := filters.model_fields_set:
        if "deleted" not in asked_for:
            filters = filters.model_copy(update={"deleted": "include"})
        narrowed = filters.conditions(Asked(session, clock))
    chosen = FORMATS[format]
    name = f"vibetracker-{utcnow():%Y-%m-%d}.{chosen.EXTENSION}"
    return StreamingResponse(
        chosen.write(Export(session, collections(request.app.state.features), narrowed)),
        media_type=chosen.MEDIA_TYPE,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


@router.post(
    "/import",
    response_model=ImportResult,
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
    and take the place of those in the file.
    """
    media_type = request.headers["content-type"].partition(";")[0].strip().lower()
    chosen = FORMATS[format or MEDIA_TYPES[media_type]]
    if media_type not in {chosen.MEDIA_TYPE, OCTET_STREAM}:
        detail = f"Send {chosen.MEDIA_TYPE} or {OCTET_STREAM} for this format"
        accepted = f"{chosen.MEDIA_TYPE}, {OCTET_STREAM}"
        raise UnsupportedMediaType(detail, headers={"Accept": accepted})
    importing = Import(session, collections(request.app.state.features), MAX_RECORDS)
    importing.run(lambda: chosen.read(file))
    return {"created": importing.created, "skipped": importing.told.entries()}

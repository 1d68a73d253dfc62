"""The formats of files: each a module of its own, ``<name>_format``, found by its name."""

import json
import pkgutil
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from .export import Export
from .records import Found

SUFFIX = "_format"


class Format(Protocol):
    """What a module of a format has."""

    MEDIA_TYPE: str
    EXTENSION: str
    EXAMPLE: str
    HAS_TRASH: bool
    """Whether it can say of a task that it is in the trash."""
    LOST: Mapping[str, str]
    """What of a service is not in its files: members of tasks, and what else there is.

    Of what is in them partly, the part that is lost.
    """

    def write(self, export: Export) -> Iterator[bytes]:
        """Write a file, a part at a time."""
        ...

    def read(self, file: BinaryIO) -> Iterator[Found]:
        """Read a file from its beginning, a record at a time."""
        ...


def _formats() -> dict[str, Format]:
    found = {}
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if module.name.endswith(SUFFIX):
            name = module.name.removesuffix(SUFFIX)
            found[name] = cast("Format", import_module(f"{__package__}.{module.name}"))
    return found


FORMATS = _formats()
"""By name."""
DEFAULT = "json"
OCTET_STREAM = "application/octet-stream"
"""The media type of a file of any format."""
MEDIA_TYPES = {
    **{it.MEDIA_TYPE: name for name, it in FORMATS.items()},
    FORMATS[DEFAULT].MEDIA_TYPE: DEFAULT,
    OCTET_STREAM: DEFAULT,
}
"""The format that each media type stands for, where nothing else is said."""


def losses(name: str) -> str:
    """Return in Markdown what an export in a format leaves out."""
    lost = FORMATS[name].LOST.items()
    return ", ".join(f"{what} ({part})" if part else what for what, part in lost) or "nothing"


def contents(*media_types: str) -> dict[str, dict[str, Any]]:
    """Describe files for the OpenAPI document, by their media types."""
    return {media_type: _content(media_type) for media_type in media_types or MEDIA_TYPES}


def _content(media_type: str) -> dict[str, Any]:
    example = FORMATS[MEDIA_TYPES[media_type]].EXAMPLE
    if media_type == FORMATS[DEFAULT].MEDIA_TYPE:
        schema = {"type": ["object", "array"], "items": {"type": "object"}}
        return {"schema": schema, "example": json.loads(example)}
    return {"schema": {"type": "string", "format": "binary"}, "example": example}

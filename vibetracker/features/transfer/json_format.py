"""JSON: everything, without loss; each record on a line of its own.

A file is one object. Its members are the collections, each an array of records, and before them
``vibetracker``, the version of this format, and ``last_ids``, the last id that each collection has
assigned. It is read a record at a time, however it is laid out.
"""

from collections.abc import Iterator
from typing import BinaryIO

from pydantic_core import to_json

from vibetracker.core.http.faults import pointer_to

from .export import Export
from .json_source import JsonSource
from .records import LARGEST_ID, Found, LastIds, NoRecord, Place, Record, broken

MEDIA_TYPE = "application/json"
EXTENSION = "json"
HAS_TRASH = True
LOST: dict[str, str] = {}
EXAMPLE = (
    '{"tasks": [{"id": 1, "title": "Paint the shed"}, {"title": "Buy paint", "parent_id": 1}]}'
)
VERSION = 1
HEADER = {"vibetracker", "last_ids"}
"""Members that are no collection."""


def write(export: Export) -> Iterator[bytes]:
    """Write everything."""
    yield b'{"vibetracker": %d,\n"last_ids": %b' % (VERSION, to_json(export.last_ids()))
    for name in export.collections:
        yield b',\n"%b": [' % name.encode()
        separator = b"\n"
        for portion in export.portions(name):
            yield separator + b",\n".join(map(to_json, portion))
            separator = b",\n"
        yield b"\n]"
    yield b"\n}\n"


def read(file: BinaryIO) -> Iterator[Found]:
    """Read a file; ``MalformedRequest`` where it is no JSON."""
    source = JsonSource(file)
    if source.peek() != "{":
        start = Place(source.place, "")
        source.value()
        source.end()
        raise broken(start, "not_an_object", "Expected an object with the records of each kind")
    source.take("{")
    last = source.take("}") if source.peek() == "}" else ","
    seen: set[str] = set()
    while last == ",":
        place, name = source.place, source.name()
        if name in seen:
            raise broken(Place(place, pointer_to(name)), "repeated", "A member can be given once")
        seen.add(name)
        source.take(":")
        if source.peek() == "[" and name not in HEADER:
            yield from _records(source, name)
        else:
            yield from _member(name, Place(source.place, pointer_to(name)), source.value())
        last = source.take(",}")
    source.end()


def _records(source: JsonSource, name: str) -> Iterator[Found]:
    source.take("[")
    if source.peek() == "]":
        source.take("]")
        return
    index = 0
    last = ","
    while last == ",":
        source.peek()
        place = Place(source.place, pointer_to(name, index))
        values = source.value()
        if isinstance(values, dict):
            yield Record(name, values, place)
        else:
            yield NoRecord(name, place)
        index += 1
        last = source.take(",]")


def _member(name: str, place: Place, value: object) -> Iterator[Found]:
    match name, value:
        case "vibetracker", int() if value == VERSION and value is not True:
            return
        case "vibetracker", _:
            raise broken(place, "version", f"Expected {VERSION}, the version that is known here")
        case "last_ids", dict() if all(map(_is_last_id, value.values())):
            yield LastIds(value)
        case "last_ids", _:
            detail = f"Expected a number from 0 to {LARGEST_ID} for each collection"
            raise broken(place, "last_ids", detail)
        case _:
            yield NoRecord(name, place)


def _is_last_id(value: object) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_ID

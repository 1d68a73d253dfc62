"""JSON: everything, without loss; each record on a line of its own.

A file is one object. Its members are the collections, each an array of records, and before them
``vibetracker``, the version of this format, and ``last_ids``, the last id that each collection has
given. It is read a record at a time, however it is laid out.
"""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from pydantic_core import to_json

from vibetracker.core.http.faults import pointer_to
from vibetracker.core.http.problems import MalformedRequest

from .export import Export
from .records import Found, LastIds, LeftOut, Place, Record, broken

MEDIA_TYPE = "application/json"
EXTENSION = "json"
EXAMPLE = (
    '{"tasks": [{"id": 1, "title": "Paint the shed"}, {"title": "Buy paint", "parent_id": 1}]}'
)
VERSION = 1
CHUNK = 64 * 1024
MAX_VALUE = 1024 * 1024
"""Characters of one record; the longest of a task has about a third."""

_SPACE = re.compile(r"[ \t\n\r]*")


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
    source = _Source(file)
    source.take("{")
    last = source.take("}") if source.peek() == "}" else ","
    seen: set[str] = set()
    while last == ",":
        place, name = source.place, source.value()
        if not isinstance(name, str):
            raise source.malformed("a member has a name")
        if name in seen:
            raise broken(Place(place, pointer_to(name)), "repeated", "A member can be given once")
        seen.add(name)
        source.take(":")
        if source.peek() == "[":
            yield from _records(source, name)
        else:
            yield from _member(name, Place(source.place, pointer_to(name)), source.value())
        last = source.take(",}")
    source.end()


def _records(source: "_Source", name: str) -> Iterator[Found]:
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
        if not isinstance(values, dict):
            raise broken(place, "not_an_object", "A record is an object")
        yield Record(name, values, place)
        index += 1
        last = source.take(",]")


def _member(name: str, place: Place, value: object) -> Iterator[Found]:
    match name, value:
        case "vibetracker", int() if value == VERSION:
            return
        case "vibetracker", _:
            raise broken(place, "version", f"Expected {VERSION}, the version that is known here")
        case "last_ids", dict():
            if not all(isinstance(last, int) and last >= 0 for last in value.values()):
                raise broken(place, "last_ids", "Expected a number for each collection")
            yield LastIds(value)
        case _:
            yield LeftOut(place, "unknown_member", f"Nothing here stores {name!r}")


class _Source:
    """The text of a file, of which a window is in memory that moves forward."""

    def __init__(self, file: BinaryIO) -> None:
        file.seek(0)
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._at = 0
        self._is_whole = False
        self.place = 1
        """The line."""
        self._decode = json.JSONDecoder(
            parse_constant=_refuse_constant, object_pairs_hook=_members
        ).raw_decode

    def peek(self) -> str:
        """Go to the next character that is no white space, and return it; empty at the end."""
        while True:
            found = _SPACE.match(self._text, self._at)
            assert found is not None  # noqa: S101 - it matches nothing too
            self._go(found.end())
            if self._at < len(self._text) or not self._read():
                return self._text[self._at : self._at + 1]

    def take(self, characters: str) -> str:
        """Take one of these characters."""
        found = self.peek()
        if not found or found not in characters:
            raise self.malformed(f"expected {' or '.join(characters)}")
        self._go(self._at + 1)
        return found

    def value(self) -> Any:
        """Take a value."""
        self.peek()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except RecursionError:
                raise self.malformed("it is nested too deep") from None
            except ValueError as error:
                if isinstance(error, _AmbiguousError):
                    raise broken(Place(self.place), "repeated", str(error)) from None
                if self._is_whole or len(self._text) - self._at > MAX_VALUE:
                    raise self.malformed("a value is cut off, or none") from None
                self._read()
            else:
                # A number may go on behind the window.
                if end < len(self._text) or self._is_whole or not self._read():
                    self._go(end)
                    return value

    def end(self) -> None:
        """Raise ``MalformedRequest`` where something follows."""
        if self.peek():
            raise self.malformed("something follows its end")

    def malformed(self, what: str) -> MalformedRequest:
        """Make the problem of a file that is no JSON."""
        detail = f"The file is not JSON in UTF-8 in line {self.place}: {what}"
        return MalformedRequest(detail, line=self.place)

    def _go(self, at: int) -> None:
        self.place += self._text.count("\n", self._at, at)
        self._at = at

    def _read(self) -> bool:
        """Read on, as much again as is there already; return whether there was something."""
        wanted = max(CHUNK, len(self._text) - self._at)
        chunk = self._file.read(wanted)
        self._is_whole = len(chunk) < wanted
        try:
            text = self._decoder.decode(chunk, final=self._is_whole)
        except UnicodeDecodeError as error:
            self.place += self._text.count("\n", self._at)
            self.place += error.object.count(b"\n", 0, error.start)
            raise self.malformed("a byte is not UTF-8") from None
        self._text = self._text[self._at :] + text
        self._at = 0
        return bool(text)


class _AmbiguousError(ValueError):
    """An object gives a member twice."""


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise _AmbiguousError("A member of an object can be given once")
    return members


def _refuse_constant(name: str) -> None:
    raise ValueError(name)

"""JSON as it is read from a file of any size: a value at a time."""

import codecs
import json
import re
from io import SEEK_END
from typing import Any, BinaryIO

from vibetracker.core.http.problems import MalformedRequest, Problem

from .records import Place, broken

CHUNK = 64 * 1024
MAX_VALUE = 1024 * 1024
"""Characters of one value; the longest record of a task has about a third."""

LITERAL = 10
"""More characters than `Infinity` or an escape has, which may be cut off."""
NO_SURROGATES = "The name of a member has no lone surrogates"
_SPACE = re.compile(r"[ \t\n\r]*")


class JsonSource:
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

    def name(self) -> str:
        """Take the name of a member."""
        self.peek()
        place, name = self.place, self.value()
        if not isinstance(name, str):
            raise self.malformed("a member has a name")
        if not _is_unicode(name):
            raise broken(Place(place), "text_surrogate", NO_SURROGATES)
        return name

    def value(self) -> Any:
        """Take a value."""
        self.peek()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except RecursionError:
                raise self.malformed("it is nested too deep") from None
            except ValueError as error:
                if isinstance(error, _MembersError):
                    raise broken(Place(self.place), error.code, str(error)) from None
                if self._is_whole:
                    raise self.malformed("a value is cut off, or none") from None
                if len(self._text) - self._at > MAX_VALUE:
                    raise self._too_long(error) from None
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

    def _too_long(self, error: ValueError) -> Problem:
        """Make the problem of a value of which this much is not whole.

        It breaks a rule, unless something is wrong in it so far, or the file is cut off.
        """
        goes_on = isinstance(error, json.JSONDecodeError) and (
            error.msg.startswith("Unterminated string") or len(error.doc) - error.pos < LITERAL
        )
        self._file.seek(-CHUNK, SEEK_END)
        if goes_on and self._file.read().rstrip().endswith((b"}", b"]")):
            detail = f"A value has at most {MAX_VALUE} characters"
            return broken(Place(self.place), "too_long", detail)
        return self.malformed("a value is cut off, or none")

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


class _MembersError(ValueError):
    """The members of an object break a rule."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise _MembersError("repeated", "A member of an object can be given once")
    if not all(map(_is_unicode, members)):
        raise _MembersError("text_surrogate", NO_SURROGATES)
    return members


def _is_unicode(name: str) -> bool:
    return name.isascii() or name.isprintable() or name.encode(errors="replace").decode() == name


def _refuse_constant(name: str) -> None:
    raise ValueError(name)

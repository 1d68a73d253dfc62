"""Texts in a body or a query: which characters they may have, and how they are trimmed."""

import re
import unicodedata
from dataclasses import dataclass
from itertools import chain
from string import whitespace
from typing import Any, override

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, PydanticKnownError, core_schema

_SPACE = r"\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""The characters with the Unicode property White_Space."""
_INVISIBLE = (
    r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
)
_ALL_INVISIBLE = f"{_INVISIBLE}\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
"""Those with the property Default_Ignorable_Code_Point, the blank of Braille, and annotations.

Patterns go without those beyond U+FFFF, for which a range in ECMA-262 needs a flag.
"""
_BLANK_START = re.compile(f"^[{_SPACE}{_ALL_INVISIBLE}]+")
_SELECTORS = re.compile("[\u180b-\u180f\ufe00-\ufe0f\U000e0020-\U000e007f\U000e0100-\U000e01ef]*")
"""Which form the character before them has: they end emoji and names."""
_GAPS = re.compile(f"[{_SPACE}]+")
LONGEST = 2600
"""Bytes of a text to sort by; a row of an index in PostgreSQL has 2704 at most."""
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
CONTROL_BUT_LAYOUT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


# Planes 0 and 1, and what there is of 14: the others have neither marks nor what is invisible.
_SOME = "".join(map(chr, chain(range(0x20000), range(0xE0000, 0xE1000))))
_IGNORED = "".join(it for it in _SOME if unicodedata.category(it)[0] == "M")
_IGNORED += "".join(re.findall(f"[{_ALL_INVISIBLE}]", _SOME))
_PLAIN = str.maketrans("łøđðħıŧ", "loddhit", _IGNORED)
"""Letters that do not decompose have a plain one."""


def searchable(text: str) -> str:
    """Return a text as it is searched in and for: without case, accents and what is invisible.

    Casefolded, decomposed (NFD) and without combining marks, so that ``cafe`` is in ``Café``.
    """
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFD", unicodedata.normalize("NFD", text).casefold())
    return unicodedata.normalize("NFC", decomposed.translate(_PLAIN))


def sortable(text: str) -> str:
    """Return what a text is sorted by: itself without case and accents, and then as it is.

    A column of it needs ``OrderedText``, so that both databases sort alike. It contains what the
    text is searched by. Cut off where an index of PostgreSQL could not take it, which leaves of
    each line of 500 characters the first part whole.
    """
    # No text has this character, which comes before all others.
    return f"{searchable(text)}\x01{text}".encode()[:LONGEST].decode(errors="ignore")


@dataclass(frozen=True)
class Prose:
    """Marks a ``str`` as text of many lines, kept as it is written.

    Control characters other than tab and line breaks are refused. Constraints that stand before it
    hold as well.
    """

    max_length: int
    min_length: int = 0

    _refused = CONTROL_BUT_LAYOUT
    _rule = "Text has no control characters but tab and line break"

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        checked = core_schema.no_info_after_validator_function(
            # A union has other choices, as null.
            lambda value: self._clean(value) if isinstance(value, str) else value,
            handler(source),
        )
        return core_schema.no_info_before_validator_function(self._trimmed, checked)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Add the limits to a schema that may have some already: the narrower ones hold."""
        found = handler(schema)
        found["maxLength"] = min(self.max_length, found.get("maxLength", self.max_length))
        if shortest := max(self.min_length, found.get("minLength", 0)):
            found["minLength"] = shortest
        if "pattern" in found:
            found.setdefault("allOf", []).append({"pattern": self._pattern()})
        else:
            found["pattern"] = self._pattern()
        return found

    def _pattern(self) -> str:
        return r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*$"

    def _trimmed(self, value: Any) -> Any:
        return value

    def _clean(self, value: str) -> str:
        if self._refused.search(value):
            raise PydanticCustomError("text_control_character", "{rule}", {"rule": self._rule})
        if len(value) < self.min_length:
            raise PydanticKnownError("string_too_short", {"min_length": self.min_length})
        if len(value) > self.max_length:
            raise PydanticKnownError("string_too_long", {"max_length": self.max_length})
        return value


@dataclass(frozen=True)
class Line(Prose):
    """Marks a ``str`` as a single line of text, trimmed and NFC-normalised.

    White space and invisible characters are trimmed, and what is left has a visible one.
    Lengths count code points after that. Control characters and line breaks inside are refused,
    and so is each character of ``without``. Constraints that stand before it hold as well.
    """

    min_length: int = 1
    without: str = ""

    _refused = CONTROL
    _rule = "A single line of text has no control characters or line breaks"

    @override
    def _trimmed(self, value: Any) -> Any:
        return unicodedata.normalize("NFC", trimmed(value)) if isinstance(value, str) else value

    @override
    def _pattern(self) -> str:
        excluded = re.escape(self.without)
        ink = rf"[^{_SPACE}{_INVISIBLE}\u0000-\u001f\u007f-\u009f{excluded}]"
        rest = rf"[^\u0000-\u001f\u007f-\u009f\u2028\u2029{excluded}]*"
        # What is at both ends is trimmed, whatever it is.
        text = f"{rest}{ink}{rest}" if self.min_length else rest
        return f"^[{_SPACE}{_INVISIBLE}]*{text}[{_SPACE}{_INVISIBLE}]*$"

    @override
    def _clean(self, value: str) -> str:
        super()._clean(value)
        if self.min_length and not value.isascii() and not value.translate(_PLAIN).strip():
            raise PydanticCustomError("text_invisible", "Expected at least one visible character")
        for character in self.without:
            if character in value:
                raise PydanticCustomError(
                    "text_character",
                    "The character {character} is not allowed here",
                    {"character": character},
                )
        return value


@dataclass(frozen=True)
class Terms(Line):
    """Marks a ``str`` as terms to search for, between white space of any kind."""

    min_length: int = 0

    @override
    def _trimmed(self, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return unicodedata.normalize("NFC", " ".join(_GAPS.split(value)).strip())

    @override
    def _pattern(self) -> str:
        return rf"^([{_SPACE}]|[^\u0000-\u001f\u007f-\u009f\u2028\u2029])*$"


def trimmed(value: str) -> str:
    """Return a text without white space and what is invisible at both ends."""
    if value.isascii():
        return value.strip(whitespace)
    value = _BLANK_START.sub("", value)
    end = len(_BLANK_START.sub("", value[::-1]))
    selectors = _SELECTORS.match(value, end)
    return value[: selectors.end() if selectors else end]

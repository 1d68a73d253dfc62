"""Cursors: where a page begins, bound to the list, the filters and the sort that it is of."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Request

from vibetracker.core.http.problems import invalid

UNBOUND = {"cursor", "fields", "include", "limit", "include_total", "sort"}
"""Parameters that may differ between the pages of a list; the sort is bound by what it means."""


@dataclass(frozen=True)
class Binding:
    """The list and the query that the cursors of a request are bound to."""

    path: str
    query: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, request: Request) -> "Binding":
        """Bind cursors to a request."""
        return cls(request.scope["path"], tuple(request.query_params.multi_items()))

    def digest(self, sort: str, payload: bytes) -> bytes:
        """Return what a cursor carries so that it is refused anywhere else."""
        bound = [pair for pair in self.query if pair[0] not in UNBOUND]
        data = json.dumps([self.path, sorted(bound), sort]).encode() + payload
        return blake2b(data, digest_size=9, person=b"vibetracker").digest()

    def link(self, cursor: str, parameter: str = "cursor") -> str:
        """Return the ``Link`` field value that leads to the next page (RFC 8288)."""
        query = [pair for pair in self.query if pair[0] != parameter]
        return f'<{self.path}?{urlencode([*query, (parameter, cursor)])}>; rel="next"'

    def encode(self, sort: str, values: Sequence[Any]) -> str:
        """Return the cursor of the page that begins after a row with these sort values."""
        payload = json.dumps(values, separators=(",", ":"), default=_tagged).encode()
        return urlsafe_b64encode(self.digest(sort, payload) + payload).decode().rstrip("=")

    def decode(self, sort: str, cursor: str) -> list[Any]:
        """Return the sort values of a cursor; ``ValidationFailed`` for one made elsewhere."""
        try:
            data = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        except ValueError:
            data = b""
        # The comparison with its own encoding refuses spellings that the decoder reads leniently.
        if (
            self.digest(sort, data[9:]) != data[:9]
            or urlsafe_b64encode(data).decode().rstrip("=") != cursor
        ):
            raise invalid(
                "Not a cursor of this list with these filters and this sort; begin without one",
                code="cursor",
                parameter="cursor",
            )
        return [_untagged(value) for value in json.loads(data[9:])]


def _tagged(value: object) -> dict[str, Any]:
    match value:
        case datetime():
            return {"t": value.isoformat()}
        case date():
            return {"d": value.isoformat()}
        case time():
            return {"c": value.isoformat()}
        case Decimal():
            return {"n": str(value)}
        case UUID():
            return {"u": value.hex}
        case timedelta():
            return {"l": [value.days, value.seconds, value.microseconds]}
    raise TypeError(f"a list cannot be sorted by a {type(value).__name__}")


_READERS: dict[str, Callable[[Any], Any]] = {
    "t": lambda text: datetime.fromisoformat(text).astimezone(UTC),
    "d": date.fromisoformat,
    "c": time.fromisoformat,
    "n": Decimal,
    "u": UUID,
    "l": lambda parts: timedelta(*parts),
}


def _untagged(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    ((tag, text),) = value.items()
    return _READERS[tag](text)

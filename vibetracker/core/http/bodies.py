"""The body of a request: bounded in size and time, and JSON by RFC 8259 and nothing looser."""

import asyncio
import json
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, override

from starlette.requests import Request

from vibetracker.core.config import Settings
from vibetracker.core.http.faults import Fault, pointer_to
from vibetracker.core.http.problems import (
    ContentTooLarge,
    MalformedRequest,
    RequestTimeout,
    ValidationFailed,
)


class Uploads:
    """The bodies that are arriving: each has ``BODY_TIMEOUT``, and there are ``MAX_UPLOADS``."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._arriving: dict[object, asyncio.Timeout] = {}
        """The oldest first."""

    async def receive(
        self, request: Request, max_size: int, write: Callable[[bytes], object]
    ) -> int:
        """Write a body as it arrives, and return its size.

        Raises ``ContentTooLarge`` and ``RequestTimeout``.
        """
        declared = request.headers.get("content-length", "0")
        if declared.isascii() and declared.isdigit() and int(declared[:20]) > max_size:
            raise _too_large(max_size)
        if "transfer-encoding" not in request.headers and declared == "0":
            return 0
        size = 0
        # As many times longer as it may be larger.
        async with self._within(max(1, max_size / self._settings.max_body_size)):
            async for chunk in request.stream():
                size += len(chunk)
                if size > max_size:
                    raise _too_large(max_size)
                write(chunk)
        return size

    @asynccontextmanager
    async def _within(self, times: float) -> AsyncIterator[None]:
        this = object()
        try:
            async with asyncio.timeout(times * self._settings.body_timeout) as deadline:
                self._arriving[this] = deadline
                if len(self._arriving) > self._settings.max_uploads:
                    oldest = self._arriving.pop(next(iter(self._arriving)))
                    if not oldest.expired():
                        oldest.reschedule(0)
                try:
                    yield
                finally:
                    self._arriving.pop(this, None)
        except TimeoutError:
            raise RequestTimeout(
                "The body did not arrive in time", headers={"Connection": "close"}
            ) from None


def _too_large(max_size: int) -> ContentTooLarge:
    return ContentTooLarge(f"A body has at most {max_size} bytes")


class StrictRequest(Request):
    """A request whose body has been received, and is in its state.

    Its JSON says one thing: no constants, and no member that is repeated.
    """

    @override
    async def body(self) -> bytes:
        body: bytes = self.state.body
        return body

    @override
    async def stream(self) -> AsyncGenerator[bytes, None]:
        yield await self.body()
        yield b""

    @override
    async def json(self) -> Any:
        return parse_json(await self.body())


def parse_json(body: bytes) -> Any:
    """Parse JSON; raises ``MalformedRequest``, and ``ValidationFailed`` for repeated members."""
    ambiguous: list[_Ambiguous] = []

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            result = _Ambiguous(pairs)
            ambiguous.append(result)
        return result

    try:
        # A byte order mark before it may be ignored (RFC 8259 section 8.1).
        value = json.loads(
            body.removeprefix(BOM_UTF8).decode(),
            parse_constant=_refuse_constant,
            object_pairs_hook=members,
        )
        faults = list(_doubled(value)) if ambiguous else []
    except (ValueError, RecursionError):
        raise MalformedRequest(
            "The body is not JSON in UTF-8, or nested or long beyond reason"
        ) from None
    if faults:
        raise ValidationFailed("The body gives a member twice", errors=faults)
    return value


class _Ambiguous(dict[str, Any]):
    """An object with repeated members, of which a dict has the last ones."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        counts = Counter(name for name, _ in pairs)
        self.doubled = [name for name, count in counts.items() if count > 1]


def _doubled(value: object, *steps: object) -> Iterator[Fault]:
    if isinstance(value, _Ambiguous):
        for name in value.doubled:
            detail = "This member can be given once"
            yield Fault(pointer=pointer_to(*steps, name), code="repeated", detail=detail)
    if isinstance(value, dict):
        for name, member in value.items():
            yield from _doubled(member, *steps, name)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _doubled(item, *steps, index)


def _refuse_constant(name: str) -> None:
    raise ValueError(name)

"""The body of a request: bounded in size and time, and JSON by RFC 8259 and nothing looser."""

import asyncio
import json
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any, override

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

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
        self._timeout = settings.body_timeout
        self._most = settings.max_uploads
        self._arriving: dict[object, asyncio.Timeout] = {}
        """The oldest first."""

    @asynccontextmanager
    async def arriving(self) -> AsyncIterator[None]:
        """Bound the time of what is received meanwhile; raises ``RequestTimeout``."""
        this = object()
        try:
            async with asyncio.timeout(self._timeout) as deadline:
                self._arriving[this] = deadline
                if len(self._arriving) > self._most:
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


class StrictRequest(Request):
    """A request whose body is bounded, and whose JSON says one thing.

    JSON constants and members that are given twice are refused. A body larger than ``max_size``
    bytes raises ``ContentTooLarge``.
    """

    def __init__(self, request: Request, max_size: int) -> None:
        super().__init__(request.scope, self._receive_bounded)
        self._unbounded = request.receive
        self._max_size = max_size
        self._size = 0
        self._is_form = False
        self.digest = sha256()
        """Of the bytes of the body that have arrived."""

    @property
    def has_body(self) -> bool:
        """Whether there is a body of at least a byte, or one of unknown length."""
        length = self.headers.get("content-length")
        return "transfer-encoding" in self.headers if length is None else length != "0"

    @property
    def is_sized(self) -> bool:
        """Whether the length of the body is known before it is received."""
        return "content-length" in self.headers

    def check_size(self) -> None:
        """Refuse a body that is announced as too large, before it is received."""
        declared = self.headers.get("content-length", "0")
        if declared.isascii() and declared.isdigit() and int(declared[:20]) > self._max_size:
            raise self._too_large()

    async def receive_all(self, *, is_form: bool) -> None:
        """Receive the body, and keep it for whoever reads it later, any number of times."""
        uploads: Uploads = self.app.state.uploads
        async with uploads.arriving():
            self._is_form = is_form
            if not is_form:
                await self.body()
                return
            try:
                await self.form()
            except HTTPException as error:
                if error.status_code != MalformedRequest.status:
                    raise
                raise MalformedRequest(error.detail) from None

    async def rewind(self) -> None:
        """Let files that were uploaded be read from their beginning again."""
        if self._is_form:
            for value in (await self.form()).values():
                if isinstance(value, UploadFile):
                    await value.seek(0)

    async def _receive_bounded(self) -> Message:
        message = await self._unbounded()
        chunk = message.get("body", b"")
        self._size += len(chunk)
        if self._size > self._max_size:
            raise self._too_large()
        self.digest.update(chunk)
        return message

    def _too_large(self) -> ContentTooLarge:
        return ContentTooLarge(f"A body has at most {self._max_size} bytes")

    @override
    async def json(self) -> Any:
        body = await self.body()
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
    """An object that gave members more than once, of which a dict keeps the last."""

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

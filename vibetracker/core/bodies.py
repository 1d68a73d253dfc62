"""The body of a request: JSON by RFC 8259 and nothing looser, in UTF-8."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, override

from starlette.requests import Request

from vibetracker.core.problems import Fault, MalformedRequest, ValidationFailed, pointer_to


class StrictRequest(Request):
    """A request whose JSON says one thing: no constants, and no member given twice."""

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
            value = json.loads(
                body.decode(), parse_constant=_refuse_constant, object_pairs_hook=members
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

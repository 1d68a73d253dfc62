"""What Schemathesis has to know beyond the document; it loads this file by its path."""

from datetime import UTC, datetime
from itertools import count
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis import Case, HookContext, Response
from schemathesis.core.failures import Failure

from vibetracker.core.api.text import trimmed

FIRST = datetime(1900, 1, 2)  # noqa: DTZ001 - strategies take naive bounds
LAST = datetime(9998, 12, 30)  # noqa: DTZ001 - likewise

BEYOND_SCHEMAS = {
    # Two members, or a member and what is stored, do not go together.
    "never_again",
    "no_due",
    "not_done",
    "start_after_due",
    "task_not_open",
    "two_dues",
    "two_parents",
    # A name or an id means nothing here.
    "cursor",
    "not_a_sibling",
    "not_another_tag",
    "not_the_parents_project",
    "ref_twice",
    "time_zone",
    "too_deep",
    "unknown_parent",
    "unknown_project",
    "unknown_ref",
    "unknown_tag",
    "unknown_task",
    # No pattern has all marks.
    "text_invisible",
    # No pattern counts, or knows which parts of a rule go together.
    "recurrence_rule",
    "sort_key_twice",
}
"""Rules that no schema can state, so that a request may fit its schema and break them."""

FILES = {"/transfer/import"}
"""What takes files: the document has their media types, and nothing of what has to be in them."""

moments = st.datetimes(FIRST, LAST, timezones=st.just(UTC))
schemathesis.openapi.format("date-time", moments.map(datetime.isoformat))
schemathesis.openapi.format("date", moments.map(lambda moment: moment.date().isoformat()))

numbers = count()


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:  # noqa: ARG001 - the hook's signature
    """Let the key of a request that fits its schema not be what it is refused for.

    The same keys are drawn again and again, and stand for another request then. And nothing waits
    for changes that nobody makes.
    """
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if case.query and "wait" in case.query:
        case.query["wait"] = 0
    if case.headers and "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = f"{case.headers['Idempotency-Key'][:200]}{next(numbers)}"


@schemathesis.hook
def filter_failure(
    context: HookContext,  # noqa: ARG001 - the hook's signature
    failure: Failure,
    case: Case[Any],
    response: Response,
) -> bool:
    """Let a request that fits its schema be refused for a rule that no schema can express.

    And one be accepted whose text is too long only before the white space around it is trimmed,
    and an answer lack what ``fields`` leaves out.
    """
    if failure.kind_title == "Response violates schema" and "fields" in (case.query or {}):
        return False
    if failure.kind_title == "Schema-violating request accepted" and _is_padded(case.body):
        return False
    if failure.kind_title == "Schema-valid request rejected" and case.operation.path in FILES:
        return response.status_code not in {400, 415, 422}
    if failure.kind_title != "Schema-valid request rejected" or response.status_code != 422:
        return True
    broken = {fault["code"] for fault in response.json().get("errors", ())}
    return not broken or not broken <= BEYOND_SCHEMAS


def _is_padded(value: object) -> bool:
    """Return whether a text in a body has something around it that is trimmed."""
    if isinstance(value, dict):
        return any(map(_is_padded, value.values()))
    if isinstance(value, list):
        return any(map(_is_padded, value))
    return isinstance(value, str) and value != trimmed(value)

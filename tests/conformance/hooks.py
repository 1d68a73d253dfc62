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
    # Two members, or a member and a stored value, exclude each other.
    "never_again",
    "no_due",
    "not_done",
    "start_after_due",
    "task_not_open",
    "two_dues",
    "two_parents",
    # A value refers to something that does not exist, or not there.
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
    # No pattern can list every invisible character.
    "text_invisible",
    # No pattern can count, or tell which parts of a rule exclude each other.
    "recurrence_rule",
    "sort_key_twice",
}
"""Rules that no schema can state, so that a request may fit its schema and break them."""

FILES = {"/transfer/import"}
"""Operations that take files: the document has their media types, but no schema of them."""

moments = st.datetimes(FIRST, LAST, timezones=st.just(UTC))
schemathesis.openapi.format("date-time", moments.map(datetime.isoformat))
schemathesis.openapi.format("date", moments.map(lambda moment: moment.date().isoformat()))

numbers = count()


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:  # noqa: ARG001 - the hook's signature
    """Make the ``Idempotency-Key`` of each valid request unique, and do not wait for changes.

    The same keys are drawn again and again for different requests, which would be refused; and
    nobody makes the changes that a request would wait for.
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
    """Return whether a failure is one: not where a rule that no schema can express was broken.

    Nor where a text was too long only before it was trimmed, or a response lacks the members that
    ``fields`` leaves out.
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
    """Return whether a body has a text that is trimmed."""
    if isinstance(value, dict):
        return any(map(_is_padded, value.values()))
    if isinstance(value, list):
        return any(map(_is_padded, value))
    return isinstance(value, str) and value != trimmed(value)

"""How recurrences are exported and imported; the feature of transfers finds it by its name."""

import re
from datetime import datetime
from typing import Annotated

from pydantic import MISSING, AfterValidator, Field
from pydantic_core import PydanticCustomError

from vibetracker.core.api.schema import MAX_ID, WHOLE, Id, Timestamp
from vibetracker.features.tasks.model import Task

from .model import LAST_NUMBER
from .schema import RecurrenceCreate, TimeZone

REFERENCES = {"previous_task_id": Task.__tablename__}
LASTING = {"previous_task_id"}

LOCAL = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d{6})?)?", re.ASCII)


def _anchor(text: str) -> str:
    try:
        # Without the pattern it would read an offset too, and other spellings.
        if LOCAL.fullmatch(text):
            datetime.fromisoformat(text)
            return text
    except ValueError:
        pass
    raise PydanticCustomError("anchor", "Expected a date, or a date and a time of day without zone")


Anchor = Annotated[str, AfterValidator(_anchor)]


class RecurrenceRecord(RecurrenceCreate):
    """What is stored of a recurrence."""

    id: Id
    time_zone: TimeZone
    anchor: Anchor
    number: Annotated[int, Field(ge=1, le=LAST_NUMBER), WHOLE] = 1
    previous_task_id: Id | None = None
    created_at: Timestamp | MISSING = MISSING
    updated_at: Timestamp | MISSING = MISSING
    version: Annotated[int, Field(ge=1, le=MAX_ID), WHOLE] | MISSING = MISSING

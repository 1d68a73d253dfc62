"""A record as the schema of its collection has it.

Of what other programs store, texts can be too long for this service, and years too distant.
"""

from collections.abc import Callable, Sequence

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from vibetracker.core.http.faults import faults
from vibetracker.core.http.problems import ValidationFailed

from .collection import Collection
from .records import LeftOut, Record, Values

ROUNDS = 3
"""How often a record is validated: what is wrong inside of a list shows once its length is right.
"""

type Report = Callable[[LeftOut], None]


def validated(
    record: Record, collection: Collection, ids: Values, report: Report = lambda _: None
) -> BaseModel:
    """Validate a record, with other ids; a problem with pointers into the record.

    What is too much of one from another program is left out, and reported.
    """
    fields = collection.record.model_fields
    values = {name: value for name, value in record.values.items() if name in fields}
    found: Sequence[ErrorDetails] = ()
    for _ in range(ROUNDS):
        try:
            return collection.record.model_validate({**values, **ids}, by_name=True)
        except ValidationError as error:
            found = error.errors()
        told = _fit(values, found, record) if record.is_foreign else []
        if not told:
            break
        for left_out in told:
            report(left_out)
    located = ({**it, "loc": ("body", *it["loc"])} for it in found)
    raise ValidationFailed("", errors=faults(located, values))


def _fit(values: Values, errors: Sequence[ErrorDetails], record: Record) -> list[LeftOut]:
    """Leave out what is too much; returns what that is, and nothing if something else is wrong."""
    told = []
    for error in errors:
        most = error.get("ctx", {}).get("max_length")
        detail = f"What is behind the first {most} is left out"
        match error["type"], error["loc"]:
            case "string_too_long" | "too_long", (str(member),):
                values[member] = values[member][:most]
            case "string_too_long", (str(member), int(index)):
                items = values[member] = [*values[member]]
                items[index] = items[index][:most]
            case "year_out_of_range", (str(member),):
                del values[member]
                detail = f"{error['msg']}; it is left out"
            case _:
                return []
        place = record.place.of(*error["loc"])
        told.append(LeftOut(place, error["type"], f"{place.names.get(member, member)}: {detail}"))
    return told

"""Broken rules of a request: where each is, and what is wrong there."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, TypedDict

from pydantic import Field, with_config


class Place(TypedDict, total=False):
    """Where a rule is broken: one of them, or in a file of JSON a line and a pointer."""

    pointer: Annotated[
        str,
        Field(description="RFC 6901 pointer into the request body; the empty string is all of it."),
    ]
    parameter: Annotated[str, Field(description="Name of the path or query parameter.")]
    header: Annotated[str, Field(description="Name of the header field.")]
    line: Annotated[int, Field(description="Line of the file; the first is 1.")]


@with_config(extra="ignore")
class Fault(Place):
    """One broken rule of a request."""

    code: Annotated[str, Field(description="Stable, machine-readable name of the rule.")]
    detail: Annotated[str, Field(description="What is wrong and what is expected, for people.")]


def pointer_to(*steps: object) -> str:
    """Write an RFC 6901 JSON pointer."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in steps)


def faults(errors: Iterable[Mapping[str, Any]], body: object = None) -> list[Fault]:
    """Translate Pydantic's errors, leaving out the input that they carry.

    Pydantic's locations also name the members of unions; a pointer into the ``body`` does not.
    Those that a handler has raised begin wherever it likes, and are taken for ones in the body.
    """
    result: list[Fault] = []
    for error in errors:
        place, *steps = error.get("loc") or ("body",)
        if place not in {"body", "header", "path", "query", "cookie"}:
            place, steps = "body", [place, *steps]
        code = error.get("type", "value_error")
        detail = str(error.get("msg", "Not valid")).removeprefix("Value error, ")
        if code == "extra_forbidden":
            detail = "Unknown or read-only; nothing that is sent is ignored"
        elif code == "union_tag_invalid":
            # The only message of Pydantic's that quotes what was sent.
            detail = f"Expected one of {error['ctx']['expected_tags']}"
            steps.append(error["ctx"]["discriminator"].strip("'"))
        elif code == "union_tag_not_found":
            code, detail = "missing", "Field required"
            steps.append(error["ctx"]["discriminator"].strip("'"))
        fault = Fault(code=code, detail=detail)
        if place == "body" or not steps:
            fault["pointer"] = pointer_to(*(steps if body is None else _path(steps, body)))
        elif place == "header":
            fault["header"] = str(steps[0])
        else:
            fault["parameter"] = str(steps[0])
        result.append(fault)
    return result


def _path(steps: Sequence[int | str], body: object) -> list[int | str]:
    path: list[int | str] = []
    here = body
    for index, step in enumerate(steps):
        if isinstance(here, Mapping) and isinstance(step, str):
            if step not in here and index < len(steps) - 1:
                continue
            here = here.get(step)
        elif isinstance(here, list) and isinstance(step, int) and step < len(here):
            here = here[step]
        else:
            break
        path.append(step)
    return path

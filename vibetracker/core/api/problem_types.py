"""The operations that belong to no feature: the explanations of the problem types."""

from http import HTTPStatus
from inspect import cleandoc
from typing import Annotated

from fastapi import Path
from pydantic import Field

from vibetracker.core.api.routing import Router
from vibetracker.core.api.schema import Output
from vibetracker.core.http.problems import PROBLEMS_PATH, NotFound, Problem

router = Router(PROBLEMS_PATH, description="What the problem types of error responses mean.")


class ProblemTypeRead(Output):
    """A kind of problem, explained."""

    type: str = Field(
        description="As in the `type` of an error response.",
        examples=[f"{PROBLEMS_PATH}/not-found"],
    )
    title: str = Field(
        description="The kind in a few words, the same in every response.",
        examples=[NotFound.title],
    )
    status: int = Field(
        description="The HTTP status code of its responses.", examples=[NotFound.status.value]
    )
    description: str = Field(
        description="What it means and what to do, in Markdown.", examples=[NotFound.__doc__]
    )


class ProblemTypes(Output):
    """All kinds of problems."""

    items: list[ProblemTypeRead] = Field(description="Each kind, by its `type`.")


def _explain(problem: type[Problem]) -> ProblemTypeRead:
    return ProblemTypeRead(
        type=f"{PROBLEMS_PATH}/{problem.slug}",
        title=problem.title,
        status=HTTPStatus(problem.status).value,
        description=cleandoc(problem.__doc__ or ""),
    )


@router.get("")
def list_problem_types() -> ProblemTypes:
    """List every problem type that an error response can have.

    All at once and in no pages; features may add to them.
    """
    return ProblemTypes(items=[_explain(problem) for _, problem in sorted(Problem.types.items())])


@router.get("/{slug}")
def get_problem_type(
    slug: Annotated[
        str,
        Path(
            description="The last part of the problem's `type`: lower-case letters and hyphens.",
            examples=[NotFound.slug],
        ),
    ],
) -> ProblemTypeRead:
    """Explain one problem type: what it means, and what to do.

    It answers at the very path that is the `type` of an error response.
    """
    if slug not in Problem.types:
        raise NotFound("There is no such problem type")
    return _explain(Problem.types[slug])

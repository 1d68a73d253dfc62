"""The greeting operations."""

from typing import Annotated, Any

from fastapi import Path

from vibetracker.core.api.preconditions import read
from vibetracker.core.api.routing import Router
from vibetracker.core.api.schema import Input, Output, UrlId
from vibetracker.core.api.session import SessionDep
from vibetracker.core.api.text import Line

from .model import Greeting

router = Router("/greetings", description="Words to say hello with.")


class GreetingCreate(Input):
    """A new greeting."""

    text: Annotated[str, Line(100)]


class GreetingRead(Output):
    """A greeting."""

    id: int
    text: str
    version: int


@router.post("", status_code=201, response_model=GreetingRead)
def create_greeting(session: SessionDep, data: GreetingCreate) -> Greeting:
    """Create a greeting."""
    greeting = Greeting(**data.model_dump())
    session.add(greeting)
    return greeting


@router.get("/{greeting_id}", response_model=GreetingRead)
def get_greeting(
    session: SessionDep, greeting_id: Annotated[UrlId, Path(description="The greeting's id.")]
) -> dict[str, Any]:
    """Get a greeting."""
    return read(session, GreetingRead, Greeting, greeting_id)

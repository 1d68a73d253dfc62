"""The helpers of ``vibetracker.testing``, which the other tests rely on."""

from threading import get_ident

import pytest

from vibetracker.core.api.routing import Router, raising
from vibetracker.core.api.schema import Output
from vibetracker.core.app import create_app
from vibetracker.core.config import Settings
from vibetracker.core.discovery import Feature
from vibetracker.core.http.problems import Gone
from vibetracker.testing import Client, at_once

router = Router("/surprises", description="Answers that are not, and that are documented.")


class Surprise(Output):
    """Nothing."""


@router.get("")
def list_surprises() -> Surprise:
    """Respond with a problem that is not documented."""
    raise Gone("Surprise")


@router.get("/{name}", responses=raising(Gone))
def get_surprise(name: str) -> Surprise:
    """Respond with a problem that is documented."""
    raise Gone(name)


def test_a_response_that_is_not_documented_fails_the_test_that_got_it() -> None:
    settings = Settings(database_url="sqlite://", _env_file=None)
    app = create_app(settings, features=[Feature("surprises", "tests", router)])
    with Client(app) as client:
        with pytest.raises(AssertionError, match=r"^list_surprises does not document .*410"):
            client.get("/surprises")
        assert client.get("/surprises/x").status_code == 410
        assert client.get("/nowhere").status_code == 404


def test_threads_that_begin_at_once_are_different_ones() -> None:
    assert len(set(at_once(lambda _: get_ident(), workers=5))) == 5
    assert at_once(lambda number: number**2, workers=4) == [0, 1, 4, 9]

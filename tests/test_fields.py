"""``fields``, in every operation that answers a GET with a resource or with a page of them."""

from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from vibetracker.core.db.database import Database

from .operations import operations
from .test_examples import populate


def shown(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the resources of a response."""
    items: list[dict[str, Any]] = content["items"] if "next_cursor" in content else [content]
    return items


def test_a_response_has_the_members_that_are_asked_for(
    client: TestClient, app: FastAPI, database: Database, subtests: pytest.Subtests
) -> None:
    populate(app, database)
    taking = [it for it in operations(app) if "fields" in it.parameters("query")]
    assert taking
    for operation in taking:
        url = operation.path
        for parameter in operation.spec["parameters"]:
            if parameter["in"] == "path":
                url = url.replace(f"{{{parameter['name']}}}", str(parameter["example"]))
        whole = shown(client.get(url).json())
        with subtests.test(operation=str(operation)):
            for names in ({"version"}, {"id", "version"}, *map(set, whole[:1])):
                answer = client.get(url, params={"fields": ",".join(names)})
                expected = [{name: one[name] for name in names} for one in whole]
                assert shown(answer.json()) == expected
                assert "etag" not in answer.headers
            assert client.get(url, params={"fields": "id,colour"}).status_code == 422
            assert client.get(url, params={"fields": ""}).status_code == 422

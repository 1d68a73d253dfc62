"""What all writes of tasks have in common: dry runs, preconditions, one version each."""

import pytest
from starlette.testclient import TestClient

from .calls import Json, everything
from .factory import TaskFactory

type Write = tuple[str, str, Json | None]

CREATE: Write = ("POST", "/tasks", {"title": "new", "tags": ["new"]})
ON_LIVE: list[Write] = [
    ("PATCH", "/tasks/2", {"title": "other", "tags": ["new"], "status": "done"}),
    ("PATCH", "/tasks/2", {"parent_id": 1}),
    ("POST", "/tasks/2/move", {"to": "first"}),
    ("POST", "/tasks/2/move", {"to": "last", "parent_id": 1}),
    ("DELETE", "/tasks/2", None),
    ("DELETE", "/tasks/2?permanent=true", None),
]
ON_TRASHED: list[Write] = [
    ("POST", "/tasks/3/restore", None),
    ("DELETE", "/tasks/3?permanent=true", None),
]
ON_ONE = [*ON_LIVE, *ON_TRASHED]


@pytest.fixture(autouse=True)
def tasks(client: TestClient) -> None:  # noqa: ARG001 - it prepares the database
    """Create the tasks 1, 2, and 3, the last one in the trash."""
    TaskFactory.create_batch(2)
    TaskFactory.create(trashed=True)


@pytest.mark.parametrize("write", [CREATE, *ON_ONE])
def test_a_dry_run_responds_the_same_and_commits_nothing(client: TestClient, write: Write) -> None:
    method, path, body = write
    before = everything(client)
    dry_path = f"{path}{'&' if '?' in path else '?'}dry_run=true"
    dry = client.request(method, dry_path, json=body)
    assert dry.status_code == (204 if method == "DELETE" else 200), dry.text
    assert not {"etag", "location"} & dry.headers.keys()
    assert everything(client) == before
    real = client.request(method, path, json=body)
    assert real.is_success
    assert everything(client) != before
    if method == "DELETE":
        assert dry.content == real.content == b""
    else:
        assert real.headers["etag"] == f'"{real.json()["version"]}"'
        told, is_so = dry.json(), real.json()
        # A sequence of PostgreSQL does not reuse an id, even of a transaction that is rolled back.
        assert told.pop("id") <= is_so.pop("id")
        for moment in ("created_at", "updated_at", "started_at", "completed_at"):
            assert (told.pop(moment) is None) == (is_so.pop(moment) is None)
        assert told == is_so


@pytest.mark.parametrize(
    "write",
    [
        *(CREATE, ON_LIVE[0], ON_LIVE[2], ON_LIVE[4]),
        *(
            pytest.param(write, marks=pytest.mark.slow)
            for write in (ON_LIVE[1], ON_LIVE[3], ON_LIVE[5], *ON_TRASHED)
        ),
    ],
)
def test_dry_run_false_is_the_write_itself(client: TestClient, write: Write) -> None:
    method, path, body = write
    before = everything(client)
    answer = client.request(method, f"{path}{'&' if '?' in path else '?'}dry_run=false", json=body)
    assert answer.status_code == {"POST": 201 if path == "/tasks" else 200, "DELETE": 204}.get(
        method, 200
    )
    assert everything(client) != before


@pytest.mark.parametrize("write", ON_ONE)
def test_a_write_requires_the_version_that_if_match_names(client: TestClient, write: Write) -> None:
    method, path, body = write
    before = everything(client)
    answer = client.request(method, path, json=body, headers={"If-Match": '"2"'})
    assert answer.status_code == 412
    assert answer.headers["etag"] == '"1"'
    assert answer.json()["type"] == "/problems/precondition-failed"
    assert everything(client) == before
    answer = client.request(method, path, json=body, headers={"If-Match": '"7", "1"'})
    assert answer.is_success, answer.text
    assert everything(client) != before


@pytest.mark.parametrize("write", ON_LIVE)
def test_a_dry_run_has_preconditions_too(client: TestClient, write: Write) -> None:
    method, path, body = write
    path = f"{path}{'&' if '?' in path else '?'}dry_run=true"
    answer = client.request(method, path, json=body, headers={"If-Match": '"2"'})
    assert answer.status_code == 412


@pytest.mark.parametrize("write", ON_LIVE)
def test_one_write_is_one_version(client: TestClient, write: Write) -> None:
    method, path, body = write
    answer = client.request(method, path, json=body)
    assert answer.is_success
    versions = {task["id"]: task["version"] for task in everything(client)[0]}
    purged = "permanent" in path
    assert versions == {1: 1, 3: 1} if purged else {1: 1, 2: 2, 3: 1}


def test_a_get_with_the_current_version_is_not_modified(client: TestClient) -> None:
    fresh = client.get("/tasks/2", headers={"If-None-Match": '"1"'})
    assert fresh.status_code == 304
    assert fresh.headers["etag"] == '"1"'
    client.patch("/tasks/2", json={"title": "other"})
    assert client.get("/tasks/2", headers={"If-None-Match": '"1"'}).status_code == 200
    assert client.get("/tasks/2", headers={"If-None-Match": 'W/"2"'}).status_code == 304

"""Requests at the same time, on PostgreSQL or on a file of SQLite."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from random import Random
from threading import Barrier

import pytest
from fastapi import FastAPI
from httpx2 import Response
from starlette.testclient import TestClient

from vibetracker.core.api.session import get_database
from vibetracker.core.config import Settings
from vibetracker.core.db.database import Database
from vibetracker.features.projects.tests.factory import ProjectFactory
from vibetracker.features.tags.tests.factory import TagFactory
from vibetracker.testing import Factory

from .calls import Json, change, ids, make, read, walk
from .factory import TaskFactory

ROUNDS = 2


@pytest.fixture
def client(
    session_client: TestClient, app: FastAPI, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[TestClient]:
    """Yield a client whose requests are concurrent in the database, as they cannot be in memory."""
    if request.config.getoption("postgres"):
        request.getfixturevalue("database")
        yield session_client
        return
    database = Database(Settings(database_url=f"sqlite:///{tmp_path / 'tasks.db'}", _env_file=None))
    database.prepare()
    app.dependency_overrides[get_database] = lambda: database
    Factory.database = database
    yield session_client
    app.dependency_overrides.clear()
    database.dispose()


def at_once(*requests: Callable[[], Response]) -> list[Response]:
    """Send requests together, and return their responses in the same order."""
    start = Barrier(len(requests))

    def send(request: Callable[[], Response]) -> Response:
        start.wait(10)
        return request()

    with ThreadPoolExecutor(len(requests)) as threads:
        return [*threads.map(send, requests)]


def patching(
    client: TestClient, task_id: int, *, version: int = 0, **fields: object
) -> Callable[[], Response]:
    headers = {"If-Match": f'"{version}"'} if version else {}
    return partial(client.patch, f"/tasks/{task_id}", json=fields, headers=headers)


def statuses(answers: list[Response]) -> list[int]:
    return sorted(answer.status_code for answer in answers)


def test_sixteen_requests_create_the_same_new_tags_and_share_them(client: TestClient) -> None:
    random = Random(7)  # noqa: S311 - any order will do
    names = [f"tag {n:02}" for n in range(20)]

    def creating() -> Callable[[], Response]:
        tags = random.sample([random.choice([name, name.upper()]) for name in names], 20)
        return partial(client.post, "/tasks", json={"title": "x", "tags": tags})

    answers = at_once(*(creating() for _ in range(16)))
    assert statuses(answers) == [201] * 16
    tags = [tag["name"] for tag in walk(client, "/tags")]
    assert [name.lower() for name in tags] == names
    assert {tuple(task["tags"]) for task in walk(client)} == {tuple(tags)}


@pytest.mark.parametrize(
    "kind", ["root", *(pytest.param(it, marks=pytest.mark.slow) for it in ("child", "batch"))]
)
def test_tasks_created_at_once_have_places_of_their_own(client: TestClient, kind: str) -> None:
    parent = {"parent_id": make(client)["id"]} if kind == "child" else {}

    def create(number: int) -> Response:
        data: list[Json] = [{"title": f"{number} {it}", **parent} for it in range(3)]
        if kind != "batch":
            return client.post("/tasks", json=data[0])
        return client.post(
            "/tasks/batch", json={"operations": [{"op": "create", "data": it} for it in data]}
        )

    answers = at_once(*[partial(create, number) for number in range(16)])
    assert {answer.is_success for answer in answers} == {True}
    places = [task["position"] for task in walk(client, is_subtask=kind == "child")]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("length", [2, 3])
@pytest.mark.parametrize("move", [False, True])
def test_tasks_put_under_each_other_at_once_make_no_cycle(
    client: TestClient, length: int, *, move: bool
) -> None:
    for _ in range(ROUNDS):
        tasks = [task.id for task in TaskFactory.create_batch(length)]
        ring = [*zip(tasks, [*tasks[1:], tasks[0]], strict=True)]

        def moving(task_id: int, parent_id: int) -> Callable[[], Response]:
            if not move:
                return patching(client, task_id, parent_id=parent_id)
            body = {"to": "first", "parent_id": parent_id}
            return partial(client.post, f"/tasks/{task_id}/move", json=body)

        answers = at_once(*(moving(*pair) for pair in ring))
        assert statuses(answers) == [*[200] * (length - 1), 409]
        parents = {task["id"]: task["parent_id"] for task in walk(client, id=tasks)}
        assert list(parents.values()).count(None) == 1


def test_chains_joined_at_once_are_at_most_eight_levels_deep(client: TestClient) -> None:
    """Each of the two fits by itself."""
    top, middle, low = (TaskFactory.create_batch(3) for _ in range(3))
    for chain in (top, middle, low):
        for upper, lower in ((chain[0], chain[1]), (chain[1], chain[2])):
            patching(client, lower.id, parent_id=upper.id)()
    answers = at_once(
        patching(client, middle[0].id, parent_id=top[2].id),
        patching(client, low[0].id, parent_id=middle[2].id),
    )
    assert statuses(answers) == [200, 422]


def test_of_writes_with_one_version_exactly_one_succeeds(client: TestClient) -> None:
    task = make(client)
    answers = at_once(
        *(patching(client, task["id"], version=1, title=f"title {n}") for n in range(8))
    )
    assert statuses(answers) == [200, *[412] * 7]
    (winner,) = (answer.json() for answer in answers if answer.is_success)
    assert read(client, task["id"]) == winner
    assert winner["version"] == 2
    assert {answer.headers["etag"] for answer in answers} == {'"2"'}


def test_changes_of_different_fields_all_survive(client: TestClient) -> None:
    task = make(client)
    changes: Json = {
        "title": "other",
        "description": "text",
        "priority": "high",
        "status": "done",
        "due_on": "2030-01-01",
        "tags": ["home"],
        "start_at": "2029-01-01T00:00:00Z",
    }
    answers = at_once(
        *(patching(client, task["id"], **{name: value}) for name, value in changes.items())
    )
    assert statuses(answers) == [200] * len(changes)
    after = read(client, task["id"])
    assert {name: after[name] for name in changes} == changes
    assert sorted(answer.json()["version"] for answer in answers) == [*range(2, 9)]
    assert ids(client, q="other text") == [task["id"]]


def test_nothing_live_is_left_below_the_trash(client: TestClient) -> None:
    for _ in range(4):
        parent, stray = (TaskFactory.create().id for _ in range(2))
        body = {"title": "x", "parent_id": parent}
        answers = at_once(
            partial(client.delete, f"/tasks/{parent}"),
            partial(client.post, "/tasks", json=body),
            patching(client, stray, parent_id=parent),
        )
        assert answers[0].status_code == 204
        assert {answer.status_code for answer in answers[1:]} <= {200, 201, 422}
        assert ids(client, parent_id=parent) == []


def test_tasks_moved_to_one_place_at_once_are_all_there(client: TestClient) -> None:
    anchor, *others = (task.id for task in TaskFactory.create_batch(9))
    place = {"before_id": anchor}
    answers = at_once(
        *(partial(client.post, f"/tasks/{task_id}/move", json=place) for task_id in others)
    )
    assert statuses(answers) == [200] * 8
    tasks = walk(client, sort="position")
    assert tasks[-1]["id"] == anchor
    assert len({task["position"] for task in tasks}) == 9


def test_tags_can_change_while_they_are_put_on_tasks(client: TestClient) -> None:
    """There is no deadlock, and every task that has the tag shows its last name."""
    tags = [TagFactory.create(name=f"tag {n}") for n in range(3)]
    tasks = [TaskFactory.create(tags=tags[:1]).id for _ in range(4)]
    answers = at_once(
        *(patching(client, task_id, tags=["tag 0", "tag 1", "tag 2"]) for task_id in tasks),
        *(
            partial(client.patch, f"/tags/{tag.id}", json={"name": tag.name.upper()})
            for tag in tags
        ),
    )
    assert statuses(answers) == [200] * 7
    for task in walk(client):
        assert task["tags"] == ["TAG 0", "TAG 1", "TAG 2"]
        assert client.get(f"/tasks/{task['id']}").headers["etag"] == f'"{task["version"]}"'


def test_a_version_shows_one_representation_whoever_changes_tags_meanwhile(
    client: TestClient,
) -> None:
    for number in range(ROUNDS):
        names = [f"a {number}", f"b {number}", f"c {number}"]
        task_id = make(client, tags=names[:1])["id"]
        (tag_id,) = (found["id"] for found in walk(client, "/tags") if found["name"] == names[0])
        answers = at_once(
            partial(client.patch, f"/tags/{tag_id}", json={"name": names[1]}),
            *(partial(client.post, "/tasks", json={"title": "x", "tags": names[:1]}) for _ in "ab"),
            patching(client, task_id, title="y"),
            patching(client, task_id, tags=names[:1]),
            patching(client, task_id, tags=names[2:]),
        )
        answers = [answer for answer in answers[1:] if answer.is_success]
        for task in (answer.json() for answer in answers):
            now = read(client, task["id"])
            assert task["version"] < now["version"] or task == now


def moving(client: TestClient, task_id: int, **to: object) -> Callable[[], Response]:
    return partial(client.post, f"/tasks/{task_id}/move", json={"to": "last", **to})


def creating(client: TestClient, **fields: object) -> Callable[[], Response]:
    return partial(client.post, "/tasks", json={"title": "x", **fields})


def strays(client: TestClient) -> list[int]:
    """Find the tasks that are in another project than their parent, or in one that is gone."""
    tasks = {task["id"]: task for task in walk(client, deleted="include", limit=200)}
    there = {None, *ids(client, "/projects")}
    return [
        task["id"]
        for task in tasks.values()
        if task["project_id"] not in there
        or (task["parent_id"] and task["project_id"] != tasks[task["parent_id"]]["project_id"])
    ]


def test_subtasks_are_in_the_project_of_their_parent_whatever_moves_at_once(
    client: TestClient,
) -> None:
    projects = [project.id for project in ProjectFactory.create_batch(3)]
    for _ in range(ROUNDS):
        roots = [make(client, project_id=project_id)["id"] for project_id in projects]
        below = [make(client, parent_id=root)["id"] for root in roots]
        low = make(client, parent_id=below[0])["id"]
        answers = at_once(
            patching(client, roots[0], project_id=projects[1]),
            moving(client, roots[0], parent_id=below[2]),
            moving(client, below[0], parent_id=roots[1]),
            patching(client, below[0], parent_id=None, project_id=projects[2]),
            creating(client, parent_id=below[0]),
            creating(client, parent_id=low),
            partial(client.delete, f"/tasks/{low}"),
            patching(client, low, title="y"),
        )
        # It may be under a parent, or in the trash, by the time that its project is changed.
        assert {answer.status_code for answer in answers} <= {200, 201, 204, 410, 422}
        assert strays(client) == []


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["", "?tasks=keep", "?tasks=trash"])
def test_nothing_is_left_in_a_project_that_is_deleted(client: TestClient, choice: str) -> None:
    for _ in range(4):
        gone, other = (project.id for project in ProjectFactory.create_batch(2))
        inside, outside = (make(client, project_id=id_)["id"] for id_ in (gone, other))
        if not choice:
            change(client, inside, project_id=other)
        deletion, *answers = at_once(
            partial(client.delete, f"/projects/{gone}{choice}"),
            creating(client, project_id=gone),
            creating(client, parent_id=inside),
            patching(client, outside, project_id=gone),
            patching(client, inside, parent_id=outside),
            patching(client, inside, title="y", tags=["home"]),
            partial(client.patch, f"/projects/{gone}", json={"name": f"new {gone}"}),
        )
        assert deletion.status_code == 204 or (not choice and deletion.status_code == 409)
        assert {answer.status_code for answer in answers} <= {200, 201, 404, 410, 422}
        assert strays(client) == []
        if deletion.status_code == 204:
            assert ids(client, project_id=gone, deleted="include") == []

"""Trees of tasks in projects, compared with a model of the contract after random requests."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Any

import pytest
from starlette.testclient import TestClient

from vibetracker.features.tasks.tree import MAX_DEPTH

from .calls import Json, walk

STEPS = 80
PROJECTS = 3
NEVER = 99
"""An id that no resource has."""


@dataclass(frozen=True)
class Node:
    """What is expected of a task."""

    parent: int | None
    project: int | None
    version: int = 1
    with_: int | None = None
    """The task with which it went to the trash."""


class Refused(Exception):  # noqa: N818 - it is an answer that is expected
    """One of these statuses is expected, and nothing changes."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = {*statuses}


@dataclass
class Model:
    """What the contract says of a few tasks and projects."""

    tasks: dict[int, Node] = field(default_factory=dict)
    projects: dict[int, bool] = field(default_factory=dict)
    """Whether they are archived."""
    begun: int = 0
    """How many projects there have been."""

    def below(self, task: int) -> Iterator[int]:
        """Iterate over a task and all that is below it."""
        yield task
        for child, node in self.tasks.items():
            if node.parent == task:
                yield from self.below(child)

    def live(self, task: int) -> Node:
        """Return a task that is there and not in the trash."""
        if task not in self.tasks:
            raise Refused(404)
        if self.tasks[task].with_:
            raise Refused(410)
        return self.tasks[task]

    def change(self, task: int, **values: Any) -> None:
        """Set these values of a task, and a new version where they are others."""
        node = replace(self.tasks[task], **values)
        if node != self.tasks[task]:
            self.tasks[task] = replace(node, version=node.version + 1)

    def place(self, task: int | None, parent: int | None, **sent: int | None) -> int | None:
        """Return the project of a task under a parent, or refuse it."""
        old = self.tasks[task].project if task else None
        project = sent.get("project_id", old)
        if parent is not None:
            if parent not in self.tasks or self.tasks[parent].with_:
                raise Refused(422)
            if task and parent in self.below(task):
                raise Refused(409)
            project = self.tasks[parent].project
            if sent.get("project_id", project) != project and (task or sent["project_id"]):
                raise Refused(422, 409 if self.projects.get(project or 0) else 422)
        if project is not None and (project != old or not task):
            if project not in self.projects:
                raise Refused(422)
            if self.projects[project]:
                raise Refused(409)
        return project

    def create(self, number: int, parent_id: int | None = None, **sent: int | None) -> None:
        """Create a task."""
        self.tasks[number] = Node(parent_id, self.place(None, parent_id, **sent))

    def put(self, task: int, **sent: int | None) -> None:
        """Put a task under a parent, or into a project."""
        node = self.live(task)
        parent = sent.pop("parent_id", node.parent)
        project = self.place(task, parent, **sent)
        self.change(task, parent=parent, project=project)
        for child in [*self.below(task)][1:]:
            self.change(child, project=project)

    def trash(self, task: int) -> None:
        """Put a task into the trash."""
        self.live(task)
        for it in [*self.below(task)]:
            if not self.tasks[it].with_:
                self.change(it, with_=task)

    def restore(self, task: int) -> None:
        """Bring a task back from the trash."""
        if task not in self.tasks:
            raise Refused(404)
        node = self.tasks[task]
        if node.with_ and node.parent and self.tasks[node.parent].with_:
            raise Refused(409)
        for it in [*self.below(task)]:
            if node.with_ and self.tasks[it].with_ == node.with_:
                self.change(it, with_=None)

    def begin(self, project: int) -> None:
        """Create a project."""
        self.projects[project] = False

    def archive(self, project: int, archived: bool) -> None:  # noqa: FBT001 - as a client sends it
        """Archive a project, or take it out of the archive."""
        if project not in self.projects:
            raise Refused(404)
        self.projects[project] = archived

    def end(self, project: int, choice: str) -> None:
        """Delete a project."""
        if project not in self.projects:
            raise Refused(404)
        inside = [task for task, node in self.tasks.items() if node.project == project]
        if inside and not choice:
            raise Refused(409)
        for root in [task for task in inside if not self.tasks[task].parent]:
            for task in self.below(root):
                trashed = root if "trash" in choice else None
                self.change(task, project=None, with_=self.tasks[task].with_ or trashed)
        del self.projects[project]


type Step = tuple[Callable[[], None], str, str, Any]
"""What is expected to happen to the model; method, path and body of the request."""


def step(random: Random, model: Model) -> Step:
    """Choose one thing that a client may do."""
    ids, projects = [*model.tasks, *model.tasks, NEVER], [*model.projects, NEVER]
    task, project = random.choice(ids), random.choice(projects)
    sent: Json = {}
    if random.random() < 0.5:
        sent["parent_id"] = random.choice([None, *ids])
    if random.random() < 0.5:
        sent["project_id"] = random.choice([None, *projects])
    # Where a task is among its siblings is not a part of the model.
    parent = model.tasks[task].parent if task in model.tasks else None
    to = random.choice([it for it in (None, *ids) if it != parent])
    archived = random.random() < 0.3
    choice = random.choice(["", "", "?tasks=keep", "?tasks=trash"])
    put = partial(model.put, task, **sent)
    batch = {"operations": [{"op": "update", "id": task, "data": sent}]}
    move = {"to": "first", "parent_id": to}
    steps: list[Step] = [
        (put, "PATCH", f"/tasks/{task}", sent),
        (put, "POST", "/tasks/batch", batch),
        (partial(model.put, task, parent_id=to), "POST", f"/tasks/{task}/move", move),
        (partial(model.trash, task), "DELETE", f"/tasks/{task}", None),
        (partial(model.restore, task), "POST", f"/tasks/{task}/restore", None),
        (
            partial(model.archive, project, archived),
            "PATCH",
            f"/projects/{project}",
            {"archived": archived},
        ),
        (partial(model.end, project, choice), "DELETE", f"/projects/{project}{choice}", None),
    ]
    if len(model.tasks) < MAX_DEPTH:
        create = partial(model.create, len(model.tasks) + 1, **sent)
        steps.append((create, "POST", "/tasks", {"title": "x", **sent}))
    if len(model.projects) < PROJECTS:
        model.begun += 1
        begin = partial(model.begin, model.begun)
        return begin, "POST", "/projects", {"name": f"project {model.begun}"}
    return random.choice(steps)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_trees_of_tasks_are_in_projects_as_the_contract_says(client: TestClient, seed: int) -> None:
    random = Random(seed)  # noqa: S311 - the same steps every time
    model = Model()
    for _ in range(STEPS):
        happens, method, path, body = step(random, model)
        answer = client.request(method, path, json=body)
        try:
            happens()
            expected = {200, 201, 204}
        except Refused as refused:
            expected = refused.statuses
        assert answer.status_code in expected, (method, path, body, answer.text)
        stored = {
            task["id"]: (
                task["parent_id"],
                task["project_id"],
                task["version"],
                task["deleted_at"] is None,
            )
            for task in walk(client, deleted="include", limit=200)
        }
        assert stored == {
            task: (node.parent, node.project, node.version, node.with_ is None)
            for task, node in model.tasks.items()
        }, (method, path, body)
        known = {project["id"]: project["archived"] for project in walk(client, "/projects")}
        assert known == model.projects, (method, path, body)

"""A conversation with the service whose origin is the argument, through the generated client."""

import datetime
import sys

from vibetracker_client import Client
from vibetracker_client.api.tasks import create_task, delete_task, list_tasks, update_task
from vibetracker_client.models import Problem, Status, TaskCreate, TaskPage, TaskRead, TaskUpdate
from vibetracker_client.types import UNSET

client = Client(sys.argv[1], raise_on_unexpected_status=True)


def create(title: str) -> TaskRead:
    """Create a task, once however often this is called."""
    answer = create_task.sync_detailed(
        client=client,
        body=TaskCreate(title, tags=["python"], due_on=datetime.date(2026, 3, 1)),
        idempotency_key=f"python-{title}",
    )
    task = answer.parsed
    assert isinstance(task, TaskRead)
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/tasks/{task.id}"
    return task


created = [create("first"), create("second"), create("third")]
assert create("first") == created[0]

listed: list[TaskRead] = []
cursor: str | None = ""
while cursor is not None:
    page = list_tasks.sync(
        client=client, tag=["python"], sort="id", limit=2, cursor=cursor or UNSET
    )
    assert isinstance(page, TaskPage)
    listed += page.items
    cursor = page.next_cursor
assert listed == created

first = created[0]
etag = f'"{first.version}"'
changed = update_task.sync_detailed(
    first.id, client=client, body=TaskUpdate(status=Status.DONE, due_on=None), if_match=etag
)
assert isinstance(changed.parsed, TaskRead)
assert changed.parsed.status is Status.DONE
assert changed.parsed.due_on is None
assert changed.headers["ETag"] == '"2"'

late = update_task.sync_detailed(
    first.id, client=client, body=TaskUpdate(status=Status.CANCELLED), if_match=etag
)
assert isinstance(late.parsed, Problem)
assert late.status_code == 412
assert late.parsed.type_ == "/problems/precondition-failed"
assert late.headers["ETag"] == '"2"'

refused = create_task.sync(client=client, body=TaskCreate(""))
assert isinstance(refused, Problem)
assert refused.errors
assert refused.errors[0].pointer == "/title"

assert delete_task.sync_detailed(first.id, client=client).status_code == 204

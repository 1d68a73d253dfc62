"""The task operations."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from fastapi import Path, Query
from sqlalchemy import func, select

from vibetracker.core.database import SessionDep
from vibetracker.core.paging import Page, PageDep, PageRequest, Rows, Sorting, paginate
from vibetracker.core.preconditions import check, find_any
from vibetracker.core.problems import Gone, NotFound, PreconditionFailed
from vibetracker.core.routing import Router, raising
from vibetracker.core.schema import UrlBool, UrlId
from vibetracker.core.session import Session

from .batch import Batch, BatchResult, TaskBatch
from .calendar import Clock, ClockDep, ServerClockDep
from .changes import TaskChanges, find_task, read_task
from .filters import SORTING, SUBTASK_SORTING, TaskFilters
from .model import OPEN, Status, Task, live
from .problems import ParentInTrash, TaskCycle
from .schema import SubtaskCounts, TaskCreate, TaskMove, TaskRead, TaskUpdate
from .tree import lock_tree

router = Router("/tasks", description="What there is to do.")

TaskId = Annotated[UrlId, Path(description="The task's id.")]
MissingTags = Annotated[
    Literal["create", "reject"],
    Query(description="What to do about names of tags that do not exist yet."),
]
Include = Annotated[
    list[Literal["subtask_counts"]],
    Query(
        description="`subtask_counts` adds `subtasks`, the numbers of live direct subtasks, to "
        "each task, which then has no `ETag`."
    ),
]


@router.get("", response_model=Page[TaskRead])
def list_tasks(
    session: SessionDep,
    page: PageDep,
    clock: ClockDep,
    filters: Annotated[TaskFilters, Query()],
    sort: Annotated[str, SORTING, Query(description=SORTING.description)] = SORTING.default,
    include: Include = [],  # noqa: B006 - each request has a copy
) -> Rows:
    """List tasks: the live ones of every status, newest first, unless asked otherwise."""
    return _list(session, page, clock, filters, SORTING, sort, include)


@router.post("", status_code=201, response_model=TaskRead)
def create_task(
    session: SessionDep,
    clock: ServerClockDep,
    data: TaskCreate,
    missing_tags: MissingTags = "create",
) -> Task:
    """Create a task, last among its siblings."""
    return TaskChanges(session, clock, missing_tags).create_one(data)


@router.post(
    "/batch",
    response_model=BatchResult,
    responses=raising(Gone, NotFound, ParentInTrash, PreconditionFailed, TaskCycle),
)
def change_tasks(
    session: SessionDep, clock: ServerClockDep, data: Batch, missing_tags: MissingTags = "create"
) -> dict[str, Any]:
    """Create, change, delete and restore tasks in one transaction: all of it, or nothing.

    The operations happen in their order, each by the rules of its own endpoint. The first that
    fails ends the batch; `pointer` in its problem says which, and nothing is changed.
    """
    return TaskBatch(TaskChanges(session, clock, missing_tags)).run(data.operations)


@router.get("/{task_id}", response_model=TaskRead, responses=raising(Gone))
def get_task(
    session: SessionDep,
    task_id: TaskId,
    include: Include = [],  # noqa: B006 - each request has a copy
) -> dict[str, Any] | TaskRead:
    """Get a task."""
    if not include:
        return read_task(session, task_id)
    task = TaskRead.model_validate(find_task(session, task_id, conditional=False))
    task.subtasks = _count_subtasks(session, [task_id])[task_id]
    return task


@router.patch("/{task_id}", response_model=TaskRead, responses=raising(Gone, TaskCycle))
def update_task(
    session: SessionDep,
    clock: ServerClockDep,
    task_id: TaskId,
    data: TaskUpdate,
    missing_tags: MissingTags = "create",
) -> Task:
    """Change a task; what is absent stays, and a change of nothing is none."""
    if "parent_id" in data.model_fields_set:
        lock_tree(session)
    changes = TaskChanges(session, clock, missing_tags)
    # Before the task, in the order in which a change of a tag takes what it needs.
    changes.know_tags(data.changes().get("tags", ()))
    task = find_task(session, task_id)
    changes.update(task, data)
    changes.flush()
    return task


@router.delete("/{task_id}", status_code=204, responses=raising(Gone))
def delete_task(
    session: SessionDep,
    clock: ServerClockDep,
    task_id: TaskId,
    permanent: Annotated[  # noqa: FBT002 - FastAPI passes it by name
        UrlBool, Query(description="Remove it for good, from the trash as well.")
    ] = False,
) -> None:
    """Put a task and all its subtasks into the trash, or remove them for good."""
    lock_tree(session)
    changes = TaskChanges(session, clock)
    if permanent:
        task = find_any(session, Task, task_id)
        check(session, task.version)
        changes.purge(task)
    else:
        changes.trash(find_task(session, task_id))


@router.post("/{task_id}/restore", response_model=TaskRead, responses=raising(ParentInTrash))
def restore_task(session: SessionDep, clock: ServerClockDep, task_id: TaskId) -> Task:
    """Bring a task back from the trash, with the subtasks that went there with it.

    A live task stays as it is.
    """
    lock_tree(session)
    task = find_any(session, Task, task_id)
    check(session, task.version)
    return TaskChanges(session, clock).restore(task)


@router.post("/{task_id}/move", response_model=TaskRead, responses=raising(Gone, TaskCycle))
def move_task(session: SessionDep, clock: ServerClockDep, task_id: TaskId, data: TaskMove) -> Task:
    """Put a task in another place among its siblings, or under another parent."""
    lock_tree(session)
    task = find_task(session, task_id)
    return TaskChanges(session, clock).move(task, data)


@router.get("/{task_id}/subtasks", response_model=Page[TaskRead], responses=raising(Gone))
def list_subtasks(
    session: SessionDep,
    page: PageDep,
    clock: ClockDep,
    task_id: TaskId,
    filters: Annotated[TaskFilters, Query()],
    sort: Annotated[
        str, SUBTASK_SORTING, Query(description=SUBTASK_SORTING.description)
    ] = SUBTASK_SORTING.default,
    include: Include = [],  # noqa: B006 - each request has a copy
) -> Rows:
    """List the direct subtasks of a task, in the order that they were put in by hand."""
    find_task(session, task_id, conditional=False)
    return _list(session, page, clock, filters, SUBTASK_SORTING, sort, include, task_id)


def _list(
    session: Session,
    page: PageRequest,
    clock: Clock,
    filters: TaskFilters,
    sorting: Sorting,
    sort: str,
    include: Iterable[str],
    parent_id: int | None = None,
) -> Rows:
    statement = filters.narrow(TaskRead.select(Task), clock)
    if parent_id is not None:
        statement = statement.where(Task.parent_id == parent_id)
    rows = paginate(session, statement, page, sorting, sort, clock)
    if include:
        counts = _count_subtasks(session, [row["id"] for row in rows.items])
        for row in rows.items:
            row["subtasks"] = counts[row["id"]]
    return rows


def _count_subtasks(session: Session, task_ids: Sequence[int]) -> dict[int, SubtaskCounts]:
    counts: dict[int, dict[Status, int]] = {task_id: {} for task_id in task_ids}
    rows = session.execute(
        select(Task.parent_id, Task.status, func.count())
        .where(Task.parent_id.in_(task_ids), live)
        .group_by(Task.parent_id, Task.status)
    )
    for parent_id, status, count in rows:
        if parent_id is not None:
            counts[parent_id][status] = count
    return {
        task_id: SubtaskCounts(
            total=sum(by_status.values()),
            open=sum(by_status.get(status, 0) for status in OPEN),
            done=by_status.get(Status.DONE, 0),
            cancelled=by_status.get(Status.CANCELLED, 0),
        )
        for task_id, by_status in counts.items()
    }

"""The task operations."""

from typing import Annotated, Any, Literal

from fastapi import Path, Query
from sqlalchemy.orm import Session

from vibetracker.core.api.includes import Include
from vibetracker.core.api.paging import Page, PageDep, PageRequest, Rows, paginate
from vibetracker.core.api.preconditions import check
from vibetracker.core.api.routing import Router, raising
from vibetracker.core.api.schema import UrlBool, UrlId
from vibetracker.core.api.session import SessionDep
from vibetracker.core.api.sorting import Sorting
from vibetracker.core.http.problems import Gone, NotFound, PreconditionFailed
from vibetracker.features.projects.contents import CONTENTS
from vibetracker.features.projects.problems import ProjectArchived

from .batch import Batch, BatchResult, TaskBatch
from .calendar import Clock, ClockDep, ServerClockDep
from .changes import TaskChanges
from .contents import IN_PROJECTS
from .filters import SORTING, SUBTASK_SORTING, Asked, TaskFilters, TaskFiltersDep
from .includes import TaskIncludeDep
from .model import Task, Values, tasks
from .problems import ParentInTrash, TaskCycle
from .rows import TaskRow, lock_task, read_task, refuse_trashed
from .schema import TaskCreate, TaskMove, TaskRead, TaskUpdate
from .tree import lock_tree

router = Router("/tasks", description="What there is to do.")
CONTENTS.append(IN_PROJECTS)

TaskId = Annotated[UrlId, Path(description="The task's id.")]
MissingTags = Annotated[
    Literal["create", "reject"],
    Query(description="What to do about names of tags that do not exist yet."),
]


@router.get("", response_model=Page[TaskRead])
def list_tasks(
    session: SessionDep,
    page: PageDep,
    clock: ClockDep,
    filters: TaskFiltersDep,
    include: TaskIncludeDep,
    sort: Annotated[str, SORTING, Query(description=SORTING.description)] = SORTING.default,
) -> Rows:
    """List tasks: the live ones of every status, newest first, unless asked otherwise."""
    return _list(session, page, clock, filters, SORTING, sort, include)


@router.post("", status_code=201, response_model=TaskRead, responses=raising(ProjectArchived))
def create_task(
    session: SessionDep,
    clock: ServerClockDep,
    data: TaskCreate,
    missing_tags: MissingTags = "create",
) -> Values:
    """Create a task, last among its siblings."""
    return TaskChanges(session, clock, missing_tags).create_one(data).answer


@router.post(
    "/batch",
    response_model=BatchResult,
    responses=raising(
        Gone, NotFound, ParentInTrash, PreconditionFailed, ProjectArchived, TaskCycle
    ),
)
def change_tasks(
    session: SessionDep, clock: ServerClockDep, data: Batch, missing_tags: MissingTags = "create"
) -> dict[str, Any]:
    """Create, change, move, delete and restore tasks in one transaction: all of it, or nothing.

    The operations happen in their order, each by the rules of its own endpoint. The first that
    fails ends the batch; `pointer` in its problem says which, and nothing is changed.
    """
    return TaskBatch(TaskChanges(session, clock, missing_tags)).run(data.operations)


@router.get("/{task_id}", response_model=TaskRead, responses=raising(Gone))
def get_task(session: SessionDep, task_id: TaskId, include: TaskIncludeDep) -> Values:
    """Get a task."""
    task = read_task(session, task_id)
    if include:
        return include.view(session, task)
    check(session, task["version"])
    return task


@router.patch(
    "/{task_id}", response_model=TaskRead, responses=raising(Gone, ProjectArchived, TaskCycle)
)
def update_task(
    session: SessionDep,
    clock: ServerClockDep,
    task_id: TaskId,
    data: TaskUpdate,
    missing_tags: MissingTags = "create",
) -> Values:
    """Change a task; what is absent stays, and a change of nothing is none.

    Its subtasks go along with it to another project, each of which is a new version then.
    """
    sent = data.changes()
    if not sent.keys().isdisjoint({"parent_id", "project_id"}):
        lock_tree(session)
    changes = TaskChanges(session, clock, missing_tags)
    # Before the task, in the order in which a change of a tag or a project takes what it needs.
    changes.know_projects([sent["project_id"]] if sent.get("project_id") else ())
    changes.know_tags(sent.get("tags", ()))
    task = _lock_live(session, task_id)
    changes.update(task, data)
    changes.flush()
    return task.answer


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
        task = lock_task(session, task_id)
        check(session, task["version"])
        changes.purge(task)
    else:
        changes.trash(_lock_live(session, task_id))


@router.post("/{task_id}/restore", response_model=TaskRead, responses=raising(ParentInTrash))
def restore_task(session: SessionDep, clock: ServerClockDep, task_id: TaskId) -> Values:
    """Bring a task back from the trash, with the subtasks that went there with it.

    A live task stays as it is.
    """
    lock_tree(session)
    task = lock_task(session, task_id)
    check(session, task["version"])
    return TaskChanges(session, clock).restore(task).answer


@router.post(
    "/{task_id}/move", response_model=TaskRead, responses=raising(Gone, ProjectArchived, TaskCycle)
)
def move_task(
    session: SessionDep, clock: ServerClockDep, task_id: TaskId, data: TaskMove
) -> Values:
    """Put a task in another place among its siblings, or under another parent.

    It goes with its subtasks to the project of that parent, if that is another one.
    """
    lock_tree(session)
    task = _lock_live(session, task_id)
    changes = TaskChanges(session, clock)
    changes.move(task, data)
    changes.flush()
    return task.answer


@router.get("/{task_id}/subtasks", response_model=Page[TaskRead], responses=raising(Gone))
def list_subtasks(
    session: SessionDep,
    page: PageDep,
    clock: ClockDep,
    task_id: TaskId,
    filters: TaskFiltersDep,
    include: TaskIncludeDep,
    sort: Annotated[
        str, SUBTASK_SORTING, Query(description=SUBTASK_SORTING.description)
    ] = SUBTASK_SORTING.default,
) -> Rows:
    """List the direct subtasks of a task, in the order that they were put in by hand."""
    read_task(session, task_id)
    return _list(session, page, clock, filters, SUBTASK_SORTING, sort, include, task_id)


def _list(
    session: Session,
    page: PageRequest,
    clock: Clock,
    filters: TaskFilters,
    sorting: Sorting,
    sort: str,
    include: Include,
    parent_id: int | None = None,
) -> Rows:
    asked = Asked(session, clock)
    statement = TaskRead.select(Task).where(*filters.conditions(asked))
    if parent_id is not None:
        statement = statement.where(tasks.c.parent_id == parent_id)
    rows = paginate(session, statement, page, sorting, sort, asked)
    include.add_to(session, rows.items)
    return rows


def _lock_live(session: Session, task_id: int) -> TaskRow:
    """Return a live task, locked; raises also what the request's preconditions demand."""
    task = lock_task(session, task_id)
    refuse_trashed(task)
    check(session, task["version"])
    return task

"""Several changes of tasks in one request and one transaction: all of them, or none."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated, Any, Literal, Self

from pydantic import (
    MISSING,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from sqlalchemy.orm import Session

from vibetracker.core.api.errors import validation_failed
from vibetracker.core.api.preconditions import Preconditions
from vibetracker.core.api.schema import Id, Input, Members, Output
from vibetracker.core.api.text import Line
from vibetracker.core.http.faults import Fault
from vibetracker.core.http.problems import NotFound, Problem, invalid

from .changes import TaskChanges
from .rows import TaskRow, lock_tasks, read_again, refuse_trashed
from .schema import TaskCreate, TaskMove, TaskRead, TaskUpdate
from .tree import lock_tree

Ref = Annotated[
    str, Line(100), Field(description="A name for the new task, for use in this batch alone.")
]
ParentRef = Annotated[
    str, Line(100), Field(description="The `ref` of an earlier create, instead of `parent_id`.")
]
IfMatch = Annotated[
    str,
    Field(
        max_length=1000,
        description="As the header `If-Match`: go on only if the task has one of these versions.",
        examples=['"3"'],
    ),
]

WHICH = re.compile(r"/operations/\d+")
OP: Any = Field(description="What to do.")


class CreateData(TaskCreate):
    """A new task, perhaps under one that the same batch creates."""

    parent_ref: ParentRef | MISSING = MISSING


class UpdateData(TaskUpdate):
    """Changes to a task."""

    parent_ref: ParentRef | MISSING = MISSING


class MoveData(TaskMove):
    """A place among siblings, perhaps under a task that the same batch creates."""

    parent_ref: ParentRef | MISSING = MISSING


class CreateOperation(Input):
    """Create a task."""

    op: Literal["create"] = OP
    ref: Ref | MISSING = MISSING
    data: CreateData = Field(description="As the body of `POST /tasks`.")


class UpdateOperation(Input):
    """Change a task by a merge patch."""

    op: Literal["update"] = OP
    id: Id
    if_match: IfMatch | MISSING = MISSING
    data: UpdateData = Field(description="As the body of `PATCH /tasks/{task_id}`.")


class MoveOperation(Input):
    """Put a task in another place among its siblings, or under another parent."""

    op: Literal["move"] = OP
    id: Id
    if_match: IfMatch | MISSING = MISSING
    data: MoveData = Field(description="As the body of `POST /tasks/{task_id}/move`.")


class DeleteOperation(Input):
    """Put a task and its subtasks into the trash."""

    op: Literal["delete"] = OP
    id: Id
    if_match: IfMatch | MISSING = MISSING


class RestoreOperation(Input):
    """Bring a task back from the trash."""

    op: Literal["restore"] = OP
    id: Id
    if_match: IfMatch | MISSING = MISSING


type Operation = Annotated[
    CreateOperation | UpdateOperation | MoveOperation | DeleteOperation | RestoreOperation,
    Field(discriminator="op"),
]


class Batch(Input):
    """Operations in the order in which they happen."""

    operations: list[Operation] = Field(
        min_length=1,
        max_length=100,
        description="They happen in this order.",
        examples=[
            [
                {"op": "create", "ref": "trip", "data": {"title": "Trip"}},
                {"op": "create", "data": {"title": "Pack", "parent_ref": "trip"}},
                {"op": "update", "id": 1, "data": {"status": "done"}},
                {"op": "move", "id": 1, "data": {"to": "first"}},
                {"op": "delete", "id": 2},
            ]
        ],
    )

    @model_validator(mode="wrap")
    @classmethod
    def _say_which(cls, value: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        """Name the first operation that breaks a rule, as where one fails when it runs."""
        try:
            return validate(value)
        except ValidationError as error:
            # FastAPI's places begin with what part of the request it is.
            places = [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()]
            problem = validation_failed(places, value)
            if found := WHICH.match(problem.errors[0].get("pointer", "")):
                problem.extensions["pointer"] = found[0]
            raise problem from None


class OperationResult(Output):
    """What one operation did."""

    status: int = Field(
        description="The status that the operation alone would have had.", examples=[201]
    )
    id: int
    task: TaskRead | MISSING = Field(MISSING, description="The task after it; not for a delete.")


class BatchResult(Output):
    """What the operations did, in their order."""

    results: list[OperationResult] = Field(description="One for each operation, in their order.")


class TaskBatch:
    """Runs a batch: the changes of the single operations, with shared look-ups."""

    def __init__(self, changes: TaskChanges) -> None:
        self.changes = changes
        self.session: Session = changes.session
        self._refs: dict[str, TaskRow] = {}
        self._tasks: dict[int, TaskRow] = {}
        # A task is read into its result when a later operation may change it, or at the end.
        self._results: list[tuple[HTTPStatus, TaskRow | dict[str, Any] | int]] = []

    def run(self, operations: Sequence[Operation]) -> Members:
        """Run the operations, and return the members of their ``BatchResult``.

        A problem of one says in ``pointer`` which, and nothing remains.
        """
        self._prepare(operations)
        for index, operation in enumerate(operations):
            with _located(f"/operations/{index}", whole=True):
                self._run(operation)
        self._settle()
        results = [
            {"status": status, "id": outcome}
            if isinstance(outcome, int)
            else {"status": status, "id": outcome["id"], "task": outcome}
            for status, outcome in self._results
            if not isinstance(outcome, TaskRow)
        ]
        return Members(results=results)

    def _prepare(self, operations: Sequence[Operation]) -> None:
        """Lock and read at once what the operations need one by one."""
        if any(_touches_tree(operation) for operation in operations):
            lock_tree(self.session)
        data = [
            operation.data
            for operation in operations
            if isinstance(operation, (CreateOperation, UpdateOperation))
        ]
        self.changes.know_projects(
            it.project_id for it in data if it.project_id not in (MISSING, None)
        )
        self.changes.know_tags(name for it in data if it.tags is not MISSING for name in it.tags)
        # Behind these, in the order in which a change of a tag or a project takes what it needs.
        ids = {op.id for op in operations if not isinstance(op, CreateOperation)}
        if ids:
            self._tasks = lock_tasks(self.session, ids)

    def _run(self, operation: Operation) -> None:
        if isinstance(operation, CreateOperation):
            self._create(operation)
            return
        task = self._find(operation.id)
        if any(outcome is task for _, outcome in self._results):
            self._settle()
        if not isinstance(operation, RestoreOperation):
            refuse_trashed(task)
        if operation.if_match is not MISSING:
            Preconditions(writes=True, tags=operation.if_match).check(task["version"])
        if isinstance(operation, UpdateOperation):
            if _touches_tree(operation):
                # Its subtasks may go along by a statement, past what is pending.
                self._settle()
            with _in_data(operation.data):
                self.changes.update(task, self._with_parent(operation.data))
            self._results.append((HTTPStatus.OK, task))
            if along := self._tasks.keys() & self.changes.taken_along:
                self._settle()
                read_again(self.session, [self._tasks[task_id] for task_id in along])
                self.changes.taken_along.clear()
            return
        # The others write by statements, past what is pending, and perhaps other tasks too.
        self._settle()
        if isinstance(operation, DeleteOperation):
            self.changes.trash(task)
            self._results.append((HTTPStatus.NO_CONTENT, operation.id))
        elif isinstance(operation, MoveOperation):
            with _in_data(operation.data):
                self.changes.move(task, self._with_parent(operation.data))
            self.changes.flush()
            self._results.append((HTTPStatus.OK, task))
        else:
            self.changes.restore(task)
            self._results.append((HTTPStatus.OK, task))
        read_again(self.session, self._tasks.values())

    def _create(self, operation: CreateOperation) -> None:
        ref = operation.ref
        if ref is not MISSING and ref in self._refs:
            raise invalid("An earlier create has this ref", code="ref_twice", pointer="/ref")
        with _in_data(operation.data):
            task = self.changes.create(self._with_parent(operation.data))
        if ref is not MISSING:
            self._refs[ref] = task
        self._results.append((HTTPStatus.CREATED, task))

    def _with_parent[D: (CreateData, UpdateData, MoveData)](self, data: D) -> D:
        """Put the id of the task that ``parent_ref`` names into the data."""
        if data.parent_ref is MISSING:
            return data
        if "parent_id" in data.model_fields_set:
            raise invalid(
                "Send parent_id or parent_ref, not both", code="two_parents", pointer="/parent_ref"
            )
        parent = self._refs.get(data.parent_ref)
        if parent is None:
            raise invalid(
                "No earlier create of this batch has this ref",
                code="unknown_ref",
                pointer="/parent_ref",
            )
        if parent["id"] is None:
            self.changes.flush()
        return data.model_copy(update={"parent_id": parent["id"]})

    def _find(self, task_id: int) -> TaskRow:
        if task_id not in self._tasks:
            # Perhaps it is the one that an earlier create has got.
            self.changes.flush()
            self._tasks |= lock_tasks(self.session, [task_id])
        if task_id not in self._tasks:
            raise NotFound(f"There is no task with id {task_id}")
        return self._tasks[task_id]

    def _settle(self) -> None:
        """Write the changes so far, and read their results before they change again."""
        self.changes.flush()
        self._results = [
            (status, outcome.answer if isinstance(outcome, TaskRow) else outcome)
            for status, outcome in self._results
        ]


def _touches_tree(operation: Operation) -> bool:
    sent = {"parent_id", "parent_ref"}
    if isinstance(operation, UpdateOperation):
        sent.add("project_id")
    elif not isinstance(operation, CreateOperation):
        return True
    return not operation.data.model_fields_set.isdisjoint(sent)


@contextmanager
def _in_data(data: CreateData | UpdateData | MoveData) -> Iterator[None]:
    """Let the pointers of a problem lead to the data, and to the parent as it was named."""
    with _located("/data"):
        try:
            yield
        except Problem as problem:
            if data.parent_ref is not MISSING:
                problem.errors = [
                    Fault(**{**fault, "pointer": "/parent_ref"})
                    if fault.get("pointer") == "/parent_id"
                    else fault
                    for fault in problem.errors
                ]
            raise


@contextmanager
def _located(prefix: str, *, whole: bool = False) -> Iterator[None]:
    """Put a prefix in front of the pointers of a problem, or of the ``whole`` problem."""
    try:
        yield
    except Problem as problem:
        problem.errors = [
            Fault(**{**fault, "pointer": prefix + fault["pointer"]})
            if "pointer" in fault
            else fault
            for fault in problem.errors
        ]
        if whole:
            problem.extensions["pointer"] = prefix
        raise

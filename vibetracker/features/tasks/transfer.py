"""How tasks are exported and imported; the feature of transfers finds it by its name."""

from collections.abc import Container, Mapping
from typing import Annotated, Self

from pydantic import MISSING, AfterValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError
from sqlalchemy.orm import Session

from vibetracker.core.api.schema import MAX_ID, WHOLE, Id, Timestamp
from vibetracker.core.db.types import utcnow
from vibetracker.core.http.problems import invalid
from vibetracker.features.projects.model import Project
from vibetracker.features.projects.problems import ProjectArchived

from . import ranking
from .changes import DATES, check_times, lock_projects
from .model import Status, Task, Values
from .rows import LAST_ROOT
from .schema import TaskCreate
from .tree import MAX_DEPTH

REFERENCES = {"deleted_with": Task.__tablename__}

ENDS = {Status.DONE: "completed_at", Status.CANCELLED: "cancelled_at"}
"""What has an instant, which is now where the file has none."""

Position = Annotated[str, StringConstraints(pattern=ranking.RANK)]
# One that nothing has come to by itself is less here, so that no export has one that is refused.
Version = Annotated[
    int, Field(ge=1, le=MAX_ID), WHOLE, AfterValidator(lambda it: min(it, MAX_ID // 2))
]


class TaskRecord(TaskCreate):
    """What is stored of a task."""

    id: Id
    position: Position | MISSING = MISSING
    started_at: Timestamp | MISSING | None = MISSING
    cancelled_at: Timestamp | MISSING | None = MISSING
    created_at: Timestamp | MISSING = MISSING
    updated_at: Timestamp | MISSING = MISSING
    version: Version | MISSING = MISSING
    deleted_at: Timestamp | None = None
    deleted_with: Id | None = None

    @model_validator(mode="after")
    def _times_fit_the_status(self) -> Self:
        fits = {
            "completed_at": self.status is Status.DONE,
            "cancelled_at": self.status is Status.CANCELLED,
            "started_at": self.status is not Status.TODO,
            "deleted_with": self.deleted_at is not None,
        }
        for name, may_be in fits.items():
            if getattr(self, name) not in {None, MISSING} and not may_be:
                raise PydanticCustomError(
                    "does_not_fit", "{name} does not fit the rest", {"name": name}
                )
        return self


class TaskImport:
    """The tree that the new tasks are, and their places in it.

    In an empty database they have the places that the file says. Otherwise tasks without a parent
    come behind those that are there, in the same order, and no archived project of those that are
    there takes any.
    """

    def __init__(self) -> None:
        self._now = utcnow()
        self._last: dict[int | None, str | None] = {}
        """The last position below each parent so far."""
        self._behind: str | None = None
        self._first: str | None = None
        self._levels: dict[int, int] = {}
        self._projects: dict[int, int] = {}
        self._open_projects: set[int] = set()
        """Projects that were there before, and are locked."""
        self._trash: dict[int, tuple[int, int]] = {}
        """Of tasks in the trash, with which they went there: as the file has it, and as it is."""

    def look(self, record: TaskRecord) -> None:
        """Check the times of a task, and find the first place."""
        check_times(vars(record), DATES)
        if record.parent_id is None and isinstance(record.position, str):
            self._first = min(self._first or record.position, record.position)

    def begin(
        self, session: Session, *, is_empty: bool, stand_ins: Mapping[str, Container[int]]
    ) -> None:
        """Find the last task without a parent that is there."""
        self._session = session
        self._stand_ins = stand_ins
        self._behind = None if is_empty else session.scalar(LAST_ROOT)
        self._last[None] = self._behind

    def complete(self, row_id: int, values: Values) -> Values:
        """Return the columns of a task."""
        parent_id = values["parent_id"]
        self._put_into_tree(row_id, parent_id, values)
        self._check_project(values["project_id"])
        position = self._position(parent_id, values)
        stamps = {"created_at": self._now, "updated_at": self._now, "started_at": None}
        if values["status"] is Status.IN_PROGRESS:
            stamps["started_at"] = self._now
        row = {**stamps, **values, "position": position}
        for status, stamp in ENDS.items():
            if row["status"] is status and row.get(stamp) is None:
                row[stamp] = self._now
        return row

    def _put_into_tree(self, row_id: int, parent_id: int | None, values: Values) -> None:
        if parent_id == row_id:
            raise invalid(
                "A task is no part of itself", code="not_its_own_parent", pointer="/parent_id"
            )
        level = 1 if parent_id is None else self._levels[parent_id] + 1
        if level > MAX_DEPTH:
            raise invalid(
                f"Tasks are at most {MAX_DEPTH} levels deep", code="too_deep", pointer="/parent_id"
            )
        self._levels[row_id] = level
        if parent_id is not None:
            project_id = self._projects.get(parent_id)
            if values["project_id"] not in {None, project_id}:
                raise invalid(
                    "A subtask is in the project of its parent",
                    code="not_the_parents_project",
                    pointer="/project_id",
                )
            values["project_id"] = project_id
        if values["project_id"] is not None:
            self._projects[row_id] = values["project_id"]
        said, group = self._trash.get(parent_id or 0, (None, None))
        if values["deleted_at"] is None:
            if group is not None:
                raise invalid(
                    "The parent is in the trash", code="parent_in_trash", pointer="/parent_id"
                )
            return
        own = values["deleted_with"] or said or row_id
        # What took it there may be in a file that does not have the parent, and is not above then.
        values["deleted_with"] = group if own == said else row_id
        self._trash[row_id] = (own, values["deleted_with"])
        if parent_id is not None and own not in {row_id, said}:
            raise invalid(
                "Neither the task itself nor what took its parent to the trash",
                code="deleted_with",
                pointer="/deleted_with",
            )

    def _check_project(self, project_id: int | None) -> None:
        """Refuse an archived project that was there before; lock others, so that they stay so."""
        there = self._stand_ins.get(Project.__tablename__, ())
        if project_id is None or project_id not in there or project_id in self._open_projects:
            return
        if lock_projects(self._session, [project_id]).get(project_id):
            raise ProjectArchived(f"Project {project_id} is archived", project_id=project_id)
        self._open_projects.add(project_id)

    def _position(self, parent_id: int | None, values: Values) -> str:
        last = self._last.get(parent_id)
        position: str | None = values.get("position")
        if position is None:
            position = ranking.between(last, None)
        elif parent_id is None and self._behind and self._first:
            position = ranking.shifted(position, self._first, self._behind)
        if position is None:
            raise invalid("There is no room behind the others", code="position", pointer="")
        self._last[parent_id] = max(last or position, position)
        return position

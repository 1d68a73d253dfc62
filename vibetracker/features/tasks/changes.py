"""Public: every change of tasks, for the operations on one task and for batches of them."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Literal, cast

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from vibetracker.core.api.names import key_of
from vibetracker.core.db.changes import announce
from vibetracker.core.http.problems import invalid
from vibetracker.features.projects.model import Project
from vibetracker.features.projects.problems import ProjectArchived
from vibetracker.features.tags.tagging import NamedTag, change_tags, put_on, tags_named

from . import ranking, tree
from .calendar import LAST_ZONE, Clock, last_instant
from .model import Status, Values, task_tags, tasks
from .problems import ParentInTrash, TaskCycle
from .rows import LAST_CHILD, LAST_ROOT, TaskRow, insert_last, new_values, read_again, write
from .schema import TaskCreate, TaskMove, TaskUpdate
from .siblings import Place, Siblings

SENT = TaskCreate.model_fields.keys() - {"status", "tags", "completed_at"}
"""Members of a new task that are stored as they are sent."""
SENT_IN_PATCH = ("title", "description", "priority", "due_on", "due_at", "start_at")
DATES = {"start_at", "due_at", "due_on"}

_PROJECTS = (
    select(Project.id, Project.archived)
    .where(Project.id.in_(bindparam("ids", expanding=True)))
    .order_by(Project.id)
    .with_for_update(read=True, key_share=True)
)


def lock_projects(session: Session, ids: Collection[int]) -> dict[int, bool]:
    """Lock projects until the transaction ends; return by their ids whether they are archived."""
    return {row.id: row.archived for row in session.execute(_PROJECTS, {"ids": ids})}


class TaskChanges:
    """The changes of one transaction; ``flush`` writes them."""

    def __init__(
        self, session: Session, clock: Clock, missing_tags: Literal["create", "reject"] = "create"
    ) -> None:
        self.session = session
        self.clock = clock
        self.create_tags = missing_tags == "create"
        self.taken_along: set[int] = set()
        """Ids of tasks that a statement has put into a project, with one that is above them."""
        self._pending: dict[int, TaskRow] = {}
        """What ``flush`` writes, by identity in the order of the changes."""
        self._last_positions: dict[int | None, str] = {}
        self._good_parents: dict[int, int | None] = {}
        """The projects of the tasks that can have subtasks, by their ids."""
        self._known_projects: dict[int, bool] = {}
        """Whether they are archived, by their ids; locked, so that they stay so."""
        self._known_tags: dict[str, NamedTag] = {}

    def create(self, data: TaskCreate) -> TaskRow:
        """Return a new task, last among its siblings; ``flush`` writes it together with others."""
        row = self._new(data)
        row.values["position"] = self._last_position(data.parent_id, data.title)
        row.new_tags = self._tags(data.tags)
        row.values["tags"] = [tag.name for tag in row.new_tags]
        self._change(row)
        return row

    def create_one(self, data: TaskCreate) -> TaskRow:
        """Write a new task, last among its siblings, by one statement, and its tags by another.

        The database looks up what ``create`` asks for before it writes many.
        """
        row = self._new(data)
        if data.parent_id is None:
            insert_last(self.session, row)
        else:
            row.values["position"] = self._last_position(data.parent_id, data.title)
            write(self.session, [row])
        row.values["tags"] = (
            put_on(self.session, task_tags, row["id"], data.tags, create=self.create_tags)
            if data.tags
            else []
        )
        row.stored = row.values.copy()
        announce(self.session, tasks, row["id"], None, row.answer)
        return row

    def _new(self, data: TaskCreate) -> TaskRow:
        now = self.clock.now
        sent = {name: getattr(data, name) for name in SENT}
        row = new_values(
            {**sent, "status": Status.TODO, "tags": [], "created_at": now, "updated_at": now}
        )
        if data.completed_at and data.status is not Status.DONE:
            raise invalid("Only with the status done", code="not_done", pointer="/completed_at")
        enter(row, data.status, data.completed_at or now)
        check_times(row, data.model_fields_set)
        if data.parent_id is not None:
            if data.parent_id not in self._good_parents:
                tree.lock_tree(self.session, shared=True)
                self._good_parents[data.parent_id] = self._check_parent(data.parent_id)
            row.values["project_id"] = self._good_parents[data.parent_id]
            if data.project_id is not None:
                _check_same_project(row, data.project_id)
        self._enter(row["project_id"])
        return row

    def update(self, row: TaskRow, data: TaskUpdate) -> TaskRow:
        """Change a task by a merge patch; the tree is locked if that moves it to a new parent."""
        changes = data.changes()
        # First, since looking for a parent writes what is pending: a change is one new version.
        if "parent_id" in changes and changes["parent_id"] != row["parent_id"]:
            self._put_under(row, changes["parent_id"])
            row.values["position"] = self._last_position(row["parent_id"], row["title"])
        if "project_id" in changes:
            if row["parent_id"] is not None:
                _check_same_project(row, changes["project_id"])
            self._put_in(row, changes["project_id"])
        row.values |= {name: changes[name] for name in SENT_IN_PATCH if name in changes}
        if "status" in changes:
            enter(row, changes["status"], self.clock.now)
        check_times(row, changes.keys())
        if "tags" in changes:
            self._replace_tags(row, self._tags(changes["tags"]))
        self._change(row)
        return row

    def move(self, row: TaskRow, data: TaskMove) -> TaskRow:
        """Put a task in another place among its siblings, perhaps under another parent.

        The tree is locked. A task that is there already stays as it is.
        """
        wanted = data.model_dump(include=set(TaskMove.model_fields))
        parent_id = wanted.get("parent_id", row["parent_id"])
        others = Siblings(self.session, parent_id, without=row["id"])
        low, high = others.gap(wanted)
        is_there = parent_id == row["parent_id"]
        if not is_there:
            self._put_under(row, parent_id)
        place = (row["position"], row["id"])
        if is_there and (low is None or low < place) and (high is None or place < high):
            return row
        position = ranking.between(low and low[0], high and high[0])
        # There is always room before the first.
        row.values["position"] = position or others.spread(cast("Place", low), self.clock.now)
        self._last_positions.clear()
        self._change(row)
        return row

    def trash(self, row: TaskRow, at: datetime | None = None) -> None:
        """Put a task and its subtree into the trash, to be restored together; by default now."""
        self._good_parents.clear()
        tree.trash(self.session, row["id"], self.clock.now, at or self.clock.now)

    def restore(self, row: TaskRow) -> TaskRow:
        """Bring back what was put into the trash together; nothing for a live task."""
        if row["deleted_with"] is None:
            return row
        parent_id = row["parent_id"]
        if parent_id is not None and self.session.scalar(
            select(tasks.c.deleted_at).where(tasks.c.id == parent_id)
        ):
            raise ParentInTrash(f"Restore the parent, task {parent_id}, first", parent_id=parent_id)
        tree.restore(self.session, row["id"], row["deleted_with"], self.clock.now)
        read_again(self.session, [row])
        return row

    def purge(self, row: TaskRow) -> None:
        """Remove a task and its subtree for good."""
        tree.purge(self.session, row["id"])

    def flush(self) -> None:
        """Write what has been changed, in as few statements as there are kinds of it."""
        write(self.session, self._pending.values())
        self._pending.clear()

    def _change(self, row: TaskRow) -> None:
        self._pending[id(row)] = row

    def _put_under(self, row: TaskRow, parent_id: int | None) -> None:
        if parent_id is not None:
            self._put_in(row, self._check_parent(parent_id, row))
        row.values["parent_id"] = parent_id
        self._good_parents.clear()

    def _put_in(self, row: TaskRow, project_id: int | None) -> None:
        """Put a task into a project, and all that is below it by a statement."""
        if project_id == row["project_id"]:
            return
        self._enter(project_id)
        self.flush()
        self.taken_along.update(
            tree.put_below_in(self.session, row["id"], project_id, self.clock.now)
        )
        row.values["project_id"] = project_id
        self._good_parents.clear()

    def _enter(self, project_id: int | None) -> None:
        """Refuse a project that is not there, or takes no tasks."""
        if project_id is None:
            return
        if project_id not in self._known_projects:
            self.know_projects([project_id])
        is_archived = self._known_projects.get(project_id)
        if is_archived is None:
            raise invalid(
                "There is no project with this id", code="unknown_project", pointer="/project_id"
            )
        if is_archived:
            raise ProjectArchived(f"Project {project_id} is archived", project_id=project_id)

    def know_projects(self, ids: Iterable[int]) -> None:
        """Lock at once the projects that several tasks are going to be in.

        So that none is archived or deleted before the tasks are committed.
        """
        if ids := set(ids):
            self._known_projects |= lock_projects(self.session, ids)

    def _check_parent(self, parent_id: int, row: TaskRow | None = None) -> int | None:
        """Refuse a parent that a task cannot have; return the project that it is in."""
        self.flush()
        above = tree.ancestry(self.session, parent_id)
        if not above:
            raise invalid(
                "There is no live task with this id", code="unknown_parent", pointer="/parent_id"
            )
        ids = [task.id for task in above]
        if row is not None and row["id"] in ids:
            path = [*ids[ids.index(row["id"]) :: -1]]
            raise TaskCycle(
                f"Task {row['id']} would be its own descendant: "
                f"{' > '.join(map(str, [*path, row['id']]))}",
                path=path,
            )
        below = [] if row is None else tree.levels_below(self.session, row["id"])
        if len(above) + 1 + len(below) > tree.MAX_DEPTH:
            raise invalid(
                f"Tasks are at most {tree.MAX_DEPTH} levels deep",
                code="too_deep",
                pointer="/parent_id",
            )
        project_id: int | None = above[0].project_id
        return project_id

    def _last_position(self, parent_id: int | None, title: str) -> str:
        if parent_id in self._last_positions:
            last: str | None = self._last_positions[parent_id]
        else:
            last = self.session.scalar(
                LAST_ROOT if parent_id is None else LAST_CHILD, {"parent": parent_id}
            )
        position = ranking.behind(last, ranking.further(title))
        self._last_positions[parent_id] = position
        return position

    def know_tags(self, names: Iterable[str]) -> None:
        """Find or create tags at once that several tasks are going to have."""
        names = list(names)
        if names and self.create_tags:
            self._remember(tags_named(self.session, names, create=True, now=self.clock.now))

    def _tags(self, names: Sequence[str]) -> list[NamedTag]:
        keys = {key_of(name) for name in names}
        if not keys <= self._known_tags.keys():
            self._remember(
                tags_named(
                    self.session, names, create=self.create_tags, at="/tags", now=self.clock.now
                )
            )
        return sorted((self._known_tags[key] for key in keys), key=attrgetter("search_key"))

    def _remember(self, tags: Iterable[NamedTag]) -> None:
        self._known_tags |= {tag.key: tag for tag in tags}

    def _replace_tags(self, row: TaskRow, tags: Sequence[NamedTag]) -> None:
        names = [tag.name for tag in tags]
        if names == row["tags"]:
            return
        row.values["tags"] = names
        if row.stored:
            change_tags(self.session, task_tags, row["id"], {tag.id for tag in tags})
        else:
            row.new_tags = tags


def enter(row: TaskRow, status: Status, at: datetime) -> None:
    """Change the status of a task, and the timestamps that follow from it."""
    values = row.values
    if status == values["status"]:
        return
    values["status"] = status
    if status is Status.TODO:
        values["started_at"] = None
    elif status is Status.IN_PROGRESS:
        values["started_at"] = values["started_at"] or at
    values["completed_at"] = at if status is Status.DONE else None
    values["cancelled_at"] = at if status is Status.CANCELLED else None


def _check_same_project(row: TaskRow, project_id: int | None) -> None:
    if project_id != row["project_id"]:
        raise invalid(
            "A subtask is in the project of its parent, or in none where that is in none",
            code="not_the_parents_project",
            pointer="/project_id",
        )


def check_times(row: TaskRow | Values, sent: Collection[str]) -> None:
    """Refuse two dues, and a start behind the due; ``sent`` names what the request has changed."""
    if DATES.isdisjoint(sent):
        return
    due_on, due_at, start_at = row["due_on"], row["due_at"], row["start_at"]
    if due_on and due_at:
        raise invalid(
            "A task has due_on or due_at, not both; clear the other one with null",
            code="two_dues",
            pointer="/due_at" if "due_at" in sent else "/due_on",
        )
    # A day is over where it ends last: a start may be of an evening west of the server.
    due = last_instant(due_on, LAST_ZONE) if due_on else due_at
    if start_at and due and start_at > due:
        names = (name for name in ("start_at", "due_at", "due_on") if name in sent)
        culprit = min(names, key=lambda name: row[name] is None)
        raise invalid(
            "A task cannot start after it is due", code="start_after_due", pointer=f"/{culprit}"
        )

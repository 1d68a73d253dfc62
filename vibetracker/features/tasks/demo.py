"""Demo data: a year of tasks, the older ones mostly done."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import batched
from random import Random
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from vibetracker.features.projects.model import Project

from .calendar import DAY, Clock
from .changes import TaskChanges
from .model import Priority, Status
from .rows import TaskRow
from .schema import TaskCreate
from .tree import lock_tree

PORTION = 1000
"""Tasks of one transaction."""
YEAR = 365 * DAY
PARTS = 15
"""Subtasks of a task that has some."""
UTC = ZoneInfo("UTC")

type Projects = Mapping[str, int]
"""The ids of projects, by their names."""


@dataclass(frozen=True)
class Area:
    """A part of life: its tag, its projects, what is done there, and to what."""

    tag: str
    projects: Sequence[str]
    verbs: Sequence[str]
    objects: Sequence[str]


def _area(tag: str, projects: str, verbs: str, objects: str) -> Area:
    return Area(tag, *(names.split(", ") for names in (projects, verbs, objects)))


AREAS = [
    _area(
        "home",
        "New kitchen",
        "Clean, Repair, Paint, Replace, Measure, Sort out",
        "the kitchen shelf, the bathroom sink, the bedroom window, the cellar "
        "light, the hall cupboard, the balcony door, the washing machine, the "
        "bookcase",
    ),
    _area(
        "garden",
        "Vegetable garden",
        "Water, Plant, Cut back, Move, Order, Feed",
        "the tomatoes, the hedge, the roses, the apple tree, the herbs, the tulips",
    ),
    _area(
        "work",
        "Autumn release, Move of the office",
        "Draft, Review, Present, Send round, Rewrite, Discuss, Plan",
        "the quarterly report, the budget, the release notes, the hiring plan, the "
        "contract with the supplier, the survey, the roadmap, the backup schedule, "
        "the onboarding guide, the customer visit, the incident review",
    ),
    _area(
        "money",
        "Taxes",
        "Pay, Check, File, Dispute, Cancel, Renew",
        "the electricity bill, the insurance, the tax return, the phone contract, "
        "the rent statement, the train pass, the plumber's invoice",
    ),
    _area(
        "health",
        "",
        "Book, Move, Prepare for, Ask about",
        "the dentist's appointment, the eye test, the vaccination, the physiotherapy",
    ),
    _area(
        "travel",
        "Loire by bicycle",
        "Book, Compare, Pack for, Ask friends about, Plan",
        "the weekend in Ghent, the train to Vienna, the hut in the Alps, the ferry "
        "to Gotland, the cycling tour along the Loire",
    ),
    _area(
        "reading",
        "Winter reading",
        "Read, Return, Lend out, Write notes on",
        "the novel from the library, the history of maps, the cookbook, the essays, "
        "the book on birds, the biography",
    ),
    _area(
        "bicycle",
        "Loire by bicycle",
        "Clean, Oil, Replace, Order, Adjust",
        "the chain, the brake pads, the rear tyre, the gear cable, the lights",
    ),
]
# As often as they come here.
CONTEXTS = [*[()] * 6, ("errand",), ("phone",), ("quick",), ("waiting",), ("phone", "quick")]
PRIORITIES = [
    *[Priority.NONE] * 10,
    *[Priority.LOW] * 3,
    *[Priority.MEDIUM] * 4,
    *[Priority.HIGH] * 2,
    Priority.URGENT,
]
DESCRIPTIONS = [
    *[""] * 9,
    "It has been on the list for too long.",
    "Ask **before** buying anything; there may be one in the cellar.",
    "See the notes of last time, and keep the receipt.",
    "The neighbours have done this already and can help.",
    "Not urgent, but other things wait for it.",
    "- [x] Find out what is needed\n- [ ] Get it\n- [ ] Report to the others",
    "- [ ] Ask for two offers\n- [ ] Choose one",
]


@dataclass(frozen=True)
class New:
    """A task to be, as if it had been sent at a moment."""

    moment: datetime
    data: TaskCreate


@dataclass(frozen=True)
class Portion:
    """What one transaction does."""

    roots: list[New]
    children: list[tuple[int, list[New]]]
    """By the place of their parent among the roots."""
    trashed: list[int]
    """Places of roots."""

    def tasks(self) -> list[New]:
        """Return all that are new."""
        return [*self.roots, *(new for _, children in self.children for new in children)]


def fill(session: Session, random: Random, count: int, now: datetime) -> Iterator[int]:
    """Create ``count`` tasks of the year before ``now``, by the rules of ``POST /tasks/batch``.

    Each is created as if it had been sent at an instant of that year.
    """
    projects = {
        project.name: project.id
        for project in session.scalars(select(Project).where(~Project.archived))
    }
    for portion in _ahead(_portions(random, projects, count, now)):
        changes = TaskChanges(session, Clock(UTC, now))
        changes.know_projects(projects.values())
        changes.know_tags(tag for new in portion.tasks() for tag in new.data.tags)
        lock_tree(session)
        roots = [_create(changes, new) for new in portion.roots]
        changes.flush()
        for place, children in portion.children:
            for new in children:
                _create(changes, new, roots[place]["id"])
        changes.flush()
        changes.clock = Clock(UTC, now)
        for place in portion.trashed:
            changes.trash(roots[place])
        yield len(portion.tasks())


def _ahead[T](items: Iterator[T]) -> Iterator[T]:
    """Yield items, each made while the database writes the one before it."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item


def _portions(random: Random, projects: Projects, count: int, now: datetime) -> Iterator[Portion]:
    for numbers in batched(range(count), PORTION):
        moments = [now - YEAR * (1 - (number + random.random()) / count) for number in numbers]
        parents = len(numbers) // 333
        roots = [_new(random, projects, moment, now) for moment in moments[PARTS * parents :]]
        places = random.sample(range(len(roots)), parents)
        children = []
        for place in places:
            begun = roots[place].moment
            times = [begun + random.random() * (now - begun) for _ in range(PARTS)]
            children.append((place, [_new(random, {}, moment, now) for moment in times]))
        yield Portion(roots, children, random.sample(range(len(roots)), parents // 2))


def _create(changes: TaskChanges, new: New, parent_id: int | None = None) -> TaskRow:
    changes.clock = Clock(UTC, new.moment)
    data = new.data if parent_id is None else new.data.model_copy(update={"parent_id": parent_id})
    return changes.create(data)


def _new(random: Random, projects: Projects, moment: datetime, now: datetime) -> New:
    area = random.choice(AREAS)
    # Every second one, where there are such projects.
    project = random.choice([*area.projects, *[""] * len(area.projects)])
    status, completed_at = _progress(random, now - moment, moment)
    due_on = due_at = start_at = None
    kind = random.random()
    if kind < 0.5:
        due = moment + DAY * random.randrange(1, 40)
        if kind < 0.35:
            due_on = due.date()
        else:
            due_at = due.replace(hour=random.randrange(8, 19), minute=0, second=0, microsecond=0)
        if kind < 0.1:
            start_at = moment + DAY / 2
    return New(
        moment,
        TaskCreate(
            title=f"{random.choice(area.verbs)} {random.choice(area.objects)}",
            description=random.choice(DESCRIPTIONS),
            status=status,
            priority=random.choice(PRIORITIES),
            due_on=due_on,
            due_at=due_at,
            start_at=start_at,
            project_id=projects.get(project),
            tags=[area.tag, *random.choice(CONTEXTS)],
            completed_at=completed_at,
        ),
    )


def _progress(random: Random, age: timedelta, moment: datetime) -> tuple[Status, datetime | None]:
    """Return how far a task of this age is, and when it was done."""
    chance = random.random()
    if chance < 0.9 * min(1, age / (60 * DAY)):
        return Status.DONE, moment + min(age, random.expovariate(1 / 7) * DAY)
    if chance > 0.97:
        return Status.CANCELLED, None
    return (Status.IN_PROGRESS if chance > 0.9 else Status.TODO), None

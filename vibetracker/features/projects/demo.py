"""Demo data: what somebody with a house, a job and a bicycle is in the middle of."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from random import Random

from sqlalchemy import select
from sqlalchemy.orm import Session

from vibetracker.core.api.names import key_of

from .model import Project
from .schema import ProjectCreate

YEAR = timedelta(365)
PROJECTS = [
    ProjectCreate(
        name="New kitchen",
        color="#00aa55",
        description="What the old one lacks:\n\n- a window that opens\n- room for two",
    ),
    ProjectCreate(name="Vegetable garden", color="#3f9142"),
    ProjectCreate(name="Autumn release", color="#1f6feb", description="Out by **1 October**."),
    ProjectCreate(name="Move of the office"),
    ProjectCreate(name="Taxes", color="#b8860b", description="Until the end of May, every year"),
    ProjectCreate(name="Loire by bicycle", color="#00798c", description="In June, with the tent"),
    ProjectCreate(name="Winter reading", color="#6f42c1"),
    ProjectCreate(name="Flat in the old town", description="Given up.", archived=True),
]


def fill(session: Session, random: Random, count: int, now: datetime) -> Iterator[int]:
    """Create at most ``count`` projects, leaving those that exist as they are."""
    taken = set(session.scalars(select(Project.key)))
    projects = [
        Project(
            **project.model_dump(),
            archived_at=now if project.archived else None,
            created_at=now - YEAR * random.uniform(1, 2),
            updated_at=now,
        )
        for project in islice(PROJECTS, count)
        if key_of(project.name) not in taken
    ]
    session.add_all(projects)
    session.flush()
    yield len(projects)

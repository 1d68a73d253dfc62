"""Demo data: the tags of somebody with a house, a job and a bicycle."""

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from random import Random

from sqlalchemy import select
from sqlalchemy.orm import Session

from vibetracker.core.api.names import key_of

from .model import Tag
from .schema import TagCreate

TAGS = [
    TagCreate(name="home", color="#00aa55", description="Around the house"),
    TagCreate(name="garden", color="#3f9142"),
    TagCreate(name="work", color="#1f6feb", description="What the team waits for"),
    TagCreate(name="money", color="#b8860b", description="Invoices, insurance, taxes"),
    TagCreate(name="health", color="#d1495b"),
    TagCreate(name="travel", color="#00798c"),
    TagCreate(name="reading", color="#6f42c1", description="Books and long articles"),
    TagCreate(name="bicycle", color="#8d6e63"),
    TagCreate(name="errand", description="On the way, when out anyway"),
    TagCreate(name="phone", description="Needs a call"),
    TagCreate(name="quick", color="#edae49", description="Less than ten minutes"),
    TagCreate(name="waiting", color="#888888", description="Somebody else has to move first"),
]


def fill(session: Session, random: Random, count: int, now: datetime) -> Iterator[int]:
    """Create at most ``count`` tags, leaving those that exist as they are."""
    wanted = list(islice(TAGS, count))
    taken = set(session.scalars(select(Tag.key)))
    tags = [
        Tag(**tag.model_dump(), created_at=now) for tag in wanted if key_of(tag.name) not in taken
    ]
    session.add_all(tags)
    session.flush()
    yield len(tags)

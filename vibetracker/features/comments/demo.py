"""Demo data: comments on some of the tasks that there are."""

from collections.abc import Iterator
from datetime import datetime
from itertools import batched
from random import Random

from sqlalchemy import select
from sqlalchemy.orm import Session

from vibetracker.features.tasks.model import live, tasks

from .model import Comment
from .schema import CommentCreate

PORTION = 1000
"""Comments of one transaction."""
SHARE = 5
"""One comment for so many tasks."""
AUTHORS = ("Ada", "Grace", "Alan", "")
BODIES = (
    "I can do that on **Thursday**.",
    "Is this still needed?",
    "They called back: it takes *two weeks*.",
    "Half of it is done, the rest waits for the parts.",
    "See the notes of last time:\n\n- measure twice\n- keep the receipt",
    "Asked the neighbours, they lend us the ladder.",
    "Too expensive; let us look for another offer.",
    "Thanks!",
)


def fill(session: Session, random: Random, count: int, now: datetime) -> Iterator[int]:
    """Create comments on some of the newest ``count`` tasks, from their creation until ``now``."""
    newest = select(tasks.c.id, tasks.c.created_at).where(live).order_by(tasks.c.id.desc())
    found = session.execute(newest.limit(count)).all()
    comments: list[Comment] = []
    for task_id, created_at in random.choices(found, k=len(found) // SHARE):
        sent = CommentCreate(
            task_id=task_id, body=random.choice(BODIES), author=random.choice(AUTHORS)
        )
        moment = created_at + random.random() * (now - created_at)
        comments.append(Comment(**sent.model_dump(), created_at=moment))
    for portion in batched(sorted(comments, key=lambda it: it.created_at), PORTION):
        session.add_all(portion)
        session.flush()
        yield len(portion)

"""How new projects are reverted; the journal of changes finds this by its name."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from .contents import CONTENTS
from .model import Project
from .problems import ProjectNotEmpty


def lock(session: Session, _: Mapping[int, Mapping[str, Any]]) -> None:
    """Lock what is locked before any project."""
    for contents in CONTENTS:
        contents.lock(session)


def delete(session: Session, project_id: int) -> None:
    """Delete a project; tasks that are in the trash stay there, without it.

    Those that were created together with it have gone there before. Raises ``ProjectNotEmpty``.
    """
    counts = [contents.counts(session, [project_id]) for contents in CONTENTS]
    if count := sum(found[project_id]["total"] for found in counts if found):
        raise ProjectNotEmpty(f"Tasks are in project {project_id}", tasks=count)
    for contents in CONTENTS:
        contents.keep(session, project_id)
    session.delete(session.get_one(Project, project_id, populate_existing=True))

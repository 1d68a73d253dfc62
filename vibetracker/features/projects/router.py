"""The project operations."""

from typing import Annotated, Any, Literal

from fastapi import Path, Query
from sqlalchemy.orm import Session

from vibetracker.core.api.filters import Filters, Where, occurs
from vibetracker.core.api.names import holder_of
from vibetracker.core.api.paging import Page, PageDep, Rows, paginate
from vibetracker.core.api.preconditions import find, read, read_any
from vibetracker.core.api.routing import Router, raising
from vibetracker.core.api.schema import UrlBool, UrlId
from vibetracker.core.api.session import SessionDep
from vibetracker.core.api.sorting import Key, Sorting
from vibetracker.core.api.text import Terms

from .contents import CONTENTS
from .includes import ProjectIncludeDep
from .model import Project
from .problems import ProjectNameTaken, ProjectNotEmpty
from .schema import ProjectCreate, ProjectRead, ProjectUpdate

router = Router("/projects", description="Containers that tasks are in.")

ProjectId = Annotated[UrlId, Path(description="The project's id.")]

SORTING = Sorting(
    default="name",
    name=Key(Project.search_key),
    created_at=Key(Project.created_at),
    updated_at=Key(Project.updated_at),
    id=Key(Project.id),
)


class ProjectFilters(Filters):
    """What narrows the list of projects down."""

    q: Annotated[
        str | None,
        Terms(200),
        Where(lambda text, _: occurs(text, Project.search_key)),
        Query(description="Every word occurs in the name, ignoring case and accents."),
    ] = None
    archived: Annotated[
        UrlBool | None,
        Where(lambda wanted, _: Project.archived.is_(wanted)),
        Query(description="`archived` is this."),
    ] = None


@router.get("", response_model=Page[ProjectRead])
def list_projects(
    session: SessionDep,
    page: PageDep,
    filters: Annotated[ProjectFilters, Query()],
    include: ProjectIncludeDep,
    sort: Annotated[str, SORTING, Query(description=SORTING.description)] = SORTING.default,
) -> Rows:
    """List the projects, the archived ones too."""
    projects = ProjectRead.select(Project).where(*filters.conditions())
    rows = paginate(session, projects, page, SORTING, sort)
    include.add_to(session, rows.items)
    return rows


@router.post("", status_code=201, response_model=ProjectRead, responses=raising(ProjectNameTaken))
def create_project(session: SessionDep, data: ProjectCreate) -> Project:
    """Create a project."""
    _refuse_taken_name(session, data.name)
    project = Project(**data.model_dump())
    session.add(project)
    return project


@router.get("/{project_id}", response_model=ProjectRead)
def get_project(
    session: SessionDep, project_id: ProjectId, include: ProjectIncludeDep
) -> dict[str, Any]:
    """Get a project."""
    if include:
        return include.view(session, read_any(session, ProjectRead, Project, project_id))
    return read(session, ProjectRead, Project, project_id)


@router.patch("/{project_id}", response_model=ProjectRead, responses=raising(ProjectNameTaken))
def update_project(session: SessionDep, project_id: ProjectId, data: ProjectUpdate) -> Project:
    """Change a project; what is absent stays."""
    project = find(session, Project, project_id)
    if "name" in data.changes():
        _refuse_taken_name(session, data.changes()["name"], renamed=project)
    return data.apply_to(project)


@router.delete("/{project_id}", status_code=204, responses=raising(ProjectNotEmpty))
def delete_project(
    session: SessionDep,
    project_id: ProjectId,
    tasks: Annotated[
        Literal["keep", "trash"] | None,
        Query(
            description="What becomes of the tasks in it, those in the trash included: they stay "
            "(`keep`) or go to the trash (`trash`), both without a project. Absent: while there "
            "are any the project stays, and the answer is 409."
        ),
    ] = None,
) -> None:
    """Delete a project that is empty, or say what becomes of its tasks."""
    for contents in CONTENTS:
        contents.lock(session)
    project = find(session, Project, project_id)
    if tasks is None and (count := sum(it.count(session, project_id) for it in CONTENTS)):
        are = "task is" if count == 1 else "tasks are"
        raise ProjectNotEmpty(
            f"{count} {are} in it, the trash included; send tasks=keep or tasks=trash", tasks=count
        )
    for contents in CONTENTS:
        leave = contents.trash if tasks == "trash" else contents.keep
        leave(session, project_id)
    session.delete(project)


def _refuse_taken_name(session: Session, name: str, *, renamed: Project | None = None) -> None:
    holder = holder_of(session, Project, name, but=renamed)
    if holder is not None:
        raise ProjectNameTaken(f"Project {holder} has this name", existing_id=holder)

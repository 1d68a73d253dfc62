"""The comment operations."""

from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import Field

from vibetracker.core.api.filters import Filters, Where, occurs
from vibetracker.core.api.paging import Page, PageDep, Rows, paginate
from vibetracker.core.api.preconditions import find, read
from vibetracker.core.api.references import require
from vibetracker.core.api.routing import Router, raising
from vibetracker.core.api.schema import Timestamp, UrlId
from vibetracker.core.api.session import SessionDep
from vibetracker.core.api.sorting import Key, Sorting
from vibetracker.core.api.text import Terms
from vibetracker.core.http.problems import Gone
from vibetracker.features.tasks.model import Task

from .model import Comment
from .schema import CommentCreate, CommentRead, CommentUpdate

router = Router("/comments", description="What people say about tasks.")

CommentId = Annotated[UrlId, Path(description="The comment's id.")]

SORTING = Sorting(
    default="created_at",
    created_at=Key(Comment.created_at),
    updated_at=Key(Comment.updated_at),
    id=Key(Comment.id),
)


class CommentFilters(Filters):
    """What narrows the list down."""

    task_id: Annotated[
        list[UrlId],
        Where(lambda ids, _: Comment.task_id.in_(ids)),
        Field(description="About one of these tasks."),
    ] = []
    q: Annotated[
        Annotated[str, Terms(200)] | None,
        Where(lambda text, _: occurs(text, Comment.search_text)),
        Field(description="Every word occurs in the body, ignoring case and accents."),
    ] = None
    updated_after: Annotated[
        Timestamp | None,
        Where(lambda start, _: Comment.updated_at >= start),
        Field(description="Changed at this instant or later."),
    ] = None


@router.get("", response_model=Page[CommentRead])
def list_comments(
    session: SessionDep,
    page: PageDep,
    filters: Annotated[CommentFilters, Query()],
    sort: Annotated[str, SORTING, Query(description=SORTING.description)] = SORTING.default,
) -> Rows:
    """List the comments on live tasks, the oldest first unless asked otherwise."""
    comments = CommentRead.select(Comment).where(Comment.live(), *filters.conditions())
    return paginate(session, comments, page, SORTING, sort)


@router.post("", status_code=201, response_model=CommentRead)
def create_comment(session: SessionDep, data: CommentCreate) -> Comment:
    """Create a comment on a task."""
    require(session, Task, data.task_id, at="/task_id")
    comment = Comment(**data.model_dump())
    session.add(comment)
    return comment


@router.get("/{comment_id}", response_model=CommentRead, responses=raising(Gone))
def get_comment(session: SessionDep, comment_id: CommentId) -> dict[str, Any]:
    """Get a comment."""
    return read(session, CommentRead, Comment, comment_id)


@router.patch("/{comment_id}", response_model=CommentRead, responses=raising(Gone))
def update_comment(session: SessionDep, comment_id: CommentId, data: CommentUpdate) -> Comment:
    """Change a comment; what is absent stays."""
    comment = find(session, Comment, comment_id)
    data.apply_to(comment)
    return comment


@router.delete("/{comment_id}", status_code=204, responses=raising(Gone))
def delete_comment(session: SessionDep, comment_id: CommentId) -> None:
    """Delete a comment."""
    session.delete(find(session, Comment, comment_id))

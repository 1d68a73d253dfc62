"""The tag operations."""

from typing import Annotated, Any

from fastapi import Path, Query
from sqlalchemy import select
from sqlalchemy.orm import Session

from vibetracker.core.api.filters import Filters, Where, occurs
from vibetracker.core.api.names import holder_of
from vibetracker.core.api.paging import Page, PageDep, Rows, paginate
from vibetracker.core.api.preconditions import find, read
from vibetracker.core.api.routing import Router, raising
from vibetracker.core.api.schema import UrlId
from vibetracker.core.api.session import SessionDep
from vibetracker.core.api.sorting import Key, Sorting
from vibetracker.core.api.text import Terms
from vibetracker.core.http.faults import Fault, pointer_to
from vibetracker.core.http.problems import ValidationFailed

from .association import rename, replace, take_off
from .model import Tag
from .problems import TagNameTaken
from .schema import TagCreate, TagMerge, TagRead, TagUpdate

router = Router("/tags", description="Labels for tasks and whatever else has them.")

TagId = Annotated[UrlId, Path(description="The tag's id.")]

SORTING = Sorting(
    default="name",
    name=Key(Tag.search_key),
    created_at=Key(Tag.created_at),
    updated_at=Key(Tag.updated_at),
    id=Key(Tag.id),
)


class TagFilters(Filters):
    """What narrows the list of tags down."""

    q: Annotated[
        str | None,
        Terms(200),
        Where(lambda text, _: occurs(text, Tag.search_key)),
        Query(description="Every word occurs in the name, ignoring case and accents."),
    ] = None


@router.get("", response_model=Page[TagRead])
def list_tags(
    session: SessionDep,
    page: PageDep,
    filters: Annotated[TagFilters, Query()],
    sort: Annotated[str, SORTING, Query(description=SORTING.description)] = SORTING.default,
) -> Rows:
    """List the tags."""
    tags = TagRead.select(Tag).where(*filters.conditions())
    return paginate(session, tags, page, SORTING, sort)


@router.post("", status_code=201, response_model=TagRead, responses=raising(TagNameTaken))
def create_tag(session: SessionDep, data: TagCreate) -> Tag:
    """Create a tag."""
    _refuse_taken_name(session, data.name)
    tag = Tag(**data.model_dump())
    session.add(tag)
    return tag


@router.get("/{tag_id}", response_model=TagRead)
def get_tag(session: SessionDep, tag_id: TagId) -> dict[str, Any]:
    """Get a tag."""
    return read(session, TagRead, Tag, tag_id)


@router.patch("/{tag_id}", response_model=TagRead, responses=raising(TagNameTaken))
def update_tag(session: SessionDep, tag_id: TagId, data: TagUpdate) -> Tag:
    """Change a tag; what is absent stays. With a new name, all that has it has a new version."""
    tag = find(session, Tag, tag_id)
    new_name = data.changes().get("name", tag.name)
    if new_name != tag.name:
        _refuse_taken_name(session, new_name, renamed=tag)
        rename(session, tag_id, tag.name, new_name)
    return data.apply_to(tag)


@router.delete("/{tag_id}", status_code=204)
def delete_tag(session: SessionDep, tag_id: TagId) -> None:
    """Delete a tag and take it off everything that has it."""
    tag = find(session, Tag, tag_id)
    take_off(session, tag)
    session.delete(tag)


@router.post("/{tag_id}/merge", response_model=TagRead)
def merge_tags(session: SessionDep, tag_id: TagId, data: TagMerge) -> Tag:
    """Merge other tags into this one: what had them has it, once, and they are gone."""
    target = find(session, Tag, tag_id)
    ids = data.source_ids
    sources = session.scalars(
        select(Tag).where(Tag.id.in_(ids)).order_by(Tag.id).with_for_update()
    ).all()
    known = {tag.id for tag in sources}
    faults = [
        Fault(
            pointer=pointer_to("source_ids", index),
            code="not_another_tag",
            detail="Not the id of another tag",
        )
        for index, source_id in enumerate(ids)
        if source_id == tag_id or source_id not in known
    ]
    if faults:
        raise ValidationFailed("Some tags cannot be merged; nothing was changed", errors=faults)
    replace(session, sources, target)
    for source in sources:
        session.delete(source)
    return target


def _refuse_taken_name(session: Session, name: str, *, renamed: Tag | None = None) -> None:
    holder = holder_of(session, Tag, name, but=renamed)
    if holder is None:
        return
    detail = f"Tag {holder} has this name"
    if renamed is not None:
        detail += f"; to make both one tag, use POST /tags/{holder}/merge"
    raise TagNameTaken(detail, existing_id=holder)

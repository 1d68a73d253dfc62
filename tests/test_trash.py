"""What belongs to a row in the trash is there with it."""

from collections.abc import Iterator
from typing import Annotated, Any, override

import pytest
from fastapi import Path
from sqlalchemy import ColumnElement, ForeignKey, select, update
from sqlalchemy.orm import Mapped, mapped_column
from starlette.testclient import TestClient

from vibetracker.core.api.paging import Page, PageDep, Rows, paginate
from vibetracker.core.api.preconditions import find, read
from vibetracker.core.api.references import require
from vibetracker.core.api.routing import Router, raising
from vibetracker.core.api.schema import Output, UrlId
from vibetracker.core.api.session import SessionDep, get_database
from vibetracker.core.api.sorting import Key, Sorting
from vibetracker.core.app import create_app
from vibetracker.core.config import Settings
from vibetracker.core.db.database import Database
from vibetracker.core.db.model import Resource, has_trash
from vibetracker.core.db.types import BigInt
from vibetracker.core.discovery import Feature
from vibetracker.core.http.problems import Gone
from vibetracker.testing import Client, Factory


class Branch(Resource):
    """A row that can be in the trash."""

    __tablename__ = "branches"

    cut: Mapped[bool] = mapped_column(default=False)

    @classmethod
    @override
    def live(cls) -> ColumnElement[bool]:
        return cls.cut.is_(False)


class Twig(Resource):
    """A row that belongs to one branch, and refers to another without belonging to it."""

    __tablename__ = "twigs"

    branch_id: Mapped[int] = mapped_column(BigInt, ForeignKey(Branch.id, ondelete="CASCADE"))
    leans_on_id: Mapped[int | None] = mapped_column(
        BigInt, ForeignKey(Branch.id, ondelete="SET NULL"), default=None
    )
    newest_id: Mapped[int | None] = mapped_column(
        BigInt, ForeignKey("leaves.id", ondelete="SET NULL", use_alter=True), default=None
    )


class Leaf(Resource):
    """A row that belongs to a twig, and so to its branch."""

    __tablename__ = "leaves"

    twig_id: Mapped[int] = mapped_column(BigInt, ForeignKey(Twig.id, ondelete="CASCADE"))


class Vine(Resource):
    """A row that belongs to a branch and to a grape, which belongs to a vine."""

    __tablename__ = "vines"

    branch_id: Mapped[int] = mapped_column(BigInt, ForeignKey(Branch.id, ondelete="CASCADE"))
    grape_id: Mapped[int] = mapped_column(
        BigInt, ForeignKey("grapes.id", ondelete="CASCADE", use_alter=True)
    )


class Grape(Resource):
    """A row that belongs to a vine."""

    __tablename__ = "grapes"

    vine_id: Mapped[int] = mapped_column(
        BigInt, ForeignKey(Vine.id, ondelete="CASCADE", deferrable=True, initially="DEFERRED")
    )


class LeafRead(Output):
    """A leaf."""

    id: int
    version: int


router = Router("/leaves", description="Rows that belong to rows that belong to rows.")
LeafId = Annotated[UrlId, Path(description="Its id.")]
SORTING = Sorting("id", id=Key(Leaf.id))


@router.get("", response_model=Page[LeafRead])
def list_leaves(session: SessionDep, page: PageDep) -> Rows:
    """List them."""
    return paginate(session, LeafRead.select(Leaf).where(Leaf.live()), page, SORTING, "id")


@router.get("/{leaf_id}", response_model=LeafRead, responses=raising(Gone))
def get_leaf(session: SessionDep, leaf_id: LeafId) -> dict[str, Any]:
    """Get one."""
    return read(session, LeafRead, Leaf, leaf_id)


@router.delete("/{leaf_id}", status_code=204, responses=raising(Gone))
def delete_leaf(session: SessionDep, leaf_id: LeafId) -> None:
    """Delete one."""
    session.delete(find(session, Leaf, leaf_id))


@router.post("/{leaf_id}/check", status_code=204)
def check_leaf(session: SessionDep, leaf_id: LeafId) -> None:
    """Refer to one."""
    require(session, Leaf, leaf_id, at="/leaf_id")


class BranchFactory(Factory[Branch]):
    """A branch."""

    class Meta:
        model = Branch


class TwigFactory(Factory[Twig]):
    """A twig."""

    class Meta:
        model = Twig


class LeafFactory(Factory[Leaf]):
    """A leaf."""

    class Meta:
        model = Leaf


@pytest.fixture
def leaves(database: Database) -> Iterator[TestClient]:
    """Yield a client; the only leaf is of a twig of branch 1 that leans on branch 2."""
    settings = Settings(database_url="sqlite://", _env_file=None)
    app = create_app(settings, [Feature("leaves", "tests.leaves", router)])
    app.dependency_overrides[get_database] = lambda: database
    BranchFactory.create_batch(2)
    LeafFactory.create(twig_id=TwigFactory.create(branch_id=1, leans_on_id=2).id)
    with Client(app) as client:
        yield client


def cut(database: Database, branch_id: int) -> None:
    """Put a branch into the trash."""
    with database.session(write=True) as session:
        session.execute(update(Branch).where(Branch.id == branch_id).values(cut=True))
        session.commit()


def test_a_row_is_in_the_trash_with_what_it_belongs_to(
    leaves: TestClient, database: Database
) -> None:
    assert all(map(has_trash, (Branch, Twig, Leaf)))
    cut(database, 2)
    assert leaves.get("/leaves/1").headers["etag"] == '"1"'
    assert leaves.post("/leaves/1/check").status_code == 204
    cut(database, 1)
    assert leaves.get("/leaves").json()["items"] == []
    headers = {"If-Match": '"7"', "If-None-Match": '"1"'}
    for method in ("GET", "DELETE"):
        assert leaves.request(method, "/leaves/1", headers=headers).status_code == 410
        assert leaves.request(method, "/leaves/2").status_code == 404
    assert leaves.post("/leaves/1/check").status_code == 422


def test_rows_that_belong_to_each_other_are_in_the_trash_together(database: Database) -> None:
    BranchFactory.create()
    with database.session(write=True) as session:
        session.add_all([Grape(id=1, vine_id=1), Vine(id=1, branch_id=1, grape_id=1)])
        session.commit()
    for is_there in (True, False):
        with database.session(write=False) as session:
            for model in (Vine, Grape):
                found = session.scalars(select(model.id).where(model.live())).all()
                assert found == [1] * is_there
        cut(database, 1)

"""Features are found by their folders, and what is malformed is named together with the mend."""

import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

import vibetracker.features
from vibetracker.core.app import create_app
from vibetracker.core.config import Settings
from vibetracker.core.db.model import Base, Resource
from vibetracker.core.discovery import FeatureError, discover

from .specimens import Specimen

ROUTER = """
    from vibetracker.core.api.routing import Router
    from vibetracker.core.api.schema import Output

    class Note(Output):
        text: str = "hello"

    router = Router("/{name}", description="Tested.")

    @router.get("")
    def list_{name}() -> Note:
        "List them."
        return Note()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield an empty folder, which replaces the one with the features."""
    loaded, mapped = set(sys.modules), {*Base.metadata.tables}
    monkeypatch.setattr(vibetracker.features, "__path__", [str(tmp_path)])
    yield tmp_path
    for module in sys.modules.keys() - loaded:
        del sys.modules[module]
        vars(vibetracker.features).pop(module.rpartition(".")[2], None)
    for name in Base.metadata.tables.keys() - mapped:
        Base.metadata.remove(Base.metadata.tables[name])
    # A class stays in SQLAlchemy's registry until it is collected; one whose mapping failed would
    # stop the tests behind, and takes more than one collection.
    while any(model.__module__ not in sys.modules for model in Resource.__subclasses__()):
        assert gc.collect()


def write(folder: Path, name: str, **files: str) -> None:
    """Write a feature that is well-formed but for these modules."""
    modules = {"__init__": '"""Tested."""', "router": ROUTER.format(name=name), **files}
    for module, source in modules.items():
        if source:
            path = folder / name / f"{module}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(dedent(source))


def test_a_folder_is_all_that_a_feature_needs(folder: Path) -> None:
    write(folder, "alpha")
    write(folder, "beta")
    settings = Settings(database_url="sqlite://", _env_file=None)
    app = create_app(settings)
    assert [feature.name for feature in app.state.features] == ["alpha", "beta"]
    client = TestClient(app)
    for name in ("alpha", "beta"):
        assert client.get(f"/{name}").json() == {"text": "hello"}
        operation = app.openapi()["paths"][f"/{name}"]["get"]
        assert (operation["operationId"], operation["tags"]) == (f"list_{name}", [name])


def test_a_disabled_feature_is_not_mounted_and_not_looked_at(folder: Path) -> None:
    write(folder, "alpha")
    write(folder, "beta", router="raise RuntimeError")
    settings = Settings(database_url="sqlite://", disabled_features=["beta"], _env_file=None)
    app = create_app(settings)
    assert [feature.name for feature in app.state.features] == ["alpha"]
    assert TestClient(app).get("/beta").status_code == 404
    assert "/beta" not in app.openapi()["paths"]


@pytest.mark.parametrize(
    "leftover", ["gone/__pycache__/router.cpython-312.pyc", "gone/tests/__pycache__/a.pyc"]
)
def test_a_folder_of_nothing_but_caches_is_no_feature(folder: Path, leftover: str) -> None:
    path = folder / leftover
    path.parent.mkdir(parents=True)
    path.touch()
    (folder / "empty" / "tests").mkdir(parents=True)
    write(folder, "alpha")
    assert [feature.name for feature in discover()] == ["alpha"]


def test_hidden_folders_and_files_are_no_features(folder: Path) -> None:
    for name in (".git", "_drafts", "__pycache__"):
        write(folder, name)
    (folder / "__init__.py").touch()
    (folder / "notes.txt").touch()
    assert discover() == []


MALFORMED = {
    "no package": ({"__init__": ""}, "no __init__.py", "add one"),
    "no router": ({"router": ""}, "no router.py", "add one"),
    "nothing called router": ({"router": "routes = []"}, "no `router`", 'Router("/alpha"'),
    "a router of FastAPI's own": (
        {"router": "from fastapi import APIRouter\nrouter = APIRouter(prefix='/alpha')"},
        "no `router` made by core.api.routing.Router",
        'Router("/alpha"',
    ),
    "another prefix": ({"router": ROUTER.format(name="beta")}, "'/beta'", "make it '/alpha'"),
    "a route past the rules": (
        {"router": ROUTER.format(name="alpha") + "    router.add_route('/x', print)\n"},
        "'/x' is no Operation",
        "define it with the feature's router",
    ),
    "a router inside of it": (
        {
            "router": ROUTER.format(name="alpha")
            + "    from fastapi import APIRouter\n"
            + "    inner = APIRouter(prefix='/inner')\n"
            + "    inner.get('/x')(list_alpha)\n"
            + "    router.include_router(inner)\n"
        },
        "feature 'alpha': '/alpha/inner/x' is no Operation",
        "define it with the feature's router",
    ),
    "an operation id twice": (
        {
            "router": ROUTER.format(name="alpha")
            + "    @router.get('/more')\n"
            + "    def list_alpha() -> Note:\n"
            + "        return Note()\n"
        },
        "'list_alpha' exists in feature 'alpha' already",
        "rename the handler",
    ),
    "an operation id of the application": (
        {"router": ROUTER.format(name="alpha").replace("list_alpha", "list_problem_types")},
        "'list_problem_types' exists in the application already",
        "rename the handler",
    ),
    "additions of nothing": (
        {"additions": "from vibetracker.core.api.filters import Filters"},
        "its additions.py adds nothing",
        "derive a class from the Filters",
    ),
    "rows of two classes in one table": (
        {
            "model": """
                from sqlalchemy.orm import Mapped
                from vibetracker.core.db.model import Resource

                class Gadget(Resource):
                    __tablename__ = "gadgets"
                    kind: Mapped[str]
                    __mapper_args__ = {
                        **Resource.__mapper_args__,
                        "polymorphic_on": "kind",
                        "polymorphic_identity": "gadget",
                    }

                class Phone(Gadget):
                    number: Mapped[str | None]
                    __mapper_args__ = {"polymorphic_identity": "phone"}
            """
        },
        "Gadget shares rows with another class",
        "give each its own table and a foreign key",
    ),
    "a resource without a version": (
        {
            "model": """
                from vibetracker.core.db.model import Resource

                class Gadget(Resource):
                    __tablename__ = "gadgets"
                    __mapper_args__ = {"eager_defaults": True}
            """
        },
        "Gadget has no version",
        "add **Resource.__mapper_args__ to its own",
    ),
    "a resource whose ids are used again": (
        {
            "model": """
                from sqlalchemy import CheckConstraint
                from vibetracker.core.db.model import Resource

                class Gadget(Resource):
                    __tablename__ = "gadgets"
                    __table_args__ = (CheckConstraint("id > 0", "positive"),)
            """
        },
        "Gadget would use ids again on SQLite",
        "end its __table_args__ with Resource.__table_args__",
    ),
    "a resource whose id is no whole number": (
        {
            "model": """
                from uuid import UUID, uuid4
                from sqlalchemy.orm import Mapped, mapped_column
                from vibetracker.core.db.model import Resource

                class Gadget(Resource):
                    __tablename__ = "gadgets"
                    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
            """
        },
        "the id of Gadget is no whole number",
        "leave the id to Resource",
    ),
    "a constraint without a name": (
        {
            "model": """
                from sqlalchemy import CheckConstraint
                from vibetracker.core.db.model import Resource

                class Gadget(Resource):
                    __tablename__ = "gadgets"
                    __table_args__ = (CheckConstraint("id > 0"), Resource.__table_args__)
            """
        },
        "requires that constraint is explicitly named",
        "correct that",
    ),
    "a relationship with no class": (
        {
            "model": """
                from sqlalchemy.orm import Mapped, relationship
                from vibetracker.core.db.model import Resource

                class Gadget(Resource):
                    __tablename__ = "gadgets"
                    cage: Mapped[Resource] = relationship("Cage")
            """
        },
        "Gadget cannot be mapped (When initializing mapper",
        "correct its relationships",
    ),
    "a taken table": (
        {
            "model": f"""
                from vibetracker.core.db.model import Resource

                class AnotherSpecimen(Resource):
                    __tablename__ = "{Specimen.__tablename__}"
            """
        },
        "'specimens' is already defined",
        "give its tables names that no other feature has",
    ),
}


@pytest.mark.parametrize(("files", "fault", "mend"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_feature_stops_the_start_with_its_name_and_the_mend(
    folder: Path, files: dict[str, str], fault: str, mend: str
) -> None:
    write(folder, "alpha", **files)
    with pytest.raises(FeatureError) as caught:
        create_app(Settings(database_url="sqlite://", _env_file=None))
    text = str(caught.value)
    assert text.startswith("feature 'alpha': ")
    assert fault in text.partition("; ")[0]
    assert mend in text.partition("; ")[2]
    assert caught.value.path
    assert caught.value.path.is_relative_to(folder / "alpha")


@pytest.mark.parametrize("name", ["Alpha", "my-feature", "2nd", "with space", "docs", "problems"])
def test_a_name_that_cannot_be_a_path_stops_the_start(folder: Path, name: str) -> None:
    write(folder, name)
    with pytest.raises(FeatureError, match=f"feature '{name}': .*rename the folder"):
        discover()


LIST = """
    from typing import Annotated
    from fastapi import Depends
    from pydantic import Field
    from vibetracker.core.api.filters import Filters
    from vibetracker.core.api.parameters import FromQuery

    class NoteFilters(Filters):
        loud: Annotated[bool, Field(description="Loud ones.")] = False
"""
ADDITIONS = """
    from typing import Annotated
    from pydantic import Field
    from vibetracker.features.alpha.schema import NoteFilters

    class Added(NoteFilters):
        long: Annotated[bool, Field(description="Long ones.")] = False
"""


def write_open_list(folder: Path) -> None:
    """Write a feature ``alpha`` whose list others can add to."""
    handler = """
    from typing import Annotated
    from fastapi import Depends
    from vibetracker.core.api.parameters import FromQuery
    from .schema import NoteFilters

    @router.get("/open")
    def list_open(filters: Annotated[NoteFilters, Depends(FromQuery(NoteFilters))]) -> Note:
        "List them."
        return Note(text=",".join(name for name, value in filters if value))
    """
    write(folder, "alpha", schema=LIST, router=ROUTER.format(name="alpha") + handler)


def test_what_a_folder_adds_to_a_list_goes_with_the_folder(folder: Path) -> None:
    write_open_list(folder)
    additions_first = "import sys\nassert 'vibetracker.features.beta.additions' in sys.modules\n"
    router = additions_first + dedent(ROUTER.format(name="beta"))
    write(folder, "beta", additions=ADDITIONS, router=router)
    settings = Settings(database_url="sqlite://", _env_file=None)
    answer = TestClient(create_app(settings)).get("/alpha/open?long=true&loud=true")
    assert answer.json() == {"text": "loud,long"}
    disabled = Settings(database_url="sqlite://", disabled_features=["beta"], _env_file=None)
    for app in (create_app(disabled), create_app(settings, discover(only={"alpha"}))):
        answer = TestClient(app).get("/alpha/open?long=true&loud=true")
        assert answer.status_code == 422
        assert [fault["parameter"] for fault in answer.json()["errors"]] == ["long"]


def test_a_name_that_two_folders_add_stops_the_start(folder: Path) -> None:
    write_open_list(folder)
    write(folder, "beta", additions=ADDITIONS)
    write(folder, "gamma", additions=ADDITIONS)
    with pytest.raises(FeatureError, match=r"^feature 'gamma': it adds 'long', .*feature 'beta'"):
        discover()


def test_a_name_that_core_adds_to_a_list_stops_the_start(folder: Path) -> None:
    write_open_list(folder)
    write(folder, "beta", additions=ADDITIONS.replace("long:", "fields:"))
    with pytest.raises(FeatureError, match=r"^feature 'beta': it adds 'fields', .*the list itself"):
        discover()


def test_an_operation_id_of_another_feature_is_reported_with_its_owner(folder: Path) -> None:
    write(folder, "alpha")
    write(folder, "beta", router=ROUTER.format(name="beta").replace("list_beta", "list_alpha"))
    with pytest.raises(FeatureError, match=r"'beta': .*'list_alpha' exists in feature 'alpha'"):
        discover()


@pytest.mark.parametrize("module", ["__init__", "model", "router"])
def test_an_error_inside_a_feature_is_not_swallowed(folder: Path, module: str) -> None:
    write(folder, "alpha", **{module: "import nothing_of_this_name"})
    with pytest.raises(ModuleNotFoundError, match="nothing_of_this_name"):
        discover()


OPERATIONS = {
    "a loose body": (
        """
        from pydantic import BaseModel
        class Loose(BaseModel):
            text: str
        @router.post("")
        def create_note(data: Loose) -> None: ...
        """,
        "create_note: the body must be one subclass of core.api.schema.Input",
    ),
    "a body that is no model": (
        """
        from typing import Annotated
        from fastapi import Body
        @router.post("")
        def create_note(data: Annotated[dict[str, int], Body()]) -> None: ...
        """,
        "create_note: the body must be one subclass",
    ),
    "a loose body of another type of JSON": (
        """
        from typing import Annotated
        from fastapi import Body
        from pydantic import BaseModel
        class Loose(BaseModel):
            text: str
        @router.post("")
        def create_note(data: Annotated[Loose, Body(media_type="application/vnd.api+json")]): ...
        """,
        "create_note: the body must be one subclass of core.api.schema.Input",
    ),
    "an async handler that waits for the database": (
        """
        from vibetracker.core.api.session import SessionDep
        @router.post("")
        async def create_note(session: SessionDep) -> None: ...
        """,
        "create_note: an async handler with a session holds up every other request",
    ),
    "an async dependency that waits for the database": (
        """
        from typing import Annotated
        from fastapi import Depends
        from vibetracker.core.api.session import SessionDep
        async def find_note(session: SessionDep) -> int: ...
        @router.post("")
        def create_note(note: Annotated[int, Depends(find_note)]) -> None: ...
        """,
        "create_note: the dependency find_note is async and takes a session",
    ),
    "an async object that waits for the database": (
        """
        from typing import Annotated
        from fastapi import Depends
        from vibetracker.core.api.session import SessionDep
        class Finder:
            async def __call__(self, session: SessionDep) -> int: ...
        @router.post("")
        def create_note(note: Annotated[int, Depends(Finder())]) -> None: ...
        """,
        "create_note: the dependency Finder.__call__ is async and takes a session",
    ),
    "work of an object after the commit": (
        """
        from collections.abc import Iterator
        from fastapi import Depends
        from functools import partial
        from vibetracker.core.api.session import SessionDep
        class Audit:
            def __call__(self, session: SessionDep) -> Iterator[None]:
                yield
        @router.post("", dependencies=[Depends(partial(Audit()))])
        def create_note() -> None: ...
        """,
        "create_note: what the dependency Audit.__call__ does after its yield comes after the",
    ),
    "work after the commit": (
        """
        from collections.abc import Iterator
        from typing import Annotated
        from fastapi import Depends
        from vibetracker.core.api.session import SessionDep
        def audit(session: SessionDep) -> Iterator[None]:
            yield
        @router.post("", dependencies=[Depends(audit)])
        def create_note() -> None: ...
        """,
        "create_note: what the dependency audit does after its yield comes after the commit",
    ),
    "work after the commit on what another dependency has read": (
        """
        from collections.abc import AsyncIterator
        from typing import Annotated
        from fastapi import Depends
        from vibetracker.core.api.session import SessionDep
        def find_note(session: SessionDep) -> dict[str, int]: ...
        async def count(note: Annotated[dict[str, int], Depends(find_note)]) -> AsyncIterator[None]:
            yield
            note["count"] += 1
        @router.post("", dependencies=[Depends(count)])
        def create_note() -> None: ...
        """,
        "create_note: what the dependency count does after its yield comes after the commit",
    ),
    "a stream of what is written": (
        """
        from collections.abc import Iterator
        from vibetracker.core.api.session import SessionDep
        @router.post("")
        def create_notes(session: SessionDep) -> Iterator[int]:
            yield 1
        """,
        "create_notes: what it yields is made after the commit",
    ),
    "two methods at once": (
        """
        @router.api_route("", methods=["GET", "POST"])
        def notes() -> None: ...
        """,
        "notes: write one handler for each method",
    ),
    "a member of a type that JSON does not have": (
        """
        from enum import StrEnum
        from pydantic import Field
        from vibetracker.core.api.schema import Input
        class Kind(StrEnum):
            LOUD = "loud"
        class NoteCreate(Input):
            kinds: list[Kind] | None = Field(None, max_length=3)
        @router.post("")
        def create_note(data: NoteCreate) -> None: ...
        """,
        "create_note: NoteCreate.kinds is of a type that JSON does not have",
    ),
    "a list of a type that JSON does not have, which alone is said to be loose": (
        """
        from typing import Annotated
        from uuid import UUID
        from pydantic import Field
        from vibetracker.core.api.schema import Input
        class NoteCreate(Input):
            ids: Annotated[list[UUID], Field(strict=False)]
        @router.post("")
        def create_note(data: NoteCreate) -> None: ...
        """,
        "create_note: NoteCreate.ids is of a type that JSON does not have",
    ),
    "a union with a type that JSON does not have": (
        """
        from datetime import date
        from typing import Literal
        from vibetracker.core.api.schema import Input
        type Until = date | Literal["ever"]
        class NoteCreate(Input):
            until: Until
        @router.post("")
        def create_note(data: NoteCreate) -> None: ...
        """,
        "create_note: NoteCreate.until is of a type that JSON does not have",
    ),
    "an object of Python": (
        """
        from dataclasses import dataclass
        from vibetracker.core.api.schema import Input
        @dataclass
        class Point:
            x: int
        class NoteCreate(Input):
            points: list[Point]
        @router.post("")
        def create_note(data: NoteCreate) -> None: ...
        """,
        "create_note: NoteCreate.points is of a type that JSON does not have",
    ),
    "members below that would be ignored": (
        """
        from pydantic import BaseModel
        from vibetracker.core.api.schema import Input
        class Line(BaseModel):
            text: str
        class NoteCreate(Input):
            lines: list[Line]
        @router.post("")
        def create_note(data: NoteCreate) -> None: ...
        """,
        "create_note: Line would ignore members that it does not know; derive it from Input",
    ),
    "members below a type that has a name": (
        """
        from pydantic import BaseModel
        from vibetracker.core.api.schema import Input
        class Line(BaseModel):
            text: str
        type Lines = list[Lines] | list[Line]
        class NoteCreate(Input):
            lines: Lines
        @router.post("")
        def create_note(data: NoteCreate) -> None: ...
        """,
        "create_note: Line would ignore members that it does not know; derive it from Input",
    ),
    "a parameter that is not documented": (
        """
        from typing import Annotated
        from fastapi import Query
        @router.get("/more")
        def list_more(colour: Annotated[str, Query(include_in_schema=False)] = "") -> None: ...
        """,
        "list_more: 'colour' would be refused as unknown; leave include_in_schema out",
    ),
    "a body that only the document has": (
        """
        from fastapi import Request
        @router.post("", openapi_extra={"requestBody": {"content": {"application/yaml": {}}}})
        async def create_note(request: Request) -> None: ...
        """,
        "create_note: a body that only openapi_extra describes is refused",
    ),
    "a parameter that every answer with a resource has": (
        """
        from typing import Annotated
        from fastapi import Depends, Query
        from vibetracker.core.api.schema import Output
        class NoteRead(Output):
            id: int
            version: int
        def chosen(wanted: Annotated[str, Query(alias="fields")] = "") -> str: ...
        @router.get("/more", response_model=NoteRead, dependencies=[Depends(chosen)])
        def get_note() -> None: ...
        """,
        "get_note: core adds a query parameter 'fields' to it; give its own another name",
    ),
    "a parameter that every write has": (
        """
        from typing import Annotated
        from fastapi import Query
        from pydantic import BaseModel
        from vibetracker.core.api.session import SessionDep
        class Options(BaseModel):
            dry_run: bool = False
        @router.post("")
        def create_note(session: SessionDep, options: Annotated[Options, Query()]) -> None: ...
        """,
        "create_note: core adds a query parameter 'dry_run' to it; give its own another name",
    ),
    "a form that takes no number": (
        """
        from typing import Annotated
        from fastapi import Form
        from vibetracker.core.api.schema import Input
        class NoteForm(Input):
            count: int
        @router.post("")
        def create_note(data: Annotated[NoteForm, Form()]) -> None: ...
        """,
        "create_note: NoteForm is an Input, which takes no number and no boolean from a text",
    ),
    "a query that takes no number": (
        """
        from fastapi import Depends
        from vibetracker.core.api.parameters import FromQuery
        from vibetracker.core.api.schema import Input
        class NoteQuery(Input):
            count: int
        @router.get("/more", dependencies=[Depends(FromQuery(NoteQuery))])
        def list_more() -> None: ...
        """,
        "list_more: NoteQuery is an Input, which takes no number and no boolean from a text",
    ),
    "a query that refuses the parameters of core": (
        """
        from typing import Annotated
        from fastapi import Depends, Query
        from pydantic import BaseModel
        class NoteQuery(BaseModel, extra="forbid"):
            count: int
        def chosen(query: Annotated[NoteQuery, Query()]) -> int: ...
        @router.get("/more", dependencies=[Depends(chosen)])
        def list_more() -> None: ...
        """,
        'list_more: NoteQuery with extra="forbid" would refuse the parameters of other models',
    ),
    "an answer to HEAD alone": (
        """
        @router.head("/more")
        def head_notes() -> None: ...
        """,
        "head_notes: the GET of its path answers a HEAD",
    ),
    "an operation that is not documented": (
        """
        @router.get("", include_in_schema=False)
        def list_notes() -> None: ...
        """,
        "list_notes: what is not documented is refused",
    ),
}


@pytest.mark.parametrize(("source", "fault"), OPERATIONS.values(), ids=OPERATIONS)
def test_an_operation_that_would_slip_past_a_rule_cannot_be_defined(
    folder: Path, source: str, fault: str
) -> None:
    write(folder, "alpha", router=dedent(ROUTER.format(name="alpha")) + dedent(source))
    with pytest.raises(TypeError) as caught:
        discover()
    assert str(caught.value).startswith(fault)


def test_a_resource_may_have_arguments_of_its_own(folder: Path) -> None:
    model = """
        from sqlalchemy import CheckConstraint
        from vibetracker.core.db.model import Resource

        class Gadget(Resource):
            __tablename__ = "gadgets"
            __mapper_args__ = {**Resource.__mapper_args__, "eager_defaults": True}
            __table_args__ = (CheckConstraint("id > 0", "positive"), Resource.__table_args__)
    """
    write(folder, "alpha", model=model)
    (feature,) = discover()
    assert [resource.__name__ for resource in feature.resources] == ["Gadget"]


def test_a_body_may_have_what_json_has_not_where_it_says_how(folder: Path) -> None:
    source = dedent(ROUTER.format(name="alpha")) + dedent(
        """
        from decimal import Decimal
        from enum import StrEnum
        from ipaddress import IPv4Address
        from typing import Annotated
        from uuid import UUID
        from pydantic import BeforeValidator, Field
        from vibetracker.core.api.schema import CalendarDate, Input, Timestamp
        class Kind(StrEnum):
            LOUD = "loud"
        class NoteCreate(Input):
            kinds: list[Annotated[Kind, Field(strict=False)]] = []
            weight: Annotated[Decimal, BeforeValidator(Decimal)] = Decimal(1)
            until: CalendarDate | None = None
            at: Timestamp | None = None
            name: str | UUID = ""
            number: Annotated[UUID | None, Field(strict=False)] = None
            address: Annotated[IPv4Address, Field(strict=False)] | None = None
            below: "NoteCreate | None" = None
            type: dict[str, str] = {"type": "model"}
        @router.post("")
        def create_note(data: NoteCreate) -> list[str]:
            return [*data.kinds, str(data.weight), str(data.until)]
        """
    )
    write(folder, "alpha", router=source)
    app = create_app(Settings(database_url="sqlite://", _env_file=None))
    sent: dict[str, Any] = {"kinds": ["loud"], "weight": "2.5", "until": "2026-03-01"}
    sent["below"] = {"number": str(UUID(int=7)), "address": "127.0.0.1", "below": {"name": "x"}}
    assert TestClient(app).post("/alpha", json=sent).json() == ["loud", "2.5", "2026-03-01"]


def test_annotations_may_be_strings(folder: Path) -> None:
    source = "from __future__ import annotations\n" + dedent(ROUTER.format(name="alpha"))
    source += dedent(
        """
        from vibetracker.core.api.session import SessionDep
        @router.post("")
        def create_note(session: SessionDep) -> Note:
            return Note()
        """
    )
    write(folder, "alpha", router=source)
    (feature,) = discover()
    assert [operation.is_transaction for operation in feature.operations] == [False, True]


def test_every_feature_of_this_project_is_well_formed(app: FastAPI) -> None:
    (root,) = vibetracker.features.__path__
    packages = {path.parent.name for path in Path(root).glob("*/__init__.py")}
    assert {feature.name for feature in app.state.features} == packages
    for feature in app.state.features:
        assert feature.operations

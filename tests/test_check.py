"""``vibetracker check`` finds every breach of a house rule, its place, and the mend.

In the files below, ``#! text`` at the end of a line stands for a breach that has to be reported at
that line with this text; there may be several.
"""

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent

import pytest

from .processes import COMMAND, copy_project, environment

SOUND = {
    "__init__.py": '''
        """Things to build on."""
    ''',
    "model.py": '''
        """The things table."""

        from sqlalchemy.orm import Mapped, mapped_column

        from vibetracker.core.db.model import Resource


        class {Thing}(Resource):
            """A thing."""

            __tablename__ = "{things}"

            label: Mapped[str] = mapped_column()
    ''',
    "router.py": '''
        """The operations on things."""

        from typing import Annotated, Any

        from fastapi import Path

        from vibetracker.core.api.preconditions import read
        from vibetracker.core.api.routing import Router
        from vibetracker.core.api.schema import Output, UrlId
        from vibetracker.core.api.session import SessionDep

        from .model import {Thing}

        router = Router("/{things}", description="Things.")


        class {Thing}Read(Output):
            """A thing."""

            id: int
            label: str
            version: int


        @router.get("/{{thing_id}}", response_model={Thing}Read)
        def get_{things}(
            session: SessionDep, thing_id: Annotated[UrlId, Path(description="Its id.")]
        ) -> dict[str, Any]:
            """Get a thing."""
            return read(session, {Thing}Read, {Thing}, thing_id)
    ''',
    "tests/factory.py": "",
    "tests/test_things.py": """
        from starlette.testclient import TestClient


        def test_a_thing_that_is_not_there(client: TestClient) -> None:
            assert client.get(f"/{things}/{{4711}}").status_code == 404
    """,
}
"""A feature without a breach; the others differ from it in the files that they have here."""

ROUTER = '''
from vibetracker.core.api.routing import Router
from vibetracker.core.api.schema import Output


class Answer(Output):
    """An answer."""

    text: str = "yes"


router = Router("/{name}", description="Tested.")
'''

type Planted = dict[str, dict[str, str | None]]

PLANTED: Planted = {
    "base": {"inner.py": '"""What base keeps to itself."""\n'},
    "Upper": {"__init__.py": '"""Named in upper case."""  #! not a lower-case Python identifier'},
    "docs": {"__init__.py": '"""Named like a page."""  #! /docs belongs to the application itself'},
    "bare": {"__init__.py": None, "router.py": None},
    "unreadable": {"router.py": "router = (\n", "model.py": "def model(:  #! SyntaxError: invalid"},
    "crashing": {"router.py": "limit = 10\nlimit / 0  #! ZeroDivisionError: division by zero\n"},
    "routerless": {"router.py": "routes = []  #! no `router` made by core.api.routing.Router\n"},
    "misplaced": {"router.py": "#! the prefix is '/elsewhere'\n" + ROUTER.format(name="elsewhere")},
    "bypassing": {
        "router.py": "#! '/past' is no Operation\n"
        + ROUTER.format(name="bypassing")
        + 'router.add_route("/past", print)\n'
    },
    "unfit": {
        "router.py": ROUTER.format(name="unfit")
        + dedent("""
            from pydantic import BaseModel


            class Loose(BaseModel):
                text: str


            @router.post("", status_code=201)  #! create_loose: the body must be one subclass
            def create_loose(data: Loose) -> Answer:
                "Create it."
                return Answer()
        """)
    },
    "waiting": {
        "router.py": ROUTER.format(name="waiting")
        + dedent("""
            from vibetracker.core.api.session import SessionDep


            @router.get("")  #! get_waiting: an async handler with a session holds up every other
            async def get_waiting(session: SessionDep) -> Answer:
                "Get it."
                return Answer()
        """)
    },
    "hiding": {
        "router.py": ROUTER.format(name="hiding")
        + dedent("""
            @router.get("", include_in_schema=False)  #! get_hiding: what is not documented
            def get_hiding() -> Answer:
                "Get it."
                return Answer()
        """)
    },
    "cyclic": {"schema.py": "from vibetracker.features.mutual import schema  #! it needs itself"},
    "mutual": {"schema.py": "from vibetracker.features.cyclic import schema"},
    "doubled": {
        "model.py": SOUND["model.py"]
        .replace("{things}", "base")
        .replace("{Thing}", "Again")
        .replace('"""The', '#! Table \'base\' is already defined\n        """The')
    },
    "deaf": {
        "listener.py": """
            "Hears nothing."  #! listener.py has no function `on_changes`
        """,
    },
    "echoing": {
        "router.py": ROUTER.format(name="echoing")
        + dedent("""
            @router.get("")  #! its operation 'get_base' exists in feature 'base' already
            def get_base() -> Answer:
                "Get it."
                return Answer()
        """),
        "tests/test_things.py": 'CASES = [("GET", "/echoing")]\n',
    },
    "importing": {
        "schema.py": """
            from fastapi import HTTPException
            from vibetracker.testing import Factory  #! builds on core, not on vibetracker.testing
            from vibetracker.features.base.router import router  #! the router of base is its own
            from vibetracker.features.base.tests import factory  #! the tests of base is its own
            from vibetracker.features.base.inner import x  #! its module inner is public
            from vibetracker.features.base import inner, model  #! its module inner is public
            from vibetracker.features.nothing import model  #! there is no feature 'nothing'
        """,
    },
    "acting": {
        "work.py": """
            def work(session, relationship):
                session.commit()  #! commit() ends the transaction
                session.rollback()  #! rollback() ends the transaction
                relationship(backref="things")  #! a backref puts an attribute on another class


            def work_in_part(session):
                with session.begin_nested() as savepoint:
                    savepoint.rollback()
                other = session.begin_nested()
                other.commit()


            def work_afterwards(database):
                with database.session(write=True) as session:
                    session.commit()


            def work_again(session):
                session.commit()  #! commit() ends the transaction
        """,
    },
    "untested": {"tests/factory.py": None, "tests/test_things.py": None},
    "documented": {
        "router.py": ROUTER.format(name="documented")
        + dedent('''
            from collections.abc import Iterator
            from decimal import Decimal
            from typing import Annotated

            from fastapi import Depends, HTTPException, Query
            from fastapi.responses import FileResponse, Response, StreamingResponse
            from pydantic import Field

            from vibetracker.core.api.schema import Input


            class Rates(Input):
                """Numbers that JSON does not have."""

                rate: Annotated[Decimal, Field(strict=False)]
                share: Annotated[Decimal, Field(strict=False, max_digits=3)] | None


            def guard(key: Annotated[str, Query(description="Opens the door.")] = "") -> None:
                if key != "sesame":
                    raise HTTPException(403)


            @router.get("/wait")
            async def get_wait() -> Answer:
                """Get it, without a session."""
                return Answer()


            @router.get("/text")
            def get_text() -> Response:
                """Get it as text."""
                return Response("yes", media_type="text/plain")


            @router.get("/stream", response_class=StreamingResponse)
            def get_stream() -> StreamingResponse:
                """Get it in parts."""
                return StreamingResponse(iter(["y", "es"]))


            @router.get("/file", response_class=FileResponse)
            def get_file() -> str:
                """Get it as a file."""
                return __file__


            @router.get("/whatever", response_model=None)
            def get_whatever():
                """Get whatever it is."""


            @router.put("/whole", dependencies=[Depends(guard)], status_code=204)
            def replace_it() -> None:
                """Replace it."""


            @router.put("/rates", status_code=204)
            def replace_rates(data: Rates) -> None:
                """Replace them."""
        '''),
        "tests/test_things.py": """
            def test_all(client):
                client.get("/documented/wait")
                client.get("/documented/text")
                client.get("/documented/stream")
                client.get("/documented/file")
                client.get("/documented/whatever")
                client.put("/documented/whole")
                client.put("/documented/rates")
        """,
    },
    "receiving": {
        "router.py": ROUTER.format(name="receiving")
        + dedent('''
            from typing import Annotated

            from fastapi import Form, UploadFile


            @router.post("/upload")
            def upload_it(file: UploadFile, note: Annotated[str, Form()]) -> Answer:
                """Upload it."""
                return Answer()
        '''),
        "tests/test_things.py": """
            def test_it(client):
                client.post(
                    "/receiving/upload", files={"file": b""}
                )
        """,
    },
    "operating": {
        "router.py": "#! the router has no description\n"
        + ROUTER.format(name="operating").replace("Tested.", " ")
        + dedent('''
            from typing import Annotated, Any

            from annotated_types import Ge
            from fastapi import Depends, Query
            from pydantic import AfterValidator, BeforeValidator

            from vibetracker.core.api.schema import Input, UrlInt


            class Data(Input):
                """A body."""

                answers: list[bool]
                others: dict[str, bool]
                text: str
                count: Annotated[int, BeforeValidator(int), Ge(1)]


            def guard(token: str = "") -> None:
                pass


            @router.get("/named")  #! fetch_it is not named for what it does
            def fetch_it() -> Answer:
                """Fetch it."""
                return Answer()


            @router.get("/silent")  #! get_silently is not documented
            def get_silently() -> Answer:
                return Answer()


            @router.get("/parameters")  #! the parameter 'depth' of get_depth is not documented
            def get_depth(depth: Annotated[UrlInt, Query()] = 1) -> Answer:
                """Get it."""
                return Answer()


            @router.get("/guarded", dependencies=[Depends(guard)])  #! the parameter 'token'
            def get_guarded() -> Answer:
                """Get it."""
                return Answer()


            @router.get("/all")  #! get_all answers a list without pages
            def get_all() -> list[Answer]:
                """Get them."""
                return []


            @router.get("/any")  #! the answer of get_any has no schema
            def get_any() -> Any:
                """Get it."""


            @router.get("/lonely")  #! no test of the feature calls GET /operating/lonely
            def get_lonely() -> Answer:
                """Get it."""
                return Answer()


            @router.delete("")  #! delete_it answers 200
            def delete_it() -> Answer:
                """Delete it."""
                return Answer()


            @router.post("")  #! answers 200 #! an object in #! a list #! a text #! 'ge'
            def create_it(data: Data) -> Answer:
                """Create it."""
                return Answer()
        '''),
        "tests/test_things.py": """
            PATH = "/operating"


            def test_all(client):
                client.delete(PATH)
                client.post(f"{PATH}?dry_run=true", json={})
                client.get("/operating/named")
                client.get("/operating/silent?x=1")
                client.get("/operating/guarded")
                client.post("/operating/lonely")
                client.request("GET", "/operating/parameters")
                for method, path in [("GET", f"{PATH}/all"), ("GET", "/operating/any")]:
                    client.request(method, path)
        """,
    },
    "storing": {
        "model.py": """
            from datetime import datetime

            from sqlalchemy import DateTime, ForeignKey, Integer
            from sqlalchemy.dialects.postgresql import ARRAY
            from sqlalchemy.orm import Mapped, mapped_column

            from vibetracker.core.db.model import Resource
            from vibetracker.core.db.types import BigInt


            class Stored(Resource):
                __tablename__ = "storing"  #! storing is no table in sqlite

                seen_at: Mapped[datetime] = mapped_column(DateTime)  #! forgets its time zone
                base_id: Mapped[int] = mapped_column(BigInt, ForeignKey("base.id"))  #! to base
                own_id: Mapped[int] = mapped_column(Integer, ForeignKey("storing.id"))  #! cannot
                extra: Mapped[list[int]] = mapped_column(ARRAY(Integer))
        """,
        "router.py": ROUTER.format(name="storing"),
    },
    "opening": {
        "lists.py": '''
            """Public: the filters of a list that is open."""

            from typing import Annotated

            from pydantic import Field

            from vibetracker.core.api.filters import Filters


            class OpeningFilters(Filters):
                "What narrows the list down."

                loud: Annotated[bool, Field(description="Loud ones.")] = False
        ''',
        "router.py": ROUTER.format(name="opening")
        + dedent("""
            from typing import Annotated

            from fastapi import Depends

            from vibetracker.core.api.parameters import FromQuery

            from .lists import OpeningFilters


            @router.get("")
            def get_opening(
                filters: Annotated[OpeningFilters, Depends(FromQuery(OpeningFilters))],
            ) -> Answer:
                "Get them."
                return Answer()
        """),
        "tests/test_things.py": """
            def test_it(client):
                client.get("/opening")
        """,
    },
    "overriding": {
        "additions.py": """
            from typing import Annotated

            from pydantic import Field

            from vibetracker.core.api.filters import Filters
            from vibetracker.features.opening.lists import OpeningFilters


            class Overriding(OpeningFilters):  #! it adds 'loud', a name that the list itself has
                "Adds what is there."

                loud: Annotated[bool, Field(description="Loud ones.")] = False


            class Astray(Filters):  #! its Astray adds to no list that is open
                "Adds to nothing."

                long: Annotated[bool, Field(description="Long ones.")] = False
        """,
    },
}
if find_spec("python_multipart") is None:
    del PLANTED["receiving"]  # FastAPI reads forms with it alone
ELSEWHERE = {
    "features/bare/__init__.py:1": ["there is no __init__.py"],
    "features/bare/router.py:1": ["there is no router.py"],
    "features/untested/tests/test_untested.py:1": ["the feature has no tests"],
    "features/untested/tests/factory.py:1": ["there is no factory for the model"],
}
"""What is missing has no line that could say so."""


def plant(package: Path, planted: Planted) -> dict[str, list[str]]:
    """Write these features alone; return the texts that have to be reported, by their places."""
    shutil.rmtree(package / "features")
    (package / "features").mkdir()
    shutil.copy(
        Path(__file__).parents[1] / "vibetracker/features/__init__.py", package / "features"
    )
    wanted: dict[str, list[str]] = {}
    for name, changes in planted.items():
        sound = {
            file: text.format(things=name, Thing=name.capitalize()) for file, text in SOUND.items()
        }
        for file, text in {**sound, **changes}.items():
            if text is None:
                continue
            path = package / "features" / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text).strip() + "\n")
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if found := line.split("#! ")[1:]:
                    wanted[f"features/{name}/{file}:{number}"] = [text.strip() for text in found]
    return wanted


def run(command: str, folder: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder."""
    return subprocess.run(  # noqa: S603 - our own arguments
        [COMMAND, command],
        cwd=folder,
        env=environment(**changes),
        check=False,
        capture_output=True,
        text=True,
    )


def matches(problems: list[str], wanted: list[str]) -> bool:
    """Whether the problems are those that are wanted, no fewer and no more."""
    return len(problems) == len(wanted) and all(
        any(text in problem for problem in problems) for text in wanted
    )


@pytest.mark.slow
def test_every_planted_breach_is_found_and_nothing_else(tmp_path: Path) -> None:
    changes = copy_project(tmp_path)
    wanted = ELSEWHERE | plant(tmp_path / "vibetracker", PLANTED)
    done = run("check", tmp_path, **changes)
    assert done.returncode == 1, done.stderr
    reported: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        place, problem, mend = line.replace(": ", "; ", 1).split("; ", 2)
        reported.setdefault(place.removeprefix("vibetracker/"), []).append(problem)
        assert mend
    astray = {
        place: (reported.get(place), wanted.get(place))
        for place in reported.keys() | wanted.keys()
        if not matches(reported.get(place, []), wanted.get(place, []))
    }
    assert astray == {}, astray


@pytest.mark.slow
def test_a_resource_without_what_every_resource_has_is_found(tmp_path: Path) -> None:
    changes = copy_project(tmp_path)
    own_arguments = f"{SOUND['model.py'].rstrip()}\n            __table_args__ = ()\n"
    model = own_arguments.format(things="things", Thing="Thing")
    plant(tmp_path / "vibetracker", {"things": {"model.py": model}})
    done = run("check", tmp_path, **changes)
    assert "Thing would use ids again on SQLite" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "status", "place"),
    [
        ("check", 1, "vibetracker/features/gadgets/model.py:5: Gadget cannot"),
        ("openapi", 2, "vibetracker: feature 'gadgets': Gadget cannot"),
    ],
)
def test_a_mapper_that_cannot_be_configured_is_blamed_on_its_feature_alone(
    tmp_path: Path, command: str, status: int, place: str
) -> None:
    changes = copy_project(tmp_path)
    model = """
        from sqlalchemy.orm import Mapped, relationship
        from vibetracker.core.db.model import Resource


        class Gadget(Resource):
            __tablename__ = "gadgets"
            cage: Mapped[Resource] = relationship("Cage")
    """
    plant(tmp_path / "vibetracker", {"before": {}, "gadgets": {"model.py": model}, "later": {}})
    done = run(command, tmp_path, **changes)
    output = done.stdout + done.stderr
    assert done.returncode == status, output
    assert place in output
    assert "'Cage' failed to locate a name" in output
    assert output.count("\n") == 1, output

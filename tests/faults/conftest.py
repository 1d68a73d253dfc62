"""The fixtures of the fault tests: a database server to break, and a service to watch."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from vibetracker.testing import PostgresServer

from .load import Load, Verdict
from .pgbouncer import PGBOUNCER, PgBouncer
from .service import Client, Service

REPORT = Path(__file__).with_name("README.md")
ROW = re.compile(r"^\| (?!fault |-)(.+?) \|.*$", re.MULTILINE)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the fault tests; without them a run leaves the tree as it is."""
    parser.addoption(
        "--faults-report",
        action="store_true",
        help="write the figures of this run into tests/faults/README.md",
    )
    parser.addoption(
        "--soak",
        type=int,
        default=60,
        metavar="SECONDS",
        help="how long the soak lasts (default: %(default)s)",
    )


@dataclass
class Figures:
    """The figures of the faults of a run, for the table."""

    rows: dict[str, tuple[object, ...]] = field(default_factory=dict)
    way: str = ""
    """What is between the service and its database."""

    def add(
        self,
        fault: str,
        load: Load,
        verdict: Verdict,
        *,
        recovered: float | None = None,
        memory: tuple[int, int] | None = None,
    ) -> None:
        """Record the figures of one fault."""
        self.rows[fault + self.way] = (
            *(load.sent, load.acknowledged, verdict.lost, verdict.halves, load.statuses[503]),
            *(load.failed, f"{load.longest:.1f}"),
            "" if recovered is None else f"{recovered:.1f}",
            "" if memory is None else " to ".join(f"{size / 2**20:.0f}" for size in memory),
        )

    def write(self) -> None:
        """Replace the rows of this run's faults in the table, and add the new ones."""
        text = REPORT.read_text()
        lines = {
            fault: f"| {' | '.join(map(str, (fault, *row)))} |" for fault, row in self.rows.items()
        }
        text = ROW.sub(lambda found: lines.pop(found[1], found[0]), text)
        if lines:
            head, separator, tail = text.rpartition("<!-- end of the table -->")
            text = head + "".join(f"{line}\n" for line in lines.values()) + separator + tail
        REPORT.write_text(text)


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Iterator[Figures]:
    """Collect the figures of the faults."""
    figures = Figures()
    yield figures
    if request.config.getoption("--faults-report", default=False):
        figures.write()


@pytest.fixture(scope="session")
def _server(embedded_postgres: type[PostgresServer]) -> Iterator[PostgresServer]:
    with embedded_postgres() as server:
        yield server


@pytest.fixture(
    scope="session",
    params=[
        "directly",
        pytest.param(
            "through PgBouncer",
            marks=pytest.mark.skipif(PGBOUNCER is None, reason="PgBouncer is not installed"),
        ),
    ],
)
def server_url(
    request: pytest.FixtureRequest, _server: PostgresServer, figures: Figures
) -> Iterator[str]:
    """Yield the URL by which services reach the server; tests read what is stored directly."""
    if request.param == "directly":
        yield _server.url()
        return
    figures.way = f", {request.param}"
    with PgBouncer(_server) as bouncer:
        yield bouncer.url
    figures.way = ""


@pytest.fixture(scope="session")
def _service(server_url: str) -> Iterator[Service]:
    with Service(server_url) as service:
        yield service


@pytest.fixture
def server(_server: PostgresServer) -> PostgresServer:
    """Return a running database server without rows."""
    _server.sql(
        "DO $$ BEGIN EXECUTE (SELECT 'TRUNCATE ' || string_agg(tablename, ',') FROM pg_tables "
        "WHERE schemaname = 'public' HAVING count(*) > 0); EXCEPTION WHEN null_value_not_allowed "
        "THEN END $$"
    )
    return _server


@pytest.fixture
def service(_service: Service, request: pytest.FixtureRequest) -> Service:
    """Return a service with the default settings, the same for all faults of the database.

    So each of them also begins with a service that has recovered from the one before.
    """
    request.getfixturevalue("server")
    return _service


@pytest.fixture(scope="session")
def _impatient(server_url: str) -> Iterator[Service]:
    with Service(
        server_url,
        statement_timeout=1,
        lock_timeout=0.5,
        connect_timeout=1,
        pool_timeout=1,
        body_timeout=1,
    ) as service:
        yield service


@pytest.fixture
def impatient(_impatient: Service, request: pytest.FixtureRequest) -> Service:
    """Return a service with short timeouts, so that a test need not wait for long ones."""
    request.getfixturevalue("server")
    return _impatient


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    """Yield a client of that service."""
    client = Client(service.port)
    yield client
    client.close()

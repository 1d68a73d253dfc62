"""Several services on one database, and a standby that takes over from it."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from vibetracker.testing import PostgresServer, free_port

from .conftest import Figures
from .load import Load, retry, verify
from .service import PATIENCE, Client, Service, wait_until

pytestmark = pytest.mark.slow

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
CONFIGURATION = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream vibetracker {{ {servers} keepalive 16; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://vibetracker;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            add_header X-Served-By $upstream_addr always;
        }}
    }}
}}
"""


@pytest.fixture
def replicas(server_url: str, request: pytest.FixtureRequest) -> Iterator[list[Service]]:
    """Yield two services on one database."""
    request.getfixturevalue("server")
    with Service(server_url) as one, Service(server_url) as other:
        yield [one, other]


@pytest.fixture
def clients(replicas: list[Service]) -> Iterator[list[Client]]:
    """Yield a client of each."""
    with ExitStack() as stack:
        yield [stack.enter_context(closing(Client(service.port))) for service in replicas]


def test_keys_etags_and_cursors_of_one_replica_hold_at_the_other(clients: list[Client]) -> None:
    one, other = clients
    made = one.request("POST", "/tasks", {"title": "first"}, Idempotency_Key="k")
    again = other.request("POST", "/tasks", {"title": "first"}, Idempotency_Key="k")
    assert (again.status, again.body) == (201, made.body)
    assert again.headers["idempotency-replayed"] == "true"
    assert other.request("POST", "/tasks", {"title": "2"}, Idempotency_Key="k").status == 422

    path, tag = made.headers["location"], made.headers["etag"]
    assert other.request("GET", path, If_None_Match=tag).status == 304
    changed = other.request("PATCH", path, {"title": "changed"}, If_Match=tag)
    assert changed.status == 200
    assert one.request("PATCH", path, {"title": "late"}, If_Match=tag).status == 412
    assert one.request("GET", path).headers["etag"] == changed.headers["etag"]

    walk(clients)


def walk(clients: list[Client]) -> None:
    """Create nine tasks, and page through all of them, alternating between the replicas."""
    for number in range(9):
        clients[number % 2].request("POST", "/tasks", {"title": f"task {number}"})
    seen: list[int] = []
    query, cursor = "/tasks?limit=2", ""
    for client in cycle(clients):
        page = client.request("GET", query + cursor).json()
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert len(set(seen)) == len(seen) == 10


@pytest.mark.skipif(FAKETIME is None, reason="faketime is not installed")
def test_replicas_need_not_agree_on_the_time(server: PostgresServer, service: Service) -> None:
    clock: dict[str, Any] = {"ld_preload": FAKETIME, "faketime": "-600s"}
    with ExitStack() as stack:
        late = stack.enter_context(Service(server.url(), **clock, dont_fake_monotonic=1))
        one, other = (stack.enter_context(closing(Client(s.port))) for s in (service, late))
        made = one.request("POST", "/tasks", {"title": "early"}, Idempotency_Key="k")
        assert other.request("POST", "/tasks", {"title": "early"}, Idempotency_Key="k").body == (
            made.body
        )
        path, tag = made.headers["location"], made.headers["etag"]
        changed = made
        for change in ({"title": "late"}, {"status": "in_progress"}, {"status": "done"}):
            changed = other.request("PATCH", path, change, If_Match=tag)
            assert changed.status == 200
            assert one.request("PATCH", path, {"title": "no"}, If_Match=tag).status == 412
            tag = changed.headers["etag"]
        assert str(changed.json()["updated_at"]) < str(made.json()["created_at"])
        for client in (one, other):
            assert client.request("DELETE", path).status == 204
            assert client.request("POST", f"{path}/restore").status == 200
        walk([one, other])


@contextmanager
def nginx(replicas: list[Service], folder: Path) -> Iterator[int]:
    """Run nginx in front of the services, round-robin; yields its port."""
    assert NGINX is not None
    port = free_port()
    servers = " ".join(f"server 127.0.0.1:{service.port};" for service in replicas)
    file = folder / "nginx.conf"
    file.write_text(CONFIGURATION.format(folder=folder, port=port, servers=servers))
    process = subprocess.Popen([NGINX, "-p", folder, "-c", file])  # noqa: S603 - our own arguments
    try:
        with closing(Client(port)) as client:
            wait_until(lambda: is_open(client), within=10, what="nginx serves")
        yield port
    finally:
        process.terminate()
        process.wait(10)


def is_open(client: Client) -> bool:
    try:
        return client.request("GET", "/health/ready").status == 200
    except OSError:
        return False


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_replicas_behind_a_load_balancer_are_one_service(
    server: PostgresServer, replicas: list[Service], tmp_path: Path, figures: Figures
) -> None:
    with nginx(replicas, tmp_path) as port:
        with closing(Client(port)) as client:
            served = {client.request("GET", "/tasks").headers["x-served-by"] for _ in range(8)}
            assert len(served) == len(replicas)
        with Load([port]) as load:
            load.go_on(200)
            # One is restarted by SIGTERM, without notice to the load balancer.
            replicas[0].terminate()
            load.go_on(100)
            replicas[0].start()
            load.go_on(100)
        verdict = verify(load, server.url())
        figures.add("two replicas behind nginx, one restarted in order", load, verdict)
        assert verdict.is_sound, verdict
        # A request on a connection that is being closed is a 502 of nginx's own.
        assert load.failed == load.statuses[502] < 10
        assert load.statuses[None] == 0
        retry(load, port)
        assert verify(load, server.url()).is_sound


@contextmanager
def standby_of(primary: PostgresServer) -> Iterator[PostgresServer]:
    """Run a copy of a server that follows it; each commit waits until it is on both."""
    standby = PostgresServer()
    try:
        source = ("-h", "127.0.0.1", "-p", str(primary.port), "-U", "postgres")
        primary.sql("CHECKPOINT")
        standby.run("pg_basebackup", *source, "-D", str(standby.data), "-R", "-X", "stream")
        standby.start()
        primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.sql("SELECT pg_reload_conf()")
        state = "SELECT sync_state FROM pg_stat_replication"
        wait_until(lambda: primary.sql(state) == "sync", within=10, what="the standby follows")
        yield standby
    finally:
        standby.__exit__()


@pytest.mark.usefixtures("embedded_postgres")
@pytest.mark.parametrize("end", ["killed", "silent"])
def test_a_standby_takes_over_and_nothing_acknowledged_is_lost(end: str, figures: Figures) -> None:
    with PostgresServer() as primary, standby_of(primary) as standby:
        hosts = f"host=127.0.0.1,127.0.0.1&port={primary.port},{standby.port}"
        url = f"postgresql://postgres@/vibetracker?{hosts}&target_session_attrs=read-write"
        with Service(url) as service, Load([service.port]) as load:
            load.go_on(100)
            if end == "killed":
                primary.kill()
            else:
                primary.freeze()
            standby.sql("SELECT pg_promote()")
            recovered = load.go_on(50, within=PATIENCE)
        verdict = verify(load, standby.url())
        figures.add(f"primary {end}, standby promoted", load, verdict, recovered=recovered)
        assert verdict.is_sound, verdict
        assert not load.improper
        assert load.statuses[None] == 0
        assert load.longest < PATIENCE
        assert load.longest_liveness < 1
        primary.kill()

"""The peers: what one could use instead of vibetracker. They need the extra ``benchmarks``."""

from dataclasses import dataclass
from importlib.util import find_spec

from benchmarks.servers import CONNECTIONS, UVICORN


@dataclass(frozen=True)
class Peer:
    """The command that serves an application, and the modules that it needs."""

    command: tuple[str, ...]
    needs: tuple[str, ...]


PEERS = {
    "django rest": Peer(
        (
            "-m",
            "gunicorn",
            "benchmarks.django_rest.wsgi",
            "--bind=127.0.0.1:{port}",
            "--worker-class=gthread",
            f"--threads={CONNECTIONS}",
            "--no-control-socket",
        ),
        ("django", "rest_framework", "gunicorn"),
    ),
    "litestar": Peer(
        (*UVICORN, "benchmarks.litestar_app:app"),
        ("litestar", "advanced_alchemy", "asyncpg"),
    ),
}


def installed_peers() -> dict[str, tuple[str, ...]]:
    """Return the commands of those that are installed; prints which are not."""
    installed = {
        name: peer.command for name, peer in PEERS.items() if all(map(find_spec, peer.needs))
    }
    if left_out := [name for name in PEERS if name not in installed]:
        print(f"left out for lack of the extra benchmarks: {', '.join(left_out)}", flush=True)
    return installed

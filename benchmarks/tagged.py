"""What it takes to rename, merge and delete a tag that very many tasks have."""

import http.client
import json
import re
import time
from pathlib import Path

from sqlalchemy import create_engine, text

from benchmarks.data import TAGS, fill
from benchmarks.servers import JSON, VIBETRACKER, Serving, serving
from vibetracker.core.config import connection_url
from vibetracker.testing import PostgresServer

EVERYWHERE = TAGS + 1
"""The id of the tag that all tasks have."""
PUT_ON = """
INSERT INTO tags (name, key, search_key, description, created_at, updated_at, version)
VALUES ('everywhere', 'everywhere', 'everywhere', '', now(), now(), 1);
INSERT INTO task_tags (owner_id, tag_id) SELECT id, :tag FROM tasks
"""
WRITES = {
    "rename": ("PATCH", f"/tags/{EVERYWHERE}", {"name": "anywhere"}),
    "merge": ("POST", "/tags/1/merge", {"source_ids": [EVERYWHERE]}),
    "delete": ("DELETE", "/tags/1", None),
}


def tagged(tasks: int) -> dict[str, dict[str, float]]:
    """Change a tag of this many tasks, with and without the journal; prints seconds and MiB.

    The peak of the server's memory is printed beside its memory before the change.
    """
    results: dict[str, dict[str, float]] = {}
    for name, settings in (("with", {}), ("without", {"DISABLED_FEATURES": "changes"})):
        with PostgresServer() as server:
            fill(server.url(), tasks)
            engine = create_engine(connection_url(server.url()))
            with engine.begin() as connection:
                connection.execute(text(PUT_ON), {"tag": EVERYWHERE})
            engine.dispose()
            with serving(VIBETRACKER, server.url(), server.pid, settings=settings) as service:
                for what in WRITES:
                    seconds, before, most = _measure(service, what)
                    results[f"{what} {name} the journal"] = {"seconds": seconds, "MiB": most}
                    print(
                        f"{what} {name:7} the journal: {seconds:6.1f} s, "
                        f"{before:4.0f} MiB before, {most:4.0f} at most",
                        flush=True,
                    )
    return results


def _measure(service: Serving, what: str) -> tuple[float, float, float]:
    method, path, body = WRITES[what]
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=3600)
    # Resets the peak of the resident memory (proc(5)).
    Path(f"/proc/{service.pid}/clear_refs").write_text("5")
    before = _most(service.pid)
    begun = time.perf_counter()
    connection.request(method, path, json.dumps(body) if body else None, JSON if body else {})
    answer = connection.getresponse()
    if answer.status >= 300:
        raise RuntimeError(f"{method} {path}: {answer.status} {answer.read()!r}")
    seconds = time.perf_counter() - begun
    connection.close()
    return seconds, before, _most(service.pid)


def _most(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024

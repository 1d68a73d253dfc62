"""Clients that write and read while faults happen, and record the responses."""

import http.client
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Self
from uuid import uuid4

import psycopg2

from .service import PATIENCE, Answer, Client, wait_until

LIMIT = 60
"""Seconds after which clients stop by themselves."""
TAGS = ("home", "garden", "errand")

FAMILIES = """
SELECT parent.title, parent.description, count(DISTINCT child.id), count(DISTINCT tagged.tag_id)
FROM tasks parent
LEFT JOIN tasks child ON child.parent_id = parent.id
LEFT JOIN task_tags tagged ON tagged.owner_id IN (parent.id, child.id)
WHERE parent.parent_id IS NULL
GROUP BY parent.id
"""
"""Top-level tasks, each with the number of its subtasks and of the tags they all have."""


@dataclass
class Family:
    """A task and its subtask, written by one request that has its effect whole or not at all."""

    name: str = field(default_factory=lambda: uuid4().hex)
    created: Answer | None = None
    """The response to its creation, if there was one."""
    changed: Answer | None = None
    """The response to the change of its description, if there was one."""

    @property
    def is_acknowledged(self) -> bool:
        """Return whether its creation was acknowledged, so that a client may rely on it."""
        return self.created is not None and self.created.status == 200

    def create(self, client: Client) -> Answer:
        """Create it, with the same ``Idempotency-Key`` each time."""
        parent = {"title": self.name, "tags": TAGS[:2]}
        child = {"title": f"{self.name} child", "tags": TAGS[1:], "parent_ref": "parent"}
        operations = [
            {"op": "create", "ref": "parent", "data": parent},
            {"op": "create", "data": child},
        ]
        self.created = client.request(
            "POST", "/tasks/batch", {"operations": operations}, Idempotency_Key=self.name
        )
        return self.created


@dataclass
class Load:
    """Several clients at once, each writing and reading in turn until it is told to stop."""

    ports: Sequence[int]
    clients: int = 8
    pause: float = 0
    """Seconds that a client waits between its requests."""
    limit: float = LIMIT
    families: list[Family] = field(default_factory=list)
    statuses: Counter[int | None] = field(default_factory=Counter)
    """How often each status was returned; ``None`` where there was no response at all."""
    improper: list[Answer] = field(default_factory=list)
    longest: float = 0
    longest_liveness: float = 0
    """The longest time of a liveness probe in seconds; infinite when one failed."""
    acknowledged: int = 0
    """Writes whose response was a success."""

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(self.ports[n % len(self.ports)],))
            for n in range(self.clients)
        ]
        self._threads += [threading.Thread(target=self._watch, args=(port,)) for port in self.ports]

    def __enter__(self) -> Self:
        """Start the clients."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let every client finish its request, and stop."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def go_on(self, writes: int = 50, *, within: float = 10) -> float:
        """Wait for so many further writes to succeed; return the seconds to the first of them.

        That one has to come ``within`` so many seconds. The others may take as long as a busy
        machine needs.
        """
        started = time.monotonic()
        with self._changed:
            before = self.acknowledged
            self._wait_for(before + 1, started + within)
            first = time.monotonic() - started
            self._wait_for(before + writes, started + self.limit)
        return first

    def _wait_for(self, acknowledged: int, deadline: float) -> None:
        while self.acknowledged < acknowledged:
            if not self._changed.wait(max(deadline - time.monotonic(), 0)):
                raise AssertionError("the service did not go on in time")

    @property
    def sent(self) -> int:
        """Return the number of requests."""
        return self.statuses.total()

    @property
    def failed(self) -> int:
        """Return the number of server errors other than 503."""
        return (
            sum(n for status, n in self.statuses.items() if status and status >= 500)
            - (self.statuses[503])
        )

    def _run(self, port: int) -> None:
        deadline = time.monotonic() + self.limit
        with closing(Client(port)) as client:
            for number in count():
                if self._stopped.is_set() or time.monotonic() > deadline:
                    break
                self._live(Family(), client, number)

    def _watch(self, port: int) -> None:
        with closing(Client(port)) as client:
            while not self._stopped.wait(0.05):
                try:
                    waited = client.request("GET", "/health/live").waited
                except (OSError, http.client.HTTPException):
                    waited = math.inf
                self.longest_liveness = max(self.longest_liveness, waited)

    def _live(self, family: Family, client: Client, number: int) -> None:
        """Write a family, change it, and read it, as far as the service lets one."""
        with self._changed:
            self.families.append(family)
        if self.did(lambda: family.create(client)) is None or not family.is_acknowledged:
            self._stopped.wait(0.3)
            return
        assert family.created is not None
        results = family.created.json()["results"]
        assert isinstance(results, list)
        path = f"/tasks/{results[0]['id']}"
        change = {"description": "changed"}
        family.changed = self.did(lambda: client.request("PATCH", path, change))
        self.did(lambda: client.request("GET", path), writes=False)
        if number % 4 == 0:
            query = "/tasks?tag=home&sort=-created_at&limit=10"
            self.did(lambda: client.request("GET", query), writes=False)

    def did(self, send: Callable[[], Answer], *, writes: bool = True) -> Answer | None:
        """Send a request, and record its outcome."""
        started = time.monotonic()
        answer = None
        with suppress(OSError, http.client.HTTPException):
            answer = send()
        with self._changed:
            self.longest = max(self.longest, time.monotonic() - started)
            self.statuses[answer.status if answer else None] += 1
            if answer and not answer.is_proper:
                self.improper.append(answer)
            if writes and answer and answer.status < 300:
                self.acknowledged += 1
                self._changed.notify_all()
        self._stopped.wait(self.pause)
        return answer


@dataclass
class Verdict:
    """What is stored of the families of a load."""

    lost: int = 0
    """Acknowledged writes that are not stored."""
    halves: int = 0
    """Writes that are stored in part."""
    doubled: int = 0
    unasked: int = 0
    """Writes that are stored although their client got no response, or a 503."""

    @property
    def is_sound(self) -> bool:
        """Return whether nothing is lost, half done or done twice."""
        return (self.lost, self.halves, self.doubled) == (0, 0, 0)


def verify(load: Load, database_url: str) -> Verdict:
    """Compare the responses that clients got with what is stored, which is read directly."""
    with closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        cursor.execute(FAMILIES)
        rows = cursor.fetchall()
        cursor.execute("SELECT key FROM idempotency_keys")
        kept = {key for (key,) in cursor}
    stored = {title: (description, parts) for title, description, *parts in rows}
    verdict = Verdict(doubled=len(rows) - len(stored))
    for family in load.families:
        if family.name not in stored:
            verdict.lost += family.is_acknowledged
            # Its response is stored, although its effect is not.
            verdict.halves += family.name in kept
            continue
        description, parts = stored[family.name]
        verdict.unasked += not family.is_acknowledged
        verdict.halves += parts != [1, len(TAGS)] or family.name not in kept
        if family.changed is not None and family.changed.status == 200:
            verdict.lost += description != "changed"
    return verdict


def retry(load: Load, port: int, *, all_of_them: bool = False) -> None:
    """Send writes again under the same keys until they succeed: those that failed, or all."""
    with closing(Client(port)) as client:
        for family in load.families:
            if all_of_them or not family.is_acknowledged:
                wait_until(
                    lambda: family.create(client).status == 200,  # noqa: B023 - called at once
                    within=PATIENCE,
                    what="a retry succeeds",
                )

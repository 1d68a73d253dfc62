"""The demo data of tasks, as clients see it."""

from datetime import UTC, datetime
from random import Random

from starlette.testclient import TestClient

from vibetracker.core.db.database import Database
from vibetracker.features.projects import demo as projects_demo
from vibetracker.features.tasks import demo

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def test_it_has_a_bit_of_everything(client: TestClient, database: Database) -> None:
    with database.session(write=True) as session:
        assert list(projects_demo.fill(session, Random(1), 1400, NOW)) == [8]  # noqa: S311 - no secret
        assert list(demo.fill(session, Random(1), 1400, NOW)) == [1000, 400]  # noqa: S311 - likewise
        session.commit()

    def total(**query: str | bool | list[str]) -> int:
        shown = client.get("/tasks", params={"include_total": True, "limit": 1, **query}).json()
        number: int = shown["total"]
        return number

    assert total(deleted="include") == 1400
    parts = {
        "every status": [total(status=it) for it in ("todo", "in_progress", "done", "cancelled")],
        "every priority": [total(priority=it) for it in ("none", "low", "medium", "urgent")],
        "dates": [total(has_due=True), total(overdue=True), total(start_after="2025-01-01")],
        "projects": [total(has_project=True), total(has_project=True, is_subtask=True)],
        "subtasks": [total(is_subtask=True)],
        "trash": [total(deleted="only")],
        "tags": [total(tag="home"), total(tag=["phone", "quick"])],
    }
    assert all(0 < number < 1400 for numbers in parts.values() for number in numbers), parts
    counts = {
        project["name"]: project["task_counts"]["open"]
        for project in client.get("/projects?include=task_counts").json()["items"]
    }
    assert [name for name, count in counts.items() if not count] == ["Flat in the old town"]
    newest = client.get("/tasks", params={"sort": "-updated_at"}).json()["items"][0]
    assert newest["updated_at"] <= "2026-11-23T00:00:00Z"

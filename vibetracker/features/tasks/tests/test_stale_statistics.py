"""Stale statistics: PostgreSQL takes tables for empty that were at the last ANALYZE."""

from collections.abc import Callable

import pytest
from httpx2 import Response
from sqlalchemy import text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from vibetracker.core.db.database import Database

from .test_plans import FILL, FILTERS, fill

TASKS = 4_000
MOST_READ = 40 * TASKS
"""Rows that a request reads: some for each task, and not some thousand for each."""
MOST = 12 * TASKS
"""Pages of tables and indexes: some for each task, and not some thousand for each."""
COMMON = """
    INSERT INTO tags (name, key, search_key, description, created_at, updated_at, version)
    VALUES ('common', 'common', 'common', '', now(), now(), 1);
    INSERT INTO task_tags (owner_id, tag_id)
    SELECT tasks.id, tags.id FROM tasks, tags WHERE tags.key = 'common';
    UPDATE tasks SET parent_id = 1 WHERE id BETWEEN 2 AND 2000
"""


@pytest.fixture
def database(
    database: Database,
    fill_with_stale_statistics: Callable[[Callable[[Session], object]], None],
) -> Database:
    """Fill the database, which PostgreSQL takes for empty."""
    script = FILL.replace("ANALYZE;", COMMON)
    fill_with_stale_statistics(lambda session: fill(session, script, TASKS))
    return database


def test_no_list_reads_all_rows_for_each(
    get_counting: Callable[[str], tuple[Response, list[int]]], subtests: pytest.Subtests
) -> None:
    tags = ("tag_none=common", "tag=common", "tag=common&tag=tag+7", "tag_any=common&tag_any=tag+7")
    more = ("has_tags=false", "has_tags=true", "include=subtask_counts", "sort=due&tag=common")
    trees = ("ancestor_id=1", "ancestor_id=1&tag_none=common", "ancestor_id=3000")
    for query in (*FILTERS, *tags, *more, *trees):
        for page in ("limit=50", "limit=1&include_total=true"):
            with subtests.test(f"{query}&{page}"):
                response, pages = get_counting(f"/tasks?{query}&{page}")
                assert response.status_code == 200
                assert sum(pages) < MOST


def test_what_reaches_many_rows_does_not_read_all_for_each(
    client: TestClient, database: Database, rows_read: list[int], subtests: pytest.Subtests
) -> None:
    with database.engine.connect() as connection:
        find = text("SELECT key, id FROM tags WHERE key IN ('common', 'tag 7')")
        tags = {row.key: row.id for row in connection.execute(find)}
    for method, path, body in (
        ("PATCH", f"/tags/{tags['common']}", {"name": "usual"}),
        ("POST", f"/tags/{tags['tag 7']}/merge", {"source_ids": [tags["common"]]}),
        ("DELETE", f"/tags/{tags['tag 7']}", None),
        ("PATCH", "/tasks/1", {"parent_id": 2001}),
        ("PATCH", "/tasks/1", {"parent_id": None, "project_id": 7}),
        ("DELETE", "/tasks/1", None),
        ("POST", "/tasks/1/restore", None),
        ("DELETE", "/tasks/1?permanent=true", None),
        ("DELETE", "/projects/7?tasks=trash", None),
    ):
        with subtests.test(f"{method} {path}"):
            rows_read.clear()
            answer = client.request(method, path, json=body)
            assert answer.is_success, answer.text
            assert 0 < sum(rows_read) < MOST_READ

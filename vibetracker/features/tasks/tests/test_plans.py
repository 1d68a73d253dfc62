"""The query plans of lists on PostgreSQL: none reads the whole table."""

from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from vibetracker.core.db.database import Database

from .calls import Json

KEYS = (
    "id",
    "title",
    "status",
    "priority",
    "due",
    "start_at",
    "created_at",
    "updated_at",
    "completed_at",
    "position",
)
FILTERS = (
    "id=17&id=4711",
    "status=in_progress",
    "status=cancelled&status=done",
    "is_open=true",
    "priority=urgent",
    "due_before=2026-01-20",
    "due_after=2026-01-10&due_before=2026-01-11",
    "due_after=2026-01-10&due_before=2026-01-11&tz=Asia/Kathmandu",
    "overdue=true",
    "tag=tag+7",
    "tag=tag+7&tag=tag+38",
    "tag_any=tag+7&tag_any=tag+8",
    "parent_id=17",
    "project_id=7",
    "project_id=7&sort=-created_at&status=todo",
    "project_id=7&project_id=8&project_id=9",
    "deleted=only",
    "completed_after=2026-01-01",
    "created_before=2025-01-02",
    "start_after=2026-01-01",
)
TASKS = 8_000
FILL = """
    INSERT INTO tags (name, key, search_key, description, created_at, updated_at, version)
    SELECT 'tag ' || n, 'tag ' || n, 'tag ' || n, '', now(), now(), 1
    FROM generate_series(0, 1999) n;

    INSERT INTO projects (
        name, key, search_key, description, archived, created_at, updated_at, version
    )
    SELECT 'project ' || n, 'project ' || n, 'project ' || n, '', false, now(), now(), 1
    FROM generate_series(0, 199) n;

    INSERT INTO tasks (
        title, title_key, description, search_text, status, priority, due_on, due, start_at,
        parent_id, project_id, position, completed_at, cancelled_at, deleted_at, deleted_with,
        created_at, updated_at, version
    )
    SELECT
        'task ' || n % 997, 'task ' || n % 997, '', 'task ' || n % 997, status, n % 7 % 5,
        day, (day + 1)::timestamp AT TIME ZONE 'UTC',
        CASE WHEN n % 5 = 0 THEN moment END,
        CASE WHEN n > 5000 AND n % 2 = 0 THEN n % 5000 + 1 END,
        nullif(CASE WHEN n > 5000 AND n % 2 = 0 THEN n % 5000 + 1 ELSE n END % 200, 0),
        lpad(to_hex(n), 12, '8'),
        CASE WHEN status = 2 THEN moment END,
        CASE WHEN status = 3 THEN moment END,
        CASE WHEN n % 50 = 49 THEN moment END,
        CASE WHEN n % 50 = 49 THEN n END,
        moment, moment, 1
    FROM (
        SELECT
            n,
            CASE WHEN n % 100 < 60 THEN 0 WHEN n % 100 < 65 THEN 1 WHEN n % 100 < 98 THEN 2
                ELSE 3 END AS status,
            CASE WHEN n % 3 = 0 THEN date '2026-01-01' + n % 365 END AS day,
            timestamptz '2025-01-01 00:00Z' + n * interval '4 hours' AS moment
        FROM generate_series(1, :tasks) n
    ) AS numbers;

    INSERT INTO task_tags (owner_id, tag_id)
    SELECT n, (n * 7 + k * 31) % 200 + 1 FROM generate_series(1, :tasks) n, generate_series(0, 1) k;

    ANALYZE;
"""


def fill(database: Connection | Session, script: str, tasks: int) -> None:
    """Execute the statements of a script, each within the time for one."""
    for statement in script.strip().removesuffix(";").split(";"):
        database.execute(text(statement), {"tasks": tasks})


@pytest.fixture
def database(database: Database) -> Database:
    """Fill the database with some thousand tasks, and analyze it."""
    if database.engine.dialect.name != "postgresql":
        pytest.skip("the plans are PostgreSQL's")
    # A session without the plans for foreign keys that tests before have made.
    database.dispose()
    transactional = database.engine.execution_options(isolation_level="READ COMMITTED")
    with transactional.begin() as connection:
        # PostgreSQL takes the table for empty, and would read it all for each foreign key.
        connection.execute(text("SET LOCAL enable_seqscan = off; SET LOCAL statement_timeout = 0"))
        fill(connection, FILL, TASKS)
    return database


type Statement = tuple[str, Any]


def reads(plan: Json, table: str = "tasks") -> float:
    """Return the number of rows that a plan has read, including those that filters removed."""
    rows = 0.0
    if plan.get("Relation Name") == table:
        assert table != "tasks" or plan["Node Type"] != "Seq Scan", f"{plan}"
        rejected = plan.get("Rows Removed by Filter", 0) + plan.get(
            "Rows Removed by Index Recheck", 0
        )
        rows = (plan["Actual Rows"] + rejected) * plan["Actual Loops"]
    return rows + sum(reads(part, table) for part in plan.get("Plans", ()))


def check(database: Database, statements: list[Statement], most: int, table: str = "tasks") -> None:
    """Check the plans of the statements since the last check."""
    sent = [(sql, values) for sql, values in statements if "tasks" in sql]
    assert sent
    with database.engine.connect() as connection:
        for sql, values in sent:
            explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}"
            ((plan,),) = connection.exec_driver_sql(explain, values)
            assert reads(plan[0]["Plan"], table) <= most, f"{plan}"
        connection.rollback()
    statements.clear()


def test_a_page_reads_little_more_than_it_shows_in_any_order(
    client: TestClient,
    database: Database,
    statements: list[Statement],
    subtests: pytest.Subtests,
) -> None:
    """The first page, and those far behind it, among the rows without a value too."""
    for key in [f"{sign}{key}" for key in KEYS for sign in ("", "-")]:
        with subtests.test(key):
            params: Json = {"sort": key, "limit": 1}
            for skip in (0, 3, 9, 18):
                for _ in range(skip):
                    page = client.get("/tasks", params={**params, "limit": 200}).json()
                    params["cursor"] = page["next_cursor"]
                statements.clear()
                assert client.get("/tasks", params={**params, "limit": 20}).json()["items"]
                check(database, statements, most=200)


def test_a_filter_does_not_read_all_tasks(
    client: TestClient,
    database: Database,
    statements: list[Statement],
    subtests: pytest.Subtests,
) -> None:
    for query in FILTERS:
        with subtests.test(query):
            cursor = ""
            for _ in range(2):
                statements.clear()
                page = client.get(f"/tasks?limit=5&{query}{cursor}").json()
                assert page["items"]
                check(database, statements, most=TASKS // 4)
                if page["next_cursor"] is None:
                    break
                cursor = f"&cursor={page['next_cursor']}"


def test_a_tag_in_a_filter_is_looked_up_once(
    client: TestClient, database: Database, statements: list[Statement], subtests: pytest.Subtests
) -> None:
    """And not with each task that may have it."""
    for query in (
        "tag=tag+7",
        "tag_any=tag+7&tag_any=tag+8",
        "tag_none=tag+0",
        "tag=tag+7&status=todo",
    ):
        with subtests.test(query):
            statements.clear()
            assert client.get(f"/tasks?limit=1&{query}").json()["items"]
            check(database, statements, most=10, table="tags")


def test_a_rare_tag_is_found_by_the_tasks_that_have_it(
    client: TestClient, database: Database, statements: list[Statement], subtests: pytest.Subtests
) -> None:
    """And not by all tasks in the order of the list."""
    client.patch("/tasks/1", json={"tags": ["rare"]})
    for query, found in (
        ("tag=rare", [1]),
        ("tag=rare&sort=-due&status=todo", [1]),
        ("tag=tag+7&tag=rare", []),
        ("tag_any=rare", [1]),
        ("tag=unknown", []),
    ):
        with subtests.test(query):
            statements.clear()
            page = client.get(f"/tasks?{query}").json()
            assert [task["id"] for task in page["items"]] == found
            check(database, statements, most=10)


def test_of_a_frequent_tag_no_more_is_read_than_is_listed(
    client: TestClient, database: Database, statements: list[Statement], subtests: pytest.Subtests
) -> None:
    with database.engine.begin() as connection:
        half = "SELECT id, 150 FROM tasks WHERE id % 2 = 0"
        half = f"INSERT INTO task_tags {half} ON CONFLICT DO NOTHING"
        connection.execute(text(half))
        connection.execute(text("ANALYZE"))
    for query in ("tag=tag+149", "tag_any=tag+149&tag_any=tag+7", "tag_none=tag+149"):
        with subtests.test(query):
            statements.clear()
            assert len(client.get(f"/tasks?limit=5&{query}").json()["items"]) == 5
            check(database, statements[1:], most=100, table="task_tags")


def test_a_request_for_one_task_reads_its_neighbours_at_most(
    client: TestClient, database: Database, statements: list[Statement], subtests: pytest.Subtests
) -> None:
    for method, path, body in (
        ("GET", "/tasks/17", None),
        ("GET", "/tasks/17?include=subtask_counts", None),
        ("GET", "/tasks/17/subtasks", None),
        ("POST", "/tasks", {"title": "x", "tags": ["tag 7"]}),
        ("POST", "/tasks", {"title": "x", "parent_id": 17}),
        ("PATCH", "/tasks/17", {"title": "y", "tags": ["tag 8"]}),
        ("PATCH", "/tasks/17", {"parent_id": 18}),
        ("POST", "/tasks/17/move", {"to": "first"}),
        ("POST", "/tasks/17/move", {"to": "last", "parent_id": None}),
        ("POST", "/tasks/17/move", {"before_id": 200}),
        ("POST", "/tasks", {"title": "x", "project_id": 7}),
        ("PATCH", "/tasks/17", {"project_id": 8}),
        ("DELETE", "/tasks/18", None),
        ("POST", "/tasks/18/restore", None),
    ):
        with subtests.test(f"{method} {path} {body}"):
            statements.clear()
            answer = client.request(method, path, json=body)
            assert answer.is_success, answer.text
            check(database, statements, most=100)


def test_what_is_in_a_project_is_found_without_the_rest(
    client: TestClient, database: Database, statements: list[Statement], subtests: pytest.Subtests
) -> None:
    """The pages of its list, the counts, and what becomes of it."""
    cursor = ""
    for _ in range(3):
        page = client.get(f"/tasks?project_id=7&limit=10{cursor}").json()
        assert len(page["items"]) == 10
        check(database, statements, most=50)
        cursor = f"&cursor={page['next_cursor']}"
    for method, path, status in (
        ("GET", "/tasks?project_id=7&deleted=only", 200),
        ("GET", "/tasks?project_id=7&is_open=true&include_total=true", 200),
        ("GET", "/projects/7?include=task_counts", 200),
        ("GET", "/projects?limit=5&include=task_counts", 200),
        ("DELETE", "/projects/7", 409),
        ("DELETE", "/projects/7?tasks=keep", 204),
        ("DELETE", "/projects/8?tasks=trash", 204),
    ):
        with subtests.test(f"{method} {path}"):
            statements.clear()
            assert client.request(method, path).status_code == status
            check(database, statements, most=500)

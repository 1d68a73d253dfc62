"""Fills a database with believable tasks, in SQL, so that a million take seconds."""

from datetime import UTC, datetime

from sqlalchemy import create_engine, text

from vibetracker.core.config import Settings, connection_url
from vibetracker.core.db.database import Database

WORDS = [
    "review",
    "plan",
    "call",
    "write",
    "order",
    "repair",
    "book",
    "clean",
    "paint",
    "measure",
    "ship",
    "draft",
    "test",
    "invoice",
    "garden",
    "kitchen",
    "window",
    "server",
    "report",
    "budget",
    "meeting",
    "travel",
    "contract",
    "photo",
    "battery",
    "shelf",
    "letter",
    "schedule",
    "backup",
    "printer",
    "bicycle",
    "insurance",
    "recipe",
    "ticket",
    "presentation",
]
TAGS = 50

FILL_TAGS = """
INSERT INTO tags (name, key, search_key, description, created_at, updated_at, version)
SELECT 'tag ' || n, 'tag ' || n, 'tag ' || n, '', now(), now(), 1 FROM generate_series(1, :tags) n
"""
FILL_TASKS = """
INSERT INTO tasks (
    title, title_key, description, search_text, status, priority, due_at, due, position,
    completed_at, cancelled_at, created_at, updated_at, version
)
SELECT
    title, title, description, title || E'\\n' || description, status, priority, due, due,
    lpad(to_hex(140737488355328 + CAST(n AS bigint) * 65536), 12, '0'),
    CASE WHEN status = 2 THEN moment END, CASE WHEN status = 3 THEN moment END, moment, moment, 1
FROM (
    SELECT
        n,
        (CAST(:words AS text[]))[1 + n % 32] || ' the ' || (CAST(:words AS text[]))[1 + n / 7 % 32]
            || ' ' || n AS title,
        (SELECT string_agg((CAST(:words AS text[]))[1 + (n % 1000 * 31 + w * w * 7) % 32], ' ')
         FROM generate_series(1, 20 + n % 30) w) AS description,
        (CASE WHEN r < 0.5 THEN 0 WHEN r < 0.6 THEN 1 WHEN r < 0.9 THEN 2 ELSE 3 END)
            AS status,
        n % 5 AS priority,
        CASE WHEN n % 3 = 0
            THEN CAST(:now AS timestamptz) + (n % 1000 - 500) * interval '1 hour' END AS due,
        timestamptz '2026-01-01Z' + n * interval '7 seconds' AS moment
    FROM (SELECT n, random() AS r FROM generate_series(1, :tasks) n) AS numbered
) AS made
"""
FILL_TASK_TAGS = """
INSERT INTO task_tags (owner_id, tag_id)
SELECT id, 1 + (id + shift * (1 + id % 48)) % :tags FROM tasks, generate_series(0, 1) shift
"""


def fill(database_url: str, tasks: int, now: datetime | None = None) -> None:
    """Create the tables and this many tasks with two tags each, some due before now, some after."""
    database = Database(Settings(database_url=database_url, _env_file=None))
    database.prepare()
    database.dispose()
    engine = create_engine(connection_url(database_url))
    with engine.begin() as connection:
        connection.execute(
            text("TRUNCATE tasks, tags, task_tags, idempotency_keys RESTART IDENTITY CASCADE")
        )
        connection.execute(text("SELECT setseed(0.5)"))
        connection.execute(text(FILL_TAGS), {"tags": TAGS})
        connection.execute(
            text(FILL_TASKS), {"tasks": tasks, "words": WORDS, "now": now or datetime.now(UTC)}
        )
        connection.execute(text(FILL_TASK_TAGS), {"tags": TAGS})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    engine.dispose()

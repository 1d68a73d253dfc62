"""The documentation as people meet it: in a real browser, on a machine without internet."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .browser import CHROMIUM, browser
from .processes import running

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the service, and yield its address."""
    folder = tmp_path_factory.mktemp("service")
    with running("serve", folder=folder, DATABASE_URL="sqlite:///tracker.db") as server:
        yield server.origin


@pytest.fixture
def page(origin: str) -> Iterator["Page"]:
    """Open a page of a browser that can reach nothing but the service."""
    with browser(origin) as open_page:
        yield open_page(viewport={"width": 1200, "height": 1600})


def test_a_task_is_created_from_the_documentation(page: "Page", screenshots: Path) -> None:
    page.goto("/docs")
    operation = page.locator("#operations-tasks-create_task")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.locator("textarea").fill('{"title": "Water the plants", "tags": ["home"]}')
    page.screenshot(path=screenshots / "docs-try-it-out.png")
    operation.get_by_role("button", name="Execute").click()
    answer = operation.locator(".live-responses-table tbody")
    answer.get_by_text('"title": "Water the plants"').wait_for()
    assert answer.locator(".response-col_status").first.inner_text().strip() == "201"
    answer.scroll_into_view_if_needed()
    page.screenshot(path=screenshots / "docs-created.png")
    task = page.request.get("/tasks/1").json()
    assert (task["title"], task["tags"]) == ("Water the plants", ["home"])


def test_every_operation_is_on_the_page(page: "Page", screenshots: Path) -> None:
    page.goto("/docs")
    page.locator("#operations-tasks-create_task").wait_for()
    document = page.request.get("/openapi.json").json()
    operations = [
        (operation["tags"][0], operation["operationId"])
        for path in document["paths"].values()
        for operation in path.values()
    ]
    for tag, name in operations:
        assert page.locator(f"#operations-{tag}-{name}").is_visible(), name
    page.screenshot(path=screenshots / "docs.png", full_page=True)


def test_the_reference_is_rendered(page: "Page", screenshots: Path) -> None:
    page.goto("/redoc")
    page.get_by_role("heading", name="vibetracker").wait_for()
    page.get_by_role("heading", name="Create a task").first.wait_for()
    page.screenshot(path=screenshots / "redoc.png")

"""The documentation as people meet it: in a real browser, on a machine without internet."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from .processes import running

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the service, and give its address."""
    folder = tmp_path_factory.mktemp("service")
    with running("serve", folder=folder, DATABASE_URL="sqlite:///tracker.db") as server:
        yield server.origin


@pytest.fixture
def page(origin: str) -> Iterator["Page"]:
    """Open a page of a browser that reaches the service alone; it may ask for nothing else."""
    reason = "needs the extra `browser`"
    playwright = pytest.importorskip("playwright.sync_api", reason=reason)
    host = urlsplit(origin).netloc
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM,
            # A root, as in a container, has no other way.
            chromium_sandbox=os.geteuid() != 0,
            args=["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
        )
        page = browser.new_page(base_url=origin, viewport={"width": 1200, "height": 1600})
        asked: list[str] = []
        errors: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console",
            lambda message: errors.append(message.text) if message.type == "error" else None,
        )
        yield page
        browser.close()
    foreign = [url for url in asked if urlsplit(url).netloc not in {host, ""}]
    assert asked
    assert not foreign
    assert not errors


@pytest.fixture
def screenshots(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Give the folder for pictures of what the browser shows."""
    folder: str | None = request.config.getoption("screenshots")
    return Path(folder) if folder else tmp_path


def test_a_task_is_created_from_the_documentation(page: "Page", screenshots: Path) -> None:
    page.goto("/")
    assert urlsplit(page.url).path == "/docs"
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

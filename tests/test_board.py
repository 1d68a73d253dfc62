"""The board as people meet it: in a real browser, with other windows beside it."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx2
import pytest

from .browser import CHROMIUM, browser
from .processes import Server, running

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]

WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
PICTURED = {"width": 1440, "height": 480}
"""The size of the screenshot in the README: `--screenshots docs` takes it again."""
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
type Open = Callable[..., "Page"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Run the service on a database of its own."""
    with running("serve", folder=tmp_path, DATABASE_URL="sqlite:///tracker.db") as server:
        yield server


@pytest.fixture
def api(server: Server) -> Iterator[httpx2.Client]:
    """Return a client of the service, for what others do."""
    with httpx2.Client(base_url=server.origin) as client:
        yield client


@pytest.fixture
def open_page(server: Server) -> Iterator[Open]:
    """Return the function that opens a page of the service."""
    with browser(server.origin, is_refused=True) as open_page:
        yield open_page


def create(api: httpx2.Client, title: str, **members: Any) -> dict[str, Any]:
    """Create a task and return it."""
    answer = api.post("/tasks", json={"title": title, **members})
    answer.raise_for_status()
    task: dict[str, Any] = answer.json()
    return task


def board(open_page: Open, **options: Any) -> "Page":
    """Open the board in a window, and wait until it follows what others do."""
    page = open_page(**{"viewport": WIDE, **options})
    page.goto("/board")
    page.get_by_text("Live", exact=True).wait_for()
    return page


def column(page: "Page", name: str) -> "Locator":
    """Return a column by the beginning of its heading."""
    return page.locator("#columns section").filter(has=page.get_by_role("heading", name=name))


def titles(page: "Page", name: str) -> list[str]:
    """Return the titles on the cards of a column, from the top."""
    shown: list[str] = column(page, name).locator(".card .title").all_inner_texts()
    return shown


def card(page: "Page", title: str) -> "Locator":
    """Return the card of a task."""
    return page.locator(".card").filter(has_text=title)


def test_a_drag_shows_in_the_other_window_and_is_undone_in_both(
    open_page: Open, api: httpx2.Client
) -> None:
    for title in ("Bread", "Cheese", "Olives"):
        create(api, title)
    create(api, "Wine", status="in_progress")
    mine, theirs = board(open_page), board(open_page)
    assert titles(mine, "To do") == ["Bread", "Cheese", "Olives"]

    card(mine, "Olives").drag_to(card(mine, "Wine"), target_position={"x": 20, "y": 4})
    column(theirs, "In progress").get_by_text("Olives").wait_for(timeout=1_500)
    assert titles(mine, "In progress") == titles(theirs, "In progress") == ["Olives", "Wine"]

    mine.get_by_role("button", name="Undo").click()
    column(theirs, "To do").get_by_text("Olives").wait_for(timeout=1_500)
    column(mine, "To do").get_by_text("Olives").wait_for()
    for page in (mine, theirs):
        assert titles(page, "To do") == ["Bread", "Cheese", "Olives"]
        assert titles(page, "In progress") == ["Wine"]
    assert mine.get_by_role("button", name="Undo").is_disabled()


def test_what_others_write_shows_without_a_reload(open_page: Open, api: httpx2.Client) -> None:
    page = board(open_page)
    task = create(api, "Bread", tags=["shop"])
    card(page, "Bread").wait_for(timeout=1_500)
    api.patch(f"/tasks/{task['id']}", json={"status": "done"}).raise_for_status()
    column(page, "Done (1)").get_by_text("Bread").wait_for(timeout=1_500)
    tag = api.get("/tags").json()["items"][0]
    api.patch(f"/tags/{tag['id']}", json={"name": "market"}).raise_for_status()
    card(page, "#market").wait_for(timeout=1_500)
    api.delete(f"/tasks/{task['id']}").raise_for_status()
    card(page, "Bread").wait_for(state="detached", timeout=1_500)


def test_a_task_is_added_found_filtered_and_commented(open_page: Open, api: httpx2.Client) -> None:
    api.post("/projects", json={"name": "Kitchen"}).raise_for_status()
    page = board(open_page)
    form = page.get_by_role("form", name="New task")
    form.get_by_label("New task").fill("Buy crème fraîche")
    form.get_by_label("Tags").fill("shop, weekend")
    form.get_by_label("Project").select_option("Kitchen")
    form.get_by_label("Due").fill("2031-03-05")
    form.get_by_label("New task").press("Enter")
    card(page, "Buy crème fraîche").wait_for()
    (task,) = api.get("/tasks", params={"include": "comment_count"}).json()["items"]
    assert (task["tags"], task["due_on"]) == (["shop", "weekend"], "2031-03-05")
    assert card(page, "Kitchen").get_by_text("#weekend").is_visible()

    create(api, "Repair the fence", tags=["garden"])
    card(page, "Repair the fence").wait_for()
    page.get_by_label("Search").fill("creme")
    card(page, "Repair the fence").wait_for(state="detached")
    assert titles(page, "To do") == ["Buy crème fraîche"]
    page.get_by_label("Search").fill("")
    page.locator("#filters").get_by_label("Tag").select_option("garden")
    card(page, "Buy crème fraîche").wait_for(state="detached")
    assert titles(page, "To do") == ["Repair the fence"]
    page.locator("#filters").get_by_label("Tag").select_option("All")
    page.locator("#filters").get_by_label("Project").select_option("Kitchen")
    card(page, "Repair the fence").wait_for(state="detached")

    card(page, "Buy crème fraîche").locator(".title").click()
    comment = page.get_by_role("form", name="New comment")
    comment.get_by_label("Comment").fill("The big one")
    comment.get_by_role("button").click()
    page.locator(".comments li").get_by_text("The big one").wait_for()
    page.get_by_role("button", name="Close").click()
    card(page, "1 comment").wait_for()


def test_of_two_that_edit_a_task_nobody_loses_what_was_written(
    open_page: Open, api: httpx2.Client
) -> None:
    task = create(api, "Bread")
    page = board(open_page)
    card(page, "Bread").locator(".title").click()
    page.get_by_label("Description").fill("With rye, half a kilo")
    api.patch(f"/tasks/{task['id']}", json={"title": "Dark bread"}).raise_for_status()
    page.get_by_role("button", name="Save").click()
    conflict = page.locator("#conflict")
    conflict.get_by_text("Somebody else has changed this task meanwhile").wait_for()
    assert "Dark bread" in conflict.inner_text()
    assert page.get_by_label("Description").input_value() == "With rye, half a kilo"
    conflict.get_by_role("button", name="Save mine over it").click()
    card(page, "Dark bread").wait_for()
    page.locator("#details").wait_for(state="hidden")
    stored = api.get(f"/tasks/{task['id']}").json()
    assert (stored["title"], stored["description"]) == ("Dark bread", "With rye, half a kilo")


def test_what_is_refused_is_said_and_stays_in_the_form(open_page: Open, api: httpx2.Client) -> None:
    create(api, "Bread", start_at="2031-03-05T08:00:00Z")
    page = board(open_page)
    card(page, "Bread").locator(".title").click()
    page.locator("#details").get_by_label("Due").fill("2030-01-01")
    page.get_by_role("button", name="Save").click()
    page.locator("#conflict").get_by_text("cannot start after it is due").wait_for()
    assert page.locator("#details").get_by_label("Due").input_value() == "2030-01-01"


def test_the_page_survives_a_restart_of_its_server(tmp_path: Path) -> None:
    database = "sqlite:///tracker.db"
    with (
        running("serve", folder=tmp_path, DATABASE_URL=database) as server,
        httpx2.Client(base_url=server.origin) as api,
        browser(server.origin, is_refused=True) as open_page,
    ):
        create(api, "Bread")
        page = board(open_page)
        server.stop()
        page.get_by_text("The service does not answer; trying again").wait_for()
        title = page.get_by_role("form", name="New task").get_by_label("New task")
        title.fill("Cheese")
        title.press("Enter")
        page.locator("#messages").get_by_text("The task was not added").wait_for()
        assert title.input_value() == "Cheese"
        port = str(urlsplit(server.origin).port)
        with running("serve", folder=tmp_path, port=port, DATABASE_URL=database):
            # Created before the page has reconnected: it then gets the changes that it has missed.
            create(api, "Olives")
            card(page, "Olives").wait_for(timeout=15_000)
            title.press("Enter")
            column(page, "To do (3)").get_by_text("Cheese").wait_for()


def test_everything_is_done_with_the_keyboard(open_page: Open, api: httpx2.Client) -> None:
    for title in ("Bread", "Cheese"):
        create(api, title)
    page = board(open_page)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    focused = page.locator(":focus")
    assert focused.inner_text() == "Bread"
    page.keyboard.press("Alt+ArrowDown")
    page.wait_for_function("() => document.querySelector('.card .title').textContent === 'Cheese'")
    assert focused.inner_text() == "Bread"
    page.keyboard.press("Alt+ArrowRight")
    column(page, "In progress (1)").get_by_text("Bread").wait_for()
    assert focused.inner_text() == "Bread"
    page.get_by_text("Moved “Bread” to In progress").wait_for(state="attached")
    page.keyboard.press("ArrowLeft")
    assert focused.inner_text() == "Cheese"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert focused.inner_text() == "To In progress"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    column(page, "Done (1)").get_by_text("Cheese").wait_for()
    page.keyboard.press("Enter")
    page.locator("#details").wait_for()
    page.keyboard.press("Escape")
    page.locator("#details").wait_for(state="hidden")
    assert focused.inner_text() == "Cheese"
    page.keyboard.press("Control+z")
    column(page, "To do (1)").get_by_text("Cheese").wait_for()


def fill(api: httpx2.Client) -> None:
    """Create the tasks that a screenshot shows."""
    today = datetime.now(UTC).date()
    project = api.post("/projects", json={"name": "Allotment", "color": "#3b7a57"}).json()["id"]
    create(api, "Order seeds", tags=["garden"], project_id=project, priority="high")
    create(
        api, "Repair the fence", tags=["garden", "tools"], project_id=project,
        due_on=str(today + timedelta(days=5)),
    )  # fmt: skip
    create(api, "Renew the passport", priority="urgent", due_on=str(today - timedelta(days=2)))
    task = create(api, "Plan the harvest supper", status="in_progress", tags=["home"])
    create(api, "Invite the neighbours", parent_id=task["id"], status="done")
    create(api, "Write the menu", parent_id=task["id"])
    comment = {"task_id": task["id"], "body": "Saturday suits everybody", "author": "Ada"}
    api.post("/comments", json=comment).raise_for_status()
    create(api, "Sharpen the tools", status="done", tags=["tools"], project_id=project)
    create(api, "Buy a second rain barrel", status="cancelled", tags=["garden"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PICTURED, NARROW], ids=["1440", "390"])
def test_the_page_is_accessible_and_has_its_picture_taken(
    size: dict[str, int], scheme: str, open_page: Open, api: httpx2.Client, screenshots: Path
) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="needs the extra `browser`"
    ).Axe()
    fill(api)
    page = board(open_page, viewport=size, color_scheme=scheme)
    card(page, "Plan the harvest supper").wait_for()

    def check(name: str) -> None:
        found = axe.run(page, options={"runOnly": RULES})
        assert not found.response["violations"], found.generate_report()
        page.screenshot(path=screenshots / f"{name}-{size['width']}-{scheme}.png")

    check("board")
    card(page, "Plan the harvest supper").locator(".more").click()
    check("board-menu")
    page.keyboard.press("Escape")
    card(page, "Plan the harvest supper").locator(".title").click()
    page.locator(".comments li").wait_for()
    check("board-details")


def test_ten_thousand_tasks_scroll(open_page: Open, api: httpx2.Client, screenshots: Path) -> None:
    for start in range(0, 10_000, 100):
        operations = [
            {"op": "create", "data": {"title": f"Task {start + number}"}} for number in range(100)
        ]
        api.post("/tasks/batch", json={"operations": operations}, timeout=30).raise_for_status()
    page = open_page(viewport=WIDE)
    page.goto("/board")
    page.locator(".card").first.wait_for()
    first = page.evaluate("Math.round(performance.now())")
    page.get_by_role("heading", name="To do (10000)").wait_for()
    for wanted in range(1_000, 10_001, 1_000):
        page.wait_for_function(
            "wanted => { scrollTo(0, document.body.scrollHeight);"
            " return document.querySelectorAll('.card').length >= wanted; }",
            arg=wanted,
            polling=50,
            timeout=30_000,
        )
    assert page.locator(".card").count() == 10_000
    card(page, "Task 9999").locator(".title").click()
    page.locator("#details").wait_for()
    longest = page.evaluate(
        """async () => {
            document.querySelector('#details').close();
            let last = performance.now(), longest = 0;
            for (let step = 0; step < 60; step += 1) {
                scrollTo(0, step * 9_000);
                await new Promise(requestAnimationFrame);
                longest = Math.max(longest, performance.now() - last);
                last = performance.now();
            }
            return Math.round(longest);
        }"""
    )
    figures = {"milliseconds to the first card": first, "of the longest frame": longest}
    screenshots.joinpath("board-10000.json").write_text(json.dumps(figures))

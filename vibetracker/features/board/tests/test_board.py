"""The page as it is served; what it does is tested in a browser, in ``tests/test_board.py``."""

import re

import pytest
from starlette.testclient import TestClient

from vibetracker.features.board.router import FILES, PAGE

TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def test_browsers_are_led_to_the_page_and_clients_to_the_documentation(client: TestClient) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    led = client.get("/", headers=browser, follow_redirects=False)
    assert led.headers["Location"] == "/board"
    assert "Accept" in led.headers["Vary"].split(", ")
    assert client.get("/", follow_redirects=False).headers["Location"] == "/docs"


def test_the_page_may_load_its_own_files_alone(client: TestClient) -> None:
    page = client.get("/board")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    # What the policy would refuse anyway: scripts and styles in the page itself.
    assert not re.findall(r"<script>|<style|\sstyle=|\son[a-z]+=", page.text)


def test_the_page_names_every_file_and_every_file_is_served(client: TestClient) -> None:
    page = client.get("/board").text
    assert set(re.findall(r'(?:href|src)="board/([^"]+)"', page)) == set(FILES)
    for name in FILES:
        file = client.get(f"/board/{name}")
        assert file.headers["Content-Type"].startswith(TYPES[PAGE.joinpath(name).suffix])
        assert file.content == PAGE.joinpath(name).read_bytes()


@pytest.mark.parametrize("name", ["index.html", *FILES])
def test_no_file_refers_to_another_host(name: str) -> None:
    text = PAGE.joinpath(name).read_text()
    assert set(re.findall(r"https?://[^\s\"']+", text)) <= {"http://www.w3.org/2000/svg"}


def test_a_file_that_a_browser_has_already_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/board/board.js")
    assert first.headers["Cache-Control"] == "no-cache, no-transform"
    again = client.get("/board/board.js", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "name", ["index.html", "router.py", "..%2Frouter.py", "%00", "board.js%2F"]
)
def test_there_is_no_other_file(name: str, client: TestClient) -> None:
    assert client.get(f"/board/{name}").status_code == 404

"""A real browser that can reach nothing but the service, for tests of pages."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@contextmanager
def browser(origin: str, *, is_refused: bool = False) -> Iterator[Callable[..., "Page"]]:
    """Yield a function that opens a page; its arguments are those of Playwright's ``new_page``.

    Fails where a page sent a request to another host or logged an error. With ``is_refused`` failed
    requests, which the browser itself logs as errors, are expected.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra `browser`")
    asked: list[str] = []
    errors: list[str] = []
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=CHROMIUM,
            # Chromium's sandbox does not start as root, which one is in a container.
            chromium_sandbox=os.geteuid() != 0,
            args=["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
        )

        def open_page(**options: object) -> "Page":
            page: Page = chromium.new_page(base_url=origin, **options)
            page.on("request", lambda request: asked.append(request.url))
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on(
                "console",
                lambda message: errors.append(message.text) if message.type == "error" else None,
            )
            return page

        yield open_page
        chromium.close()
    assert asked
    assert [url for url in asked if urlsplit(url).netloc not in {urlsplit(origin).netloc, ""}] == []
    if is_refused:
        errors = [error for error in errors if "Failed to load resource" not in error]
    assert errors == []

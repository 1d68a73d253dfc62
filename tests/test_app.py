"""The application as a whole."""

import re

import pytest
from starlette.testclient import TestClient


def test_the_root_leads_to_the_documentation(client: TestClient) -> None:
    response = client.get("/", follow_redirects=False)
    assert response.headers["location"] == "/docs"


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_the_documentation_needs_no_other_host(client: TestClient, page: str) -> None:
    html = client.get(page).text
    links = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)""", html)
    assert links
    for link in links:
        assert link.startswith("/"), link
        assert client.get(link).status_code == 200, link

"""The application as a whole."""

import re

import pytest
from fastapi import FastAPI
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


def test_everything_can_be_served_under_the_path_of_a_proxy(app: FastAPI) -> None:
    # With a root path the server puts back in front of the path what the proxy has stripped.
    behind = TestClient(app, root_path="/api")
    docs = behind.get("/api/", follow_redirects=False).headers["location"]
    assert docs == "/api/docs"
    for page in (docs, "/api/redoc"):
        links = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)""", behind.get(page).text)
        assert links
        assert all(link.startswith("/api/") for link in links), links
    document = behind.get("/api/openapi.json").json()
    assert document == {**app.openapi(), "servers": [{**document["servers"][0], "url": "/api"}]}

"""Exports from services, imports into them, and their lists."""

import json
from typing import Any

from httpx2 import Response
from starlette.testclient import TestClient

LISTS = (
    "/tasks?deleted=include&sort=id",
    "/tasks?deleted=include&sort=position",
    "/tags?sort=id",
)

type Json = dict[str, Any]


def exported(client: TestClient, query: str = "") -> bytes:
    """Return an export."""
    response = client.get(f"/transfer/export{query}")
    assert response.status_code == 200, response.text
    return response.content


def send(
    client: TestClient, file: bytes | str | Json, query: str = "", media_type: str = ""
) -> Response:
    """Import a file."""
    content = json.dumps(file) if isinstance(file, dict) else file
    headers = {"Content-Type": media_type or "application/octet-stream"}
    return client.post(f"/transfer/import{query}", content=content, headers=headers)


def imported(
    client: TestClient, file: bytes | str | Json, query: str = "", media_type: str = ""
) -> Json:
    """Import a file, and return the result of its success."""
    response = send(client, file, query, media_type)
    assert response.status_code == 200, response.text
    result: Json = response.json()
    return result


def lists(client: TestClient) -> list[bytes]:
    """Return every page of every list, byte for byte."""
    pages = []
    for url in LISTS:
        path: str | None = f"{url}&limit=200&include_total=true"
        while path is not None:
            response = client.get(path)
            assert response.status_code == 200, response.text
            pages.append(response.content)
            cursor = response.json()["next_cursor"]
            path = cursor and f"{url}&limit=200&include_total=true&cursor={cursor}"
    return pages


def faults(response: Response) -> list[tuple[int, str, str]]:
    """Return the line, the pointer and the code of each error."""
    assert response.status_code == 422, response.text
    return [(it["line"], it.get("pointer", ""), it["code"]) for it in response.json()["errors"]]

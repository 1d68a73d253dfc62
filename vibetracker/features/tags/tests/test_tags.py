"""Tags as clients meet them."""

from starlette.testclient import TestClient

from .factory import TagFactory


def test_a_created_tag_can_be_read(client: TestClient) -> None:
    created = client.post("/tags", json={"name": " Home ", "color": "#AABBCC"})
    assert created.status_code == 201
    assert created.headers["location"] == "/tags/1"
    assert created.headers["etag"] == '"1"'
    assert created.json()["name"] == "Home"
    assert client.get("/tags/1").json() == created.json()


def test_list(client: TestClient) -> None:
    TagFactory.create_batch(3)
    assert len(client.get("/tags").json()["items"]) == 3

"""Changes are reverted by the rules that hold for every write."""

from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from .factory import EntryFactory
from .test_changes import create, feed, summary

type Json = dict[str, Any]


def revert(client: TestClient, change_id: int, **options: Any) -> Response:
    """Revert a change."""
    answer: Response = client.post(f"/changes/{change_id}/revert", **options)
    return answer


def problem(answer: Response) -> str:
    """Return the type of a problem."""
    slug: str = answer.json()["type"].rpartition("/")[2]
    return slug


def test_a_change_is_undone_by_another_one(memos: TestClient) -> None:
    create(memos, "a")
    memos.patch("/memos/1", json={"text": "b", "pinned": True, "seen_at": "2026-01-02T03:04:05Z"})
    answer = revert(memos, 2, headers={"X-Request-ID": "undo"})
    memo = answer.json()
    assert (memo["text"], memo["pinned"], memo["seen_at"], memo["version"]) == ("a", False, None, 3)
    assert answer.headers["ETag"] == '"3"'
    assert memos.get("/memos/1").json() == memo
    change = feed(memos)["items"][-1]
    assert (change["action"], change["version"], change["request_id"]) == ("updated", 3, "undo")
    assert revert(memos, 3).json()["text"] == "b"
    assert memos.get("/memos/1").json()["seen_at"] == "2026-01-02T03:04:05Z"


def test_what_has_been_created_is_deleted_and_what_was_deleted_stays_so(memos: TestClient) -> None:
    memo = create(memos, "a")
    assert revert(memos, 1).json() == memo
    assert memos.get("/memos/1").status_code == 404
    assert summary(feed(memos)) == [(1, "created", 1), (1, "deleted", 1)]
    answer = revert(memos, 2)
    assert (answer.status_code, problem(answer)) == (409, "change-irrevocable")
    answer = revert(memos, 1)
    assert (answer.status_code, problem(answer)) == (409, "change-overtaken")
    assert answer.json()["detail"] == "Since change 1, memos 1 has been deleted for good"


def test_what_follows_from_a_member_is_as_it_was(memos: TestClient) -> None:
    create(memos, "a")
    before = memos.patch("/memos/1", json={"pinned": True}).json()
    memos.patch("/memos/1", json={"pinned": False})
    after = revert(memos, 3).json()
    assert (after["pinned"], after["pinned_at"]) == (True, before["pinned_at"])
    # Once more there is nothing to do.
    assert revert(memos, 3).json() == after
    assert summary(feed(memos))[-1] == (1, "updated", 4)


def test_what_has_changed_since_is_named(memos: TestClient) -> None:
    create(memos, "a")
    memos.patch("/memos/1", json={"text": "b", "pinned": True})
    memos.patch("/memos/1", json={"text": "c"})
    answer = revert(memos, 2)
    assert (answer.status_code, problem(answer)) == (409, "change-overtaken")
    assert (answer.json()["members"], answer.json()["change_id"]) == (["text"], 2)
    assert revert(memos, 3).is_success
    assert revert(memos, 2).json()["text"] == "a"
    # Once more there is nothing to do.
    assert revert(memos, 2).json()["version"] == 5


def test_what_was_null_at_the_creation_has_changed_too(memos: TestClient) -> None:
    create(memos, "a")
    changed = {"text": "b", "pinned": True, "seen_at": "2026-01-02T03:04:05Z"}
    memos.patch("/memos/1", json=changed)
    answer = revert(memos, 1)
    assert (answer.status_code, problem(answer)) == (409, "change-overtaken")
    assert answer.json()["members"] == ["pinned", "pinned_at", "seen_at", "text"]
    memos.patch("/memos/1", json={"text": "a", "pinned": False})
    assert revert(memos, 1).json()["members"] == ["seen_at"]
    memos.patch("/memos/1", json={"seen_at": None})
    assert revert(memos, 1).status_code == 200
    assert memos.get("/memos/1").status_code == 404


def test_the_rules_of_every_write_hold(memos: TestClient) -> None:
    create(memos, "a")
    memos.patch("/memos/1", json={"text": "b"})
    create(memos, "a")
    assert revert(memos, 2).status_code == 409
    assert memos.get("/memos/1").json()["text"] == "b"
    memos.patch("/memos/2", json={"text": "c"})
    assert revert(memos, 2, headers={"If-Match": '"1"'}).status_code == 412
    dry = revert(memos, 2, params={"dry_run": True})
    assert (dry.json()["text"], dry.headers.get("ETag")) == ("a", None)
    assert memos.get("/memos/1").json()["text"] == "b"
    key = {"Idempotency-Key": "k", "If-Match": '"2"'}
    first, again = revert(memos, 2, headers=key), revert(memos, 2, headers=key)
    assert (first.json()["text"], again.content) == ("a", first.content)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert revert(memos, 99).status_code == 404
    EntryFactory.create(resource="nothing")
    assert problem(revert(memos, 6)) == "change-irrevocable"


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_request_is_undone_as_a_whole(memos: TestClient, dry_run: bool) -> None:  # noqa: FBT001 - pytest passes it by name
    create(memos, "a")
    memos.post("/memos/many", headers={"X-Request-ID": "many"})
    before = feed(memos)["next_cursor"]
    body = {"request_id": "many"}
    answer = memos.post("/changes/revert", json=body, params={"dry_run": dry_run})
    assert answer.status_code == 200, answer.text
    undone = answer.json()
    assert sorted(summary(undone)) == [(1, "updated", 3), (2, "deleted", 1), (3, "deleted", 1)]
    new = feed(memos, after=before)["items"]
    assert new == ([] if dry_run else undone["items"])
    assert memos.get("/memos/1").json()["text"] == ("beside two" if dry_run else "a")
    assert memos.get("/memos/2").status_code == (200 if dry_run else 404)


def test_of_a_request_nothing_is_undone_unless_all_is(memos: TestClient) -> None:
    create(memos, "a")
    memos.post("/memos/many", headers={"X-Request-ID": "many"})
    memos.patch("/memos/1", json={"text": "since"})
    answer = memos.post("/changes/revert", json={"request_id": "many"})
    assert (problem(answer), answer.json()["members"]) == ("change-overtaken", ["text"])
    assert memos.get("/memos/2").status_code == 200
    assert memos.post("/changes/revert", json={"request_id": "none"}).status_code == 404

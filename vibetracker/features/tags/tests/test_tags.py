"""Tags as clients meet them: fields, names, lists, and each operation."""

from datetime import datetime
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import Response
from starlette.testclient import TestClient

from .factory import TagFactory


def create(client: TestClient, **fields: Any) -> Response:
    return client.post("/tags", json={"name": "home", **fields})


def names(client: TestClient, query: str = "") -> list[str]:
    return [tag["name"] for tag in client.get(f"/tags{query}").json()["items"]]


def pointers(response: Response) -> list[str]:
    assert response.status_code == 422, response.text
    return [error["pointer"] for error in response.json()["errors"]]


def test_a_created_tag_can_be_read(client: TestClient) -> None:
    created = create(client, name=" Home ", color="#AABBCC", description="At home\nor near it")
    assert created.status_code == 201
    assert created.headers["location"] == "/tags/1"
    assert created.headers["etag"] == '"1"'
    tag = created.json()
    assert tag.pop("created_at") == tag.pop("updated_at")
    assert tag == {
        "id": 1,
        "name": "Home",
        "color": "#aabbcc",
        "description": "At home\nor near it",
        "version": 1,
    }
    read = client.get("/tags/1")
    assert (read.json(), read.headers["etag"]) == (created.json(), '"1"')
    assert client.get("/tags").json()["items"] == [created.json()]


def test_what_is_not_sent_has_a_default(client: TestClient) -> None:
    tag = create(client).json()
    assert (tag["color"], tag["description"]) == (None, "")
    assert create(client, name="b", color=None).json()["color"] is None


def test_timestamps_are_in_utc(client: TestClient) -> None:
    tag = create(client).json()
    for name in ("created_at", "updated_at"):
        assert tag[name].endswith("Z")
        assert datetime.fromisoformat(tag[name]).tzinfo is not None


@pytest.mark.parametrize(
    "name",
    [
        *("a", "x" * 60, f"  {'x' * 60}  ", f"\t{'x' * 60}\n", "e\u0301" * 60, "😀" * 60, "中"),
        *("a;b", "a/b", "#1", "<b>", "'"),
    ],
)
def test_a_name_is_a_line_of_up_to_60_characters(client: TestClient, name: str) -> None:
    assert create(client, name=name).status_code == 201


OTHER_NAMES: list[object] = [
    *("", " ", "\u3000", "x" * 61, "a,b", ",", "a\nb", "a\tb", "a\0", "\u2028", "\x85"),
    *(None, 1, True, ["a"], {"a": 1}, "\u200b", "\ufeff", "\u0301"),
]


def test_another_name_is_refused(client: TestClient, subtests: pytest.Subtests) -> None:
    TagFactory.create(name="old")
    for name in OTHER_NAMES:
        with subtests.test(repr(name)):
            assert pointers(create(client, name=name)) == ["/name"]
            assert pointers(client.patch("/tags/1", json={"name": name})) == ["/name"]
            assert names(client) == ["old"]


OTHER_COLORS: list[object] = [
    *("", "red", "#fff", "#12345", "#1234567", "123456", "#12345g", " #123456", "#123456 "),
    *("#123456\n", "#\uff123456", "\uff03123456", 0x123456, True, []),
]


def test_a_color_is_written_with_six_hexadecimal_digits(
    client: TestClient, subtests: pytest.Subtests
) -> None:
    TagFactory.create(color="#00ff00")
    for color in OTHER_COLORS:
        with subtests.test(repr(color)):
            assert pointers(create(client, color=color)) == ["/color"]
            assert pointers(client.patch("/tags/1", json={"color": color})) == ["/color"]
            assert client.get("/tags/1").json()["color"] == "#00ff00"


@pytest.mark.parametrize("description", ["x" * 501, "a\0", "\x1b[0m", None, 1, ["a"]])
def test_a_description_is_prose_and_never_null(client: TestClient, description: object) -> None:
    assert pointers(create(client, description=description)) == ["/description"]
    TagFactory.create(description="old")
    assert pointers(client.patch("/tags/1", json={"description": description})) == ["/description"]


def test_a_description_is_stored_as_it_is_written(client: TestClient) -> None:
    for description in ("", "  two\n\tlines  ", "x" * 500, "e\u0301"):
        tag = client.post("/tags?dry_run=true", json={"name": "a", "description": description})
        assert tag.json()["description"] == description


def test_every_broken_rule_is_reported_at_once(client: TestClient) -> None:
    response = client.post("/tags", json={"color": "red", "description": None, "id": 1})
    assert set(pointers(response)) == {"/name", "/color", "/description", "/id"}


SAME = [
    *(("home", "HOME"), ("home", " Home "), ("straße", "STRASSE"), ("STRAẞE", "strasse")),
    *(("ΣΑΣ", "σας"), ("σασ", "σας")),  # noqa: RUF001 - Greek is meant: two small sigmas
    *(("İ", "i\u0307"), ("é", "e\u0301"), ("É", "e\u0301"), ("\u0390", "\u0390".upper())),
    *(("\u212b", "å"), ("\u212a", "k"), ("ǆ", "Ǆ"), ("ﬁn", "FIN"), ("\u1fb7", "\u1fbc\u0342")),
]
DIFFERENT = [("\u0131", "i"), ("İ", "i"), ("e", "é"), ("a b", "a  b"), ("a", "\uff41")]


@pytest.mark.parametrize(
    ("taken", "wanted"),
    [
        *SAME,
        SAME[2][::-1],
        *(pytest.param(*pair[::-1], marks=pytest.mark.slow) for pair in SAME if pair != SAME[2]),
    ],
)
def test_a_name_is_taken_whatever_its_case(client: TestClient, taken: str, wanted: str) -> None:
    TagFactory.create(name="first")
    assert create(client, name=taken).json()["id"] == 2
    answers = [
        create(client, name=wanted),
        client.post("/tags?dry_run=true", json={"name": wanted}),
        client.patch("/tags/1", json={"name": wanted}),
        client.patch("/tags/1?dry_run=true", json={"name": wanted}),
    ]
    for answer in answers:
        assert answer.status_code == 409
        assert answer.json()["type"] == "/problems/tag-name-taken"
        assert answer.json()["existing_id"] == 2
        assert "2" in answer.json()["detail"]
    assert "/tags/2/merge" in answers[2].json()["detail"]
    assert client.get("/tags/1").json()["name"] == "first"


@pytest.mark.parametrize(("first", "second"), DIFFERENT)
def test_names_that_differ_in_more_than_case_are_different(
    client: TestClient, first: str, second: str
) -> None:
    assert create(client, name=first).status_code == 201
    assert create(client, name=second).status_code == 201


def test_case_is_stored_as_it_is_written_and_can_be_changed(client: TestClient) -> None:
    assert create(client, name="ioS").json()["name"] == "ioS"
    changed = client.patch("/tags/1", json={"name": "iOS"})
    assert (changed.status_code, changed.json()["name"]) == (200, "iOS")
    assert changed.json()["version"] == 2


def test_a_name_that_was_given_up_is_free(client: TestClient) -> None:
    create(client, name="a")
    client.patch("/tags/1", json={"name": "b"})
    assert create(client, name="A").status_code == 201
    assert client.delete("/tags/1").status_code == 204
    assert create(client, name="B").status_code == 201


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": " New "}, {"name": "New"}),
        ({"color": "#ABCDEF"}, {"color": "#abcdef"}),
        ({"color": None}, {"color": None}),
        ({"description": "new"}, {"description": "new"}),
        ({"description": ""}, {"description": ""}),
        (
            {"name": "n", "color": None, "description": "d"},
            {"name": "n", "color": None, "description": "d"},
        ),
    ],
)
def test_a_patch_changes_what_it_names(
    client: TestClient, changes: dict[str, object], expected: dict[str, object]
) -> None:
    before = create(client, color="#000000", description="old").json()
    changed = client.patch("/tags/1", json=changes)
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    after = changed.json()
    assert after.pop("updated_at") > before.pop("updated_at")
    assert after == {**before, **expected, "version": 2}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"name": "home"},
        {"name": " home "},
        {"color": "#ABCDEF"},
        {"description": "old", "name": "home", "color": "#abcdef"},
    ],
)
def test_a_patch_that_changes_nothing_changes_nothing(
    client: TestClient, changes: dict[str, object]
) -> None:
    before = create(client, color="#abcdef", description="old").json()
    changed = client.patch("/tags/1", json=changes)
    assert (changed.status_code, changed.json(), changed.headers["etag"]) == (200, before, '"1"')


def test_a_deleted_tag_is_gone(client: TestClient) -> None:
    create(client)
    deleted = client.delete("/tags/1")
    assert (deleted.status_code, deleted.content) == (204, b"")
    for answer in (
        client.get("/tags/1"),
        client.delete("/tags/1"),
        client.patch("/tags/1", json={"name": "b"}),
        client.post("/tags/1/merge", json={"source_ids": [2]}),
    ):
        assert answer.status_code == 404
        assert answer.json()["type"] == "/problems/not-found"
    assert names(client) == []
    assert create(client).json()["id"] == 2, "an id is never given again"


def test_a_dry_run_commits_nothing(client: TestClient) -> None:
    before = create(client).json()
    TagFactory.create(name="other")
    everything = client.get("/tags").json()
    tried = client.post("/tags?dry_run=true", json={"name": "b", "color": "#ABCDEF"})
    assert (tried.status_code, tried.json()["color"]) == (200, "#abcdef")
    assert tried.json()["version"] == 1
    changed = client.patch("/tags/1?dry_run=true", json={"name": "b"})
    assert (changed.json()["name"], changed.json()["version"]) == ("b", 2)
    merged = client.post("/tags/1/merge?dry_run=true", json={"source_ids": [2]})
    assert (merged.status_code, merged.json()) == (200, before)
    assert client.delete("/tags/1?dry_run=true").status_code == 204
    for answer in (tried, changed, merged):
        assert not {"etag", "location"} & set(answer.headers)
    assert client.get("/tags").json() == everything


@pytest.mark.parametrize("if_match", ['"1"', 'W/"2"', '"3"'])
def test_a_tag_is_written_only_in_the_version_that_was_asked_for(
    client: TestClient, if_match: str
) -> None:
    create(client)
    TagFactory.create(name="other")
    before = client.patch("/tags/1", json={"color": "#000000"}).json()
    headers = {"If-Match": if_match}
    for answer in (
        client.patch("/tags/1", json={"name": "b"}, headers=headers),
        client.post("/tags/1/merge", json={"source_ids": [2]}, headers=headers),
        client.delete("/tags/1", headers=headers),
    ):
        assert (answer.status_code, answer.headers["etag"]) == (412, '"2"')
    assert client.get("/tags/1").json() == before
    assert client.delete("/tags/1", headers={"If-Match": '"2"'}).status_code == 204


def test_a_creation_can_be_repeated_with_its_key(client: TestClient) -> None:
    headers = {"Idempotency-Key": "k"}
    first = client.post("/tags", json={"name": "home"}, headers=headers)
    again = client.post("/tags", json={"name": "home"}, headers=headers)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert names(client) == ["home"]


ALPHABET = [
    *("1", "_x", "Äpfel", "Apfelbaum", "Apple", "apple pie", "Banana"),
    *("Lodz", "Łódź 2", "Lodz 3", "Öl", "Resume", "resumé", "résumé", "STRASSE 2", "Zebra"),
]
"""In order: first without case and accents, then as they are."""


def test_tags_are_sorted_by_name_whatever_its_case_and_accents(client: TestClient) -> None:
    for name in ALPHABET[::2] + ALPHABET[1::2]:
        TagFactory.create(name=name)
    assert names(client) == names(client, "?sort=name") == ALPHABET
    assert names(client, "?sort=-name") == ALPHABET[::-1]


def test_tags_are_sorted_by_age_change_and_id(client: TestClient) -> None:
    for name in "cab":
        assert create(client, name=name).status_code == 201
    client.patch("/tags/1", json={"description": "changed last"})
    assert names(client, "?sort=id") == names(client, "?sort=created_at") == ["c", "a", "b"]
    assert names(client, "?sort=-id") == names(client, "?sort=-created_at") == ["b", "a", "c"]
    assert names(client, "?sort=updated_at") == ["a", "b", "c"]
    assert names(client, "?sort=-updated_at") == ["c", "b", "a"]


@pytest.mark.parametrize(
    "sort",
    [
        *("-name", "created_at"),
        *(pytest.param(sort, marks=pytest.mark.slow) for sort in ("name", "-updated_at", "id")),
    ],
)
def test_a_walk_sees_each_tag_once_whatever_comes_and_goes(client: TestClient, sort: str) -> None:
    for number in range(12):
        TagFactory.create(name=f"tag {number:02}")
    seen: list[int] = []
    cursor: str | None = ""
    while cursor is not None:
        after = f"&cursor={cursor}" if cursor else ""
        page = client.get(f"/tags?sort={sort}&limit=3{after}").json()
        seen += [tag["id"] for tag in page["items"]]
        cursor = page["next_cursor"]
        if len(seen) < 10:
            TagFactory.create(name=f"tag {len(seen):02} and a half")
            assert client.delete(f"/tags/{page['items'][-1]['id']}").status_code == 204
    assert len(seen) == len(set(seen))
    assert set(range(1, 13)) <= set(seen)


SOUGHT: list[tuple[str, list[str]]] = [
    *(("o", ["foo", "Straße_o"]), ("FOO", ["foo"]), ("%20foo%20", ["foo"])),
    *(("strasse", ["Straße_o"]), ("RASSE", ["Straße_o"])),
    *(("SSE_", ["Straße_o"]), ("_", ["Straße_o"]), ("%25", ["100%"]), ("0%25", ["100%"])),
    *(("%5C", ["a\\b"]), ("/", ["a/b"]), ("'", ["it's"]), ("É", ["é", "Straße_o"])),
    ("e%CC%81", ["é", "Straße_o"]),
    *(("f_o", []), ("f%25o", []), ("%", ["100%"]), ("nothing", []), (".", []), ("%22", [])),
]


def test_q_finds_what_a_name_contains_literally_and_in_any_case(
    client: TestClient, subtests: pytest.Subtests
) -> None:
    for name in ("foo", "Straße_o", "100%", "a\\b", "a/b", "it's", "é"):
        TagFactory.create(name=name)
    for q, found in SOUGHT:
        with subtests.test(q):
            assert names(client, f"?q={q}") == found


def test_a_search_ignores_accents(client: TestClient) -> None:
    for name in ("Café", "CAFE", "Łódź"):
        assert create(client, name=name).status_code == 201
    assert (
        sorted(names(client, "?q=cafe"))
        == sorted(names(client, "?q=CAF%C3%89"))
        == ["CAFE", "Café"]
    )
    assert names(client, "?q=lodz") == ["Łódź"]
    assert names(client, "?q=%CC%81") == []


def test_a_byte_order_mark_makes_no_other_name(client: TestClient) -> None:
    assert create(client, name="home").status_code == 201
    assert create(client, name="\ufeffhome").status_code == 409
    assert create(client, name="home\u200b").status_code == 409


def test_an_empty_q_finds_everything(client: TestClient) -> None:
    TagFactory.create_batch(3)
    assert len(names(client, "?q=")) == len(names(client, "?q=%20")) == 3
    assert client.get("/tags?q=tag&include_total=true&limit=1").json()["total"] == 3


@pytest.mark.parametrize("q", ["x" * 201, "%00", "a%1Fb", "a%C2%9Fb"])
def test_another_q_is_refused(client: TestClient, q: str) -> None:
    response = client.get(f"/tags?q={q}")
    assert response.status_code == 422
    assert [error["parameter"] for error in response.json()["errors"]] == ["q"]


def test_every_member_says_what_it_means(app: FastAPI) -> None:
    schemas = app.openapi()["components"]["schemas"]
    for name in ("TagCreate", "TagUpdate", "TagRead", "TagMerge"):
        for member, schema in schemas[name]["properties"].items():
            assert schema.get("description"), f"{name}.{member}"

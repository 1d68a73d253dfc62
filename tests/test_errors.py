"""Errors: problem details whatever goes wrong, without internals and without the input."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from vibetracker.core.config import Settings
from vibetracker.core.http.problems import Problem

from .operations import Documented, Schema, errors_of, operations
from .specimens import CAUSE

JSON = {"Content-Type": "application/json"}
MEMBERS = {"type", "title", "status", "detail", "instance", "request_id"}
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"}
MARKER = "zqxj7marker"

type Request = dict[str, Any]

EVERY_KIND: list[tuple[str, int, Request]] = [
    ("not-found", 404, {"url": "/nowhere"}),
    ("not-found", 404, {"url": "/specimens/"}),
    ("not-found", 404, {"url": "/specimens/1/"}),
    ("not-found", 404, {"url": "/specimens/4711"}),
    ("not-found", 404, {"url": "/problems/nothing"}),
    ("method-not-allowed", 405, {"method": "PUT"}),
    ("malformed-request", 400, {"method": "POST", "content": b"{", "headers": JSON}),
    ("malformed-request", 400, {"url": "/specimens?sort=%ff"}),
    ("invalid-host", 400, {"headers": {"Host": "a/b"}}),
    ("cross-origin", 403, {"method": "POST", "headers": {"Origin": "http://elsewhere.example"}}),
    ("conflict", 409, {"method": "POST", "json": {"label": "first"}}),
    (
        "precondition-failed",
        412,
        {"method": "DELETE", "url": "/specimens/1", "headers": {"If-Match": '"9"'}},
    ),
    ("content-too-large", 413, {"method": "POST", "content": b" " * 1_048_577}),
    ("unsupported-media-type", 415, {"method": "POST", "content": b"label=x"}),
    ("validation-failed", 422, {"method": "POST", "json": {}}),
    (
        "idempotency-key-reused",
        422,
        {"method": "POST", "json": {"label": "x"}, "headers": {"Idempotency-Key": "used"}},
    ),
    ("internal-error", 500, {"method": "POST", "url": "/specimens/1/drop"}),
]


@pytest.mark.parametrize(("slug", "status", "request_"), EVERY_KIND)
def test_every_error_is_a_problem_that_is_explained(
    specimens: TestClient, slug: str, status: int, request_: Request
) -> None:
    used = {"Idempotency-Key": "used"}
    assert specimens.post("/specimens", json={"label": "first"}, headers=used).status_code == 201
    response = specimens.request(**{"method": "GET", "url": "/specimens", **request_})
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem.keys() - {"errors"} == MEMBERS
    assert ("errors" in problem) == (slug == "validation-failed")
    assert problem["type"] == f"/problems/{slug}"
    assert problem["status"] == status
    assert problem["instance"] == response.request.url.path
    assert problem["request_id"] == response.headers["x-request-id"]
    explained = specimens.get(problem["type"]).json()
    assert (explained["type"], explained["title"]) == (problem["type"], problem["title"])
    assert explained["status"] == status


def test_every_problem_type_is_listed_with_an_explanation(client: TestClient) -> None:
    listed = client.get("/problems").json()["items"]
    assert {item["type"] for item in listed} == {f"/problems/{slug}" for slug in Problem.types}
    for item in listed:
        assert client.get(item["type"]).json() == item
        assert item["description"]


NO_JSON = {
    "nothing but space": b" ",
    "cut off": b'{"label": "a"',
    "more after the end": b'{"label": "a"} x',
    "two documents": b'{"label": "a"}{"label": "b"}',
    "single quotes": b"{'label': 'a'}",
    "trailing comma": b'{"label": "a",}',
    "comment": b'{"label": "a"} // so',
    "bare word": b"label",
    "NaN": b'{"label": "a", "weight": NaN}',
    "Infinity": b'{"label": "a", "weight": Infinity}',
    "-Infinity": b'{"label": "a", "weight": -Infinity}',
    "leading zero": b'{"label": "a", "weight": 01}',
    "leading plus": b'{"label": "a", "weight": +1}',
    "raw control character": b'{"label": "a\x01"}',
    "raw line break in a text": b'{"label": "a\nb"}',
    "unknown escape": b'{"label": "\\x41"}',
    "not UTF-8": b'{"label": "\xff"}',
    "UTF-8 of a surrogate": b'{"label": "\xed\xa0\x80"}',
    "UTF-16": '{"label": "a"}'.encode("utf-16"),
    "absurd nesting": b"[" * 100_000,
    "absurd nesting of objects": b'{"label":' * 100_000,
    "absurd digits": b'{"label": "a", "weight": ' + b"9" * 5_000 + b"}",
}


@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON)
def test_a_body_that_is_no_json_is_malformed(specimens: TestClient, body: bytes) -> None:
    response = specimens.post("/specimens", content=body, headers=JSON)
    assert (response.status_code, response.json()["type"]) == (400, "/problems/malformed-request")


JSON_THAT_BREAKS_A_RULE: dict[str, tuple[bytes, list[str]]] = {
    "nothing": (b"", [""]),
    "null": (b"null", [""]),
    "a list": (b"[]", [""]),
    "a text": (b'"label"', [""]),
    "a number beyond floats": (b'{"label": "a", "weight": 1e999}', ["/weight"]),
    "a number beyond integers": (b'{"label": "a", "twin_id": 1e300}', ["/twin_id"]),
    "deep in a wrong place": (b'{"label": ' + b"[" * 500 + b"]" * 500 + b"}", ["/label"]),
    "half a character": (b'{"label": "\\ud800"}', ["/label"]),
    "NUL": (b'{"label": "a\\u0000b"}', ["/label"]),
    "several": (b'{"weight": "1", "note": null}', ["/label", "/note", "/weight"]),
    "a name that has to be escaped": (b'{"label": "a", "a/b~c": 1}', ["/a~1b~0c"]),
    "the empty name": (b'{"label": "a", "": 1}', ["/"]),
}


@pytest.mark.parametrize(
    ("body", "pointers"), JSON_THAT_BREAKS_A_RULE.values(), ids=JSON_THAT_BREAKS_A_RULE
)
def test_json_that_breaks_a_rule_is_pointed_to(
    specimens: TestClient, body: bytes, pointers: list[str]
) -> None:
    errors = errors_of(specimens, "POST", "/specimens", content=body, headers=JSON)
    assert sorted(error["pointer"] for error in errors) == pointers
    for error in errors:
        assert error.keys() == {"pointer", "code", "detail"}


def test_a_lone_surrogate_in_a_name_is_a_broken_rule_too(specimens: TestClient) -> None:
    body = b'{"label": "a", "\\ud800": 1}'
    assert errors_of(specimens, "POST", "/specimens", content=body, headers=JSON)


def test_a_parameter_and_a_header_are_named(specimens: TestClient) -> None:
    (error,) = errors_of(specimens, "GET", "/specimens/0")
    assert (set(error), error["parameter"]) == ({"parameter", "code", "detail"}, "specimen_id")
    (error,) = errors_of(specimens, "GET", "/specimens?heavier_than=x")
    assert (set(error), error["parameter"]) == ({"parameter", "code", "detail"}, "heavier_than")
    headers = {"Idempotency-Key": "a b"}
    (error,) = errors_of(specimens, "POST", "/specimens", json={"label": "a"}, headers=headers)
    assert (set(error), error["header"]) == ({"header", "code", "detail"}, "Idempotency-Key")


FOREIGN_TYPES = [
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/xml",
    "application/problem+json",
    "application/jsonp",
    "text/json",
    "json",
    "",
]


def test_every_body_has_to_be_json(
    client: TestClient, app: FastAPI, subtests: pytest.Subtests
) -> None:
    for operation in operations(app):
        if operation.body is None:
            continue
        foreign = [*FOREIGN_TYPES, None]
        if operation.method != "PATCH":
            foreign.append("application/merge-patch+json")
        with subtests.test(operation=str(operation)):
            for media_type in foreign:
                headers = {} if media_type is None else {"Content-Type": media_type}
                response = client.request(
                    operation.method, operation.url, content=b"{}", headers=headers
                )
                assert response.status_code == 415, media_type
                accept = "Accept-Patch" if operation.method == "PATCH" else "Accept"
                assert "application/json" in response.headers[accept]


def test_a_page_of_another_origin_cannot_send_a_form_to_any_operation(
    client: TestClient, app: FastAPI, subtests: pytest.Subtests
) -> None:
    for operation in operations(app):
        if operation.method == "GET":
            continue
        with subtests.test(operation=str(operation)):
            for media_type in ("text/plain", "application/x-www-form-urlencoded"):
                headers = {"Content-Type": media_type}
                refused = 415
                if media_type in operation.media_types:
                    # It may be a form or plain text, but not one that a page elsewhere sends.
                    headers["Origin"] = "https://elsewhere.example"
                    refused = 403
                response = client.request(
                    operation.method, operation.url, content=b"x", headers=headers
                )
                assert response.status_code == refused


def test_without_a_body_its_media_type_and_encoding_do_not_matter(
    client: TestClient, app: FastAPI, subtests: pytest.Subtests
) -> None:
    kind = {"Content-Type": "text/plain", "Content-Encoding": "gzip"}
    lengths: list[dict[str, str]] = [{"Content-Length": "0"}, {"Transfer-Encoding": "chunked"}, {}]
    tried = set()
    for operation in operations(app):
        # How the length is told makes no difference between operations of one kind.
        sort = (operation.method, bool(operation.media_types))
        with subtests.test(operation=str(operation)):
            plain = client.request(operation.method, operation.url)
            for length in lengths[:1] if sort in tried else lengths:
                response = client.request(
                    operation.method, operation.url, headers={**kind, **length}
                )
                assert response.status_code == plain.status_code, length
        tried.add(sort)


@pytest.mark.parametrize(
    "kind", [{"Content-Type": "text/plain"}, {**JSON, "Content-Encoding": "gzip"}]
)
def test_media_type_and_encoding_are_checked_for_a_body_of_unknown_length_too(
    specimens: TestClient, kind: dict[str, str]
) -> None:
    for method, url in (("POST", "/specimens"), ("DELETE", "/specimens/1")):
        for chunks, refused in ((iter([b"{", b"}"]), True), (iter([b""]), False)):
            response = specimens.request(method, url, content=chunks, headers=kind)
            assert (response.status_code == 415) is refused


@pytest.mark.parametrize(
    ("method", "media_type"),
    [
        ("POST", "application/json"),
        ("POST", "Application/JSON"),
        ("POST", "application/json; charset=utf-8"),
        ("POST", "application/json;charset=UTF-8"),
        ("PATCH", "application/json"),
        ("PATCH", "application/merge-patch+json"),
        ("PATCH", "application/merge-patch+json; charset=utf-8"),
    ],
)
def test_json_is_accepted_under_each_of_its_media_types(
    specimens: TestClient, method: str, media_type: str
) -> None:
    specimens.post("/specimens", json={"label": "a"})
    url = "/specimens" if method == "POST" else "/specimens/1"
    headers = {"Content-Type": media_type}
    response = specimens.request(method, url, content=b'{"label": "b"}', headers=headers)
    assert response.status_code in {200, 201}


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity, gzip", "x"])
def test_an_encoded_body_is_refused(specimens: TestClient, coding: str) -> None:
    headers = {**JSON, "Content-Encoding": coding}
    response = specimens.post("/specimens", content=b'{"label": "a"}', headers=headers)
    assert response.status_code == 415
    assert response.headers["accept-encoding"] == "identity"


def test_the_content_encoding_identity_is_accepted(specimens: TestClient) -> None:
    headers = {"Content-Encoding": "identity"}
    assert specimens.post("/specimens", json={"label": "a"}, headers=headers).status_code == 201


def test_a_body_may_be_as_large_as_the_limit_and_no_larger(
    specimens: TestClient, settings: Settings
) -> None:
    body = b'{"label": "a"}'
    fits = body + b" " * (settings.max_body_size - len(body))
    assert specimens.post("/specimens", content=fits, headers=JSON).status_code == 201
    assert specimens.post("/specimens", content=fits + b" ", headers=JSON).status_code == 413


def test_a_body_of_unknown_length_has_the_same_limit(
    specimens: TestClient, settings: Settings
) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(settings.max_body_size // 65_536 + 1):
            yield b" " * 65_536

    response = specimens.post("/specimens", content=chunks(), headers=JSON)
    assert "content-length" not in response.request.headers
    assert response.status_code == 413


def test_every_operation_limits_the_size_of_its_body(
    client: TestClient, app: FastAPI, subtests: pytest.Subtests
) -> None:
    for operation in operations(app):
        if operation.method != "GET":
            with subtests.test(operation=str(operation)):
                # An operation that takes files has a limit of its own, which its description names.
                largest = 50 * 1024 * 1024 if operation.takes_file else 1_048_576
                headers = {"Content-Length": str(largest + 1)}
                response = client.request(
                    operation.method, operation.url, content=b" ", headers=headers
                )
                assert response.status_code == 413


def test_a_405_lists_the_methods_that_are_supported(
    client: TestClient, app: FastAPI, subtests: pytest.Subtests
) -> None:
    taken: dict[str, set[str]] = {"/docs": {"GET"}, "/openapi.json": {"GET"}, "/": {"GET"}}
    for operation in operations(app):
        taken.setdefault(operation.url, set()).add(operation.method)
    for url, methods in taken.items():
        allowed = methods | ({"HEAD"} if "GET" in methods else set())
        with subtests.test(url=url):
            for method in METHODS - allowed:
                response = client.request(method, url)
                assert response.status_code == 405, method
                assert set(response.headers["allow"].split(", ")) == allowed
                assert response.headers["content-type"] == "application/problem+json"


def test_the_cause_of_a_failure_is_in_the_log_under_its_request_id_and_nowhere_else(
    specimens: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    specimens.post("/specimens", json={"label": "a"})
    with caplog.at_level(logging.ERROR):
        response = specimens.post("/specimens/1/drop", headers={"X-Request-ID": "the-very-one"})
    assert response.status_code == 500
    assert response.json()["request_id"] == "the-very-one"
    for inside in (CAUSE, "RuntimeError", "Traceback", ".py", "specimens.py", "drop_specimen"):
        assert inside not in response.text
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert CAUSE in str(record.exc_info[1])
    assert specimens.get("/specimens/1").json()["note"] == "", "what it wrote is rolled back"


def _bodies_with_markers(schema: Schema) -> Iterator[object]:
    """Yield bodies with the marker as a value; an error may repeat the names of members."""
    yield MARKER
    yield [MARKER]
    yield {"unknown": MARKER}
    names = list(schema.get("properties", {}))
    for value in (MARKER, [MARKER], {"x": MARKER}, [{"x": MARKER}], f"{MARKER}\0"):
        yield dict.fromkeys(names, value)
    for name in names:
        yield {name: MARKER}


def _requests_with_markers(operation: Documented) -> Iterator[Request]:
    names = list(operation.parameters("query"))
    for value in (MARKER, [MARKER, MARKER], f"{MARKER}\0"):
        yield {"params": dict.fromkeys([*names, "unknown"], value)}
        yield {"params": dict.fromkeys(names, value)}
    headers = ["Content-Type", "Content-Encoding", "Host", "If-Match", "If-None-Match"]
    if operation.method != "GET":
        headers += ["Idempotency-Key", "Origin", "Sec-Fetch-Site"]
        for body in _bodies_with_markers(operation.body or {}):
            yield {"content": json.dumps(body), "headers": JSON}
        yield {"content": f'{{"{MARKER}', "headers": JSON}
    for name in headers:
        yield {"headers": {**JSON, name: f"{MARKER} ({MARKER})"}}


@pytest.mark.slow
def test_an_error_never_echoes_what_was_sent(
    client: TestClient, app: FastAPI, subtests: pytest.Subtests
) -> None:
    for operation in operations(app):
        with subtests.test(operation=str(operation)):
            met = 0
            for request in _requests_with_markers(operation):
                if operation.method == "GET" and "Content-Encoding" in request.get("headers", {}):
                    continue
                response = client.request(operation.method, operation.url, **request)
                if response.status_code >= 400:
                    met += 1
                    assert MARKER not in response.text, request
                    assert MARKER not in str(response.headers), request
            assert met


def test_an_error_echoes_a_path_as_its_instance_only(
    client: TestClient, app: FastAPI, subtests: pytest.Subtests
) -> None:
    for operation in operations(app):
        if operation.method == "GET" and operation.parameters("path"):
            with subtests.test(operation=str(operation)):
                url = operation.url.replace("4711", MARKER)
                response = client.get(url)
                if response.status_code >= 400:
                    problem = response.json()
                    assert problem.pop("instance") == url
                    assert MARKER not in json.dumps(problem)

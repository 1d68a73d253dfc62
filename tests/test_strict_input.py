"""Strict input: what an operation does not document is refused, on every operation there is."""

import json
from collections.abc import Iterator
from typing import get_args

import pytest
from fastapi import FastAPI
from pydantic.fields import FieldInfo
from starlette.testclient import TestClient

from vibetracker.core.api.parameters import dependencies, query_models
from vibetracker.core.api.schema import FROM_DIGITS, UrlBool

from .operations import Documented, Schema, errors_of, operations

JSON = {"Content-Type": "application/json"}
LARGEST_ID = 2**53 - 1


def _types(schema: Schema) -> set[str]:
    choices = schema.get("anyOf", [schema])
    return {choice.get("type", "") for choice in choices}


def _typical(schema: Schema) -> str:
    """Return a text that fits a query parameter of this schema."""
    kinds = _types(schema)
    if "integer" in kinds:
        return "1"
    if "boolean" in kinds:
        return "true"
    values = schema.get("enum") or [schema.get("default")]
    return str(values[0] or "x")


def test_an_unknown_query_parameter_is_refused_by_name(
    client: TestClient, app: FastAPI, subtests: pytest.Subtests
) -> None:
    for operation in operations(app):
        with subtests.test(operation=str(operation)):
            known = list(operation.parameters("query"))
            unknown = [
                "limt",
                "",
                "_",
                *(name.upper() for name in known[:2]),
                *operation.body_members,
            ]
            for name in set(unknown) - set(known):
                (error,) = errors_of(client, operation.method, operation.url, params={name: "1"})
                assert (error["parameter"], error["code"]) == (name, "extra_forbidden")


def test_a_repeated_parameter_of_one_value_is_refused_by_name(
    client: TestClient, app: FastAPI, subtests: pytest.Subtests
) -> None:
    for operation in operations(app):
        for name, schema in operation.parameters("query").items():
            if schema.get("type") == "array":
                continue
            with subtests.test(operation=str(operation), parameter=name):
                value = _typical(schema)
                url = f"{operation.url}?{name}={value}&{name}={value}"
                (error,) = errors_of(client, operation.method, url)
                assert (error["parameter"], error["code"]) == (name, "repeated")


def test_every_culprit_is_named_at_once(specimens: TestClient) -> None:
    errors = errors_of(specimens, "GET", "/specimens?limt=1&limit=1&limit=2&Sort=id")
    assert {error["parameter"] for error in errors} == {"limt", "limit", "Sort"}
    errors = errors_of(specimens, "POST", "/specimens", json={"lable": 1, "weihgt": 2})
    assert {error["pointer"] for error in errors} == {"/lable", "/weihgt", "/label"}


def test_a_repeatable_parameter_may_be_repeated(specimens: TestClient) -> None:
    for weight in (1, 2, 3):
        specimens.post("/specimens", json={"label": f"{weight}", "weight": weight})
    page = specimens.get("/specimens?weight=1&weight=3&sort=weight").json()
    assert [item["weight"] for item in page["items"]] == [1, 3]


def _with_body(app: FastAPI) -> Iterator[tuple[Documented, Schema]]:
    for operation in operations(app):
        if operation.body is not None and operation.is_open:
            yield operation, operation.body


def test_an_unknown_member_is_refused_by_name(
    client: TestClient, app: FastAPI, subtests: pytest.Subtests
) -> None:
    for operation, body in _with_body(app):
        with subtests.test(operation=str(operation)):
            for name in {"nmae", "Name", "name "} - set(body["properties"]):
                errors = errors_of(client, operation.method, operation.url, json={name: None})
                assert [e["code"] for e in errors if e["pointer"] == f"/{name}"] == [
                    "extra_forbidden"
                ]


def test_a_read_only_member_is_refused_by_name(
    client: TestClient, app: FastAPI, subtests: pytest.Subtests
) -> None:
    for operation, body in _with_body(app):
        answer = operation.answer(201) or operation.answer(200)
        read_only = set(answer.get("properties", {})) - set(body["properties"])
        with subtests.test(operation=str(operation), members=sorted(read_only)):
            sent = dict.fromkeys(read_only, 1)
            errors = errors_of(client, operation.method, operation.url, json={**sent, "": 1})
            refused = {e["pointer"] for e in errors if e["code"] == "extra_forbidden"}
            assert refused == {f"/{name}" for name in (*read_only, "")}


def test_a_repeated_member_is_refused_by_name(
    client: TestClient, app: FastAPI, subtests: pytest.Subtests
) -> None:
    for operation, body in _with_body(app):
        with subtests.test(operation=str(operation)):
            for name in (*body["properties"], "unknown"):
                twice = f'{{"{name}": 1, "other": 2, "{name}": 1}}'
                (error,) = errors_of(
                    client, operation.method, operation.url, content=twice, headers=JSON
                )
                assert (error["pointer"], error["code"]) == (f"/{name}", "repeated")


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ('{"a": {"b": 1, "b": 2}}', ["/a/b"]),
        ('{"a": [0, {"b": 1, "b": 2}, {"c": 1}]}', ["/a/1/b"]),
        ('{"a": 1, "b": 2, "a": 3, "b": 4, "a": 5}', ["/a", "/b"]),
        ('{"a": {"x": 1, "x": 1}, "b": {"x": 1, "x": 1}}', ["/a/x", "/b/x"]),
        ('{"a/b~": {"": 1, "": 2}}', ["/a~1b~0/"]),
        ('{"\\u0061": 1, "a": 2}', ["/a"]),
        ('[{"a": 1, "a": 2}]', ["/0/a"]),
        # The parser drops the first value of a repeated member, so it is not searched.
        ('{"a": {"x": 1, "x": 1}, "a": {}}', ["/a"]),
    ],
)
def test_a_repeated_member_is_found_at_any_depth(
    specimens: TestClient, body: str, pointers: list[str]
) -> None:
    errors = errors_of(specimens, "POST", "/specimens", content=body, headers=JSON)
    assert [error["pointer"] for error in errors] == pointers


def test_the_same_name_in_different_objects_is_no_repeated_member(
    specimens: TestClient,
) -> None:
    body = '{"label": {"label": 1}, "weight": [{"x": 1}, {"x": 1}]}'
    errors = errors_of(specimens, "POST", "/specimens", content=body, headers=JSON)
    assert {error["pointer"] for error in errors} == {"/label", "/weight"}


def test_a_body_is_refused_by_an_operation_that_takes_none(
    client: TestClient, app: FastAPI, subtests: pytest.Subtests
) -> None:
    for operation in operations(app):
        if not operation.media_types:
            with subtests.test(operation=str(operation)):
                for body in (b'{"a": 1}', b"[]", b"null", b'""'):
                    (error,) = errors_of(
                        client, operation.method, operation.url, content=body, headers=JSON
                    )
                    assert error["pointer"] == ""
                broken = client.request(operation.method, operation.url, content=b"{", headers=JSON)
                assert broken.status_code == 400


def test_a_byte_order_mark_before_a_body_is_ignored(specimens: TestClient) -> None:
    sent = b"\xef\xbb\xbf" + b'{"label": "a"}'
    response = specimens.post("/specimens", content=sent, headers=JSON)
    assert (response.status_code, response.json()["label"]) == (201, "a")


def test_an_empty_object_counts_as_no_body(specimens: TestClient) -> None:
    specimens.post("/specimens", json={"label": "a"})
    assert specimens.request("DELETE", "/specimens/1", json={}).status_code == 204


WRONG: dict[str, list[object]] = {
    "integer": ["1", "", True, False, 1.5, [1], {}, 1e400],
    "string": [1, True, 1.5, ["x"], {"x": 1}],
    "boolean": ["true", "1", 1, 0, [True], {}],
    "array": ["x", 1, True, {}, {"0": 1}],
    "object": ["x", 1, True, []],
}


@pytest.mark.slow
def test_a_value_of_another_type_is_refused_with_its_pointer(
    client: TestClient, app: FastAPI, subtests: pytest.Subtests
) -> None:
    for operation, body in _with_body(app):
        for name, schema in body["properties"].items():
            types = _types(operation.resolve(schema))
            with subtests.test(operation=str(operation), member=name):
                values = [value for kind in types for value in WRONG.get(kind, [])]
                values += [] if "null" in types else [None]
                for value in values:
                    if any(_is(value, kind) for kind in types):
                        continue
                    content = json.dumps({name: value}).replace("Infinity", "1e400")
                    errors = errors_of(
                        client, operation.method, operation.url, content=content, headers=JSON
                    )
                    assert any(error["pointer"] == f"/{name}" for error in errors), value


def _is(value: object, kind: str) -> bool:
    types: dict[str, tuple[type, ...]] = {
        "string": (str,),
        "array": (list,),
        "object": (dict,),
        "boolean": (bool,),
    }
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, types.get(kind, ()))


def test_an_integer_may_be_written_as_json_schema_knows_it(specimens: TestClient) -> None:
    specimens.post("/specimens", json={"label": "a"})
    body = '{"label": "b", "twin_id": 1.0}'
    assert specimens.post("/specimens", content=body, headers=JSON).status_code == 201


NO_ID = [
    *("0", "-1", "+1", "%2B1", "01", "1.0", "1e0", "1_0", "0x1", "1,2", "1;2"),
    *("%201", "1%20", "1%0A", "%09", "%00", "%EF%BC%91", "%D9%A1", "%C2%B2"),
    *("null", "None", "true", "abc", "1a", "NaN", "Infinity", "*", "%25", "%FF"),
    *(str(LARGEST_ID + 1), str(2**63 - 1), str(2**63), str(2**64), "9" * 400, "9" * 5_000),
]


@pytest.mark.slow
def test_what_is_no_id_is_refused_in_every_path(
    client: TestClient, app: FastAPI, subtests: pytest.Subtests
) -> None:
    for operation in operations(app):
        for name, schema in operation.parameters("path").items():
            if schema.get("maximum") == LARGEST_ID and operation.is_open:
                with subtests.test(operation=str(operation)):
                    for value in NO_ID:
                        url = operation.path.replace(f"{{{name}}}", value)
                        errors = errors_of(client, operation.method, url)
                        assert any(error.get("parameter") == name for error in errors), value


def test_the_largest_id_is_one_that_nothing_has(
    client: TestClient, app: FastAPI, subtests: pytest.Subtests
) -> None:
    for operation in operations(app):
        schemas = operation.parameters("path").values()
        has_id = any(schema.get("maximum") == LARGEST_ID for schema in schemas)
        if operation.method == "GET" and has_id and operation.is_open:
            with subtests.test(operation=str(operation)):
                url = operation.url.replace("4711", str(LARGEST_ID))
                assert client.get(url).status_code == 404


NO_NUMBER = ["", "x", "-1", "+1", "%2B1", "01", "1.0", "1e1", "%201", "1_0", "%D9%A1", "9" * 400]
NO_BOOLEAN = ["", "1", "0", "yes", "no", "on", "t", "%20true", "null"]


def _read_by(mark: object, app: FastAPI) -> Iterator[tuple[str, str]]:
    """Yield the path and the name of each query parameter of a GET that has this mark."""
    for feature in app.state.features:
        for route in (it for it in feature.operations if it.verb == "GET"):
            fields: dict[str, FieldInfo] = {}
            for one in (route.dependant, *dependencies(route.dependant)):
                for it in one.query_params:
                    whole = {it.alias: it.field_info}
                    fields |= getattr(it.field_info.annotation, "model_fields", whole)
            for model in query_models(route.dependant):
                fields |= app.state.extended.get(model, model).model_fields
            for name, field in fields.items():
                # At any depth of the type, as in a list of ids.
                if repr(mark) in f"{field.annotation!r} {field.metadata!r}":
                    yield route.path_format, name


def test_what_is_no_number_or_no_boolean_is_refused_in_every_query(
    client: TestClient, app: FastAPI, subtests: pytest.Subtests
) -> None:
    readers = ((FROM_DIGITS, NO_NUMBER), (get_args(UrlBool)[1], NO_BOOLEAN))
    marked = [(set(_read_by(mark, app)), values) for mark, values in readers]
    tried: set[str] = set()
    for operation in operations(app):
        if operation.method != "GET" or not operation.is_open:
            continue
        with subtests.test(operation=str(operation)):
            for places, values in marked:
                names = {name for path, name in places if path == operation.path}
                # One reader reads all of them, so that a few values show whether it does.
                chosen = values if names - tried else values[:3]
                tried |= names
                for value in chosen if names else ():
                    query = "&".join(f"{name}={value}" for name in names)
                    errors = errors_of(client, "GET", f"{operation.url}?{query}")
                    assert {error["parameter"] for error in errors} == names, value


@pytest.mark.parametrize("value", NO_BOOLEAN)
def test_a_dry_run_is_asked_for_with_true_or_false(specimens: TestClient, value: str) -> None:
    url = f"/specimens?dry_run={value}"
    (error,) = errors_of(specimens, "POST", url, json={"label": "a"})
    assert error["parameter"] == "dry_run"
    assert specimens.get("/specimens").json()["items"] == []


@pytest.mark.parametrize(
    "query", ["heavier_than=5&", "&&heavier_than=5", "%68eavier_than=%35", "weight=6"]
)
def test_spellings_of_one_query_are_read_alike(specimens: TestClient, query: str) -> None:
    specimens.post("/specimens", json={"label": "a", "weight": 6})
    specimens.post("/specimens", json={"label": "b", "weight": 5})
    items = specimens.get(f"/specimens?{query}").json()["items"]
    assert [item["label"] for item in items] == ["a"]


@pytest.mark.parametrize(
    "query",
    [
        *("q=%FF", "%FF=1"),
        *(pytest.param(it, marks=pytest.mark.slow) for it in ("limit=%ff", "sort=%C3")),
        pytest.param("sort=%ED%A0%80", marks=pytest.mark.slow),
    ],
)
def test_a_query_that_is_no_utf_8_is_malformed(
    client: TestClient, app: FastAPI, subtests: pytest.Subtests, query: str
) -> None:
    for operation in operations(app):
        with subtests.test(operation=str(operation)):
            response = client.request(operation.method, f"{operation.url}?{query}")
            assert response.status_code == 400
            assert response.json()["type"] == "/problems/malformed-request"

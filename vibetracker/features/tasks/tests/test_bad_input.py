"""Requests that break a rule: the errors say where, and nothing is changed."""

import pytest
from starlette.testclient import TestClient

from .calls import everything, faults, make

TOO_LARGE = 2**53

BODIES: list[tuple[dict[str, object], str, str]] = [
    ({"title": ""}, "/title", "string_too_short"),
    ({"title": " \u3000 "}, "/title", "string_too_short"),
    ({"title": "x" * 501}, "/title", "string_too_long"),
    ({"title": None}, "/title", "string_type"),
    ({"title": 7}, "/title", "string_type"),
    ({"title": ["x"]}, "/title", "string_type"),
    ({"title": "a\nb"}, "/title", "text_control_character"),
    ({"title": "a\tb"}, "/title", "text_control_character"),
    ({"title": "a\u2028b"}, "/title", "text_control_character"),
    ({"title": "a\u0000b"}, "/title", "text_control_character"),
    ({"title": "a\u0085b"}, "/title", "text_control_character"),
    ({"description": None}, "/description", "string_type"),
    ({"description": "x" * 50_001}, "/description", "string_too_long"),
    ({"description": "a\u0000b"}, "/description", "text_control_character"),
    ({"description": "a\u001bb"}, "/description", "text_control_character"),
    ({"status": None}, "/status", "enum"),
    ({"status": "open"}, "/status", "enum"),
    ({"status": "Done"}, "/status", "enum"),
    ({"status": 2}, "/status", "enum"),
    ({"priority": None}, "/priority", "enum"),
    ({"priority": "highest"}, "/priority", "enum"),
    ({"priority": 3}, "/priority", "enum"),
    ({"due_on": ""}, "/due_on", "date_format"),
    ({"due_on": "2030-5-1"}, "/due_on", "date_format"),
    ({"due_on": "20300501"}, "/due_on", "date_format"),
    ({"due_on": "2030-05-01T00:00:00Z"}, "/due_on", "date_format"),
    ({"due_on": "2030-02-29"}, "/due_on", "date_value"),
    ({"due_on": "2030-13-01"}, "/due_on", "date_value"),
    ({"due_on": "\u0662030-01-01"}, "/due_on", "date_format"),
    ({"due_on": 20300501}, "/due_on", "date_format"),
    ({"due_on": True}, "/due_on", "date_format"),
    ({"due_on": "1899-12-31"}, "/due_on", "year_out_of_range"),
    ({"due_on": "9999-01-01"}, "/due_on", "year_out_of_range"),
    ({"due_on": "0000-01-01"}, "/due_on", "date_value"),
    ({"due_on": "10000-01-01"}, "/due_on", "date_format"),
    ({"due_at": "2030-05-01"}, "/due_at", "timestamp_format"),
    ({"due_at": "2030-05-01T12:00:00"}, "/due_at", "timestamp_format"),
    ({"due_at": "2030-05-01 12:00:00Z"}, "/due_at", "timestamp_format"),
    ({"due_at": "2030-05-01T12:00Z"}, "/due_at", "timestamp_format"),
    ({"due_at": "2030-05-01T12:00:00+02"}, "/due_at", "timestamp_format"),
    ({"due_at": "2030-05-01T12:00:00,5Z"}, "/due_at", "timestamp_format"),
    ({"due_at": "2030-05-01T25:00:00Z"}, "/due_at", "timestamp_value"),
    ({"due_at": "2030-05-01T24:00:00Z"}, "/due_at", "timestamp_value"),
    ({"due_at": "2030-05-01T12:00:00+24:00"}, "/due_at", "timestamp_value"),
    ({"due_at": "2030-02-30T12:00:00Z"}, "/due_at", "timestamp_value"),
    ({"due_at": 1_900_000_000}, "/due_at", "timestamp_type"),
    ({"due_at": "1900-01-01T00:00:00+00:01"}, "/due_at", "year_out_of_range"),
    ({"due_at": "9998-12-31T23:59:59-00:01"}, "/due_at", "year_out_of_range"),
    ({"due_at": "9999-01-01T00:00:00Z"}, "/due_at", "year_out_of_range"),
    ({"due_at": "9999-12-31T23:59:59-23:59"}, "/due_at", ""),
    ({"due_at": "0001-01-01T00:00:00+23:59"}, "/due_at", ""),
    ({"start_at": "1899-12-31T23:59:59Z"}, "/start_at", "year_out_of_range"),
    ({"start_at": "9999-01-01T00:00:00-14:00"}, "/start_at", "year_out_of_range"),
    ({"parent_id": 0}, "/parent_id", "greater_than_equal"),
    ({"parent_id": -1}, "/parent_id", "greater_than_equal"),
    ({"parent_id": TOO_LARGE}, "/parent_id", "less_than_equal"),
    ({"parent_id": 2**63}, "/parent_id", "less_than_equal"),
    ({"parent_id": 2**64}, "/parent_id", "less_than_equal"),
    ({"parent_id": 10**30}, "/parent_id", "less_than_equal"),
    ({"parent_id": 1e300}, "/parent_id", "less_than_equal"),
    ({"parent_id": 1.5}, "/parent_id", "int_type"),
    ({"parent_id": "1"}, "/parent_id", "int_type"),
    ({"parent_id": True}, "/parent_id", "int_type"),
    ({"parent_id": 2**53 - 1}, "/parent_id", "unknown_parent"),
    ({"tags": None}, "/tags", "list_type"),
    ({"tags": "home"}, "/tags", "list_type"),
    ({"tags": {"home": 1}}, "/tags", "list_type"),
    ({"tags": [["home"]]}, "/tags/0", "string_type"),
    ({"subtasks": []}, "/subtasks", "extra_forbidden"),
    ({"Title": "x"}, "/Title", "extra_forbidden"),
    ({"a/b~": 1}, "/a~1b~0", "extra_forbidden"),
]
"""Bodies that break a rule, the pointers to it, and its code."""

QUERIES = [
    ("id=0", "id", "greater_than_equal"),
    ("id=-1", "id", "int_parsing"),
    ("id=1&id=x", "id", "int_parsing"),
    ("id=", "id", "int_parsing"),
    ("id=1,2", "id", "int_parsing"),
    ("id=01", "id", "int_parsing"),
    ("id=1.0", "id", "int_parsing"),
    ("id=%D9%A1", "id", "int_parsing"),
    (f"id={TOO_LARGE}", "id", "less_than_equal"),
    (f"id={2**64}", "id", ""),
    (f"parent_id={10**40}", "parent_id", "int_parsing"),
    ("parent_id=1&parent_id=2", "parent_id", "repeated"),
    ("parent_id=null", "parent_id", "int_parsing"),
    ("status=open", "status", "enum"),
    ("status=0", "status", "enum"),
    ("status=", "status", "enum"),
    ("status=done,todo", "status", "enum"),
    ("priority=none&priority=NONE", "priority", "enum"),
    ("is_open=1", "is_open", "bool_text"),
    ("is_open=yes", "is_open", "bool_text"),
    ("is_open=", "is_open", "bool_text"),
    ("is_open=true&is_open=true", "is_open", "repeated"),
    ("has_due=yes", "has_due", "bool_text"),
    ("has_tags=0", "has_tags", "bool_text"),
    ("overdue=no", "overdue", "bool_text"),
    ("actionable=t", "actionable", "bool_text"),
    ("is_subtask=on", "is_subtask", "bool_text"),
    ("q=a%00b", "q", "text_control_character"),
    ("q=a%1Fb", "q", "text_control_character"),
    (f"q={'x' * 501}", "q", "string_too_long"),
    ("q=a&q=b", "q", "repeated"),
    ("tag=", "tag", "string_too_short"),
    ("tag=a,b", "tag", "text_character"),
    (f"tag_any={'x' * 61}", "tag_any", "string_too_long"),
    ("tag_none=%07", "tag_none", "text_control_character"),
    ("due_after=tomorrow", "due_after", "timestamp_format"),
    ("due_after=2030-02-30", "due_after", "date_value"),
    ("due_before=9999-01-01", "due_before", "year_out_of_range"),
    ("due_before=1899-12-31", "due_before", "year_out_of_range"),
    ("due_before=9999-01-01T00:00:00Z", "due_before", "year_out_of_range"),
    ("start_before=2030-01-01T00:00:00", "start_before", "timestamp_format"),
    ("start_after=2030-01-01T00:00:00+02:00", "start_after", "timestamp_format"),
    ("created_after=", "created_after", "timestamp_format"),
    ("updated_before=2030-01-01T00:00:61Z", "updated_before", "timestamp_value"),
    ("completed_after=0", "completed_after", "timestamp_format"),
    ("completed_after=2030-01-01&completed_after=2030-01-02", "completed_after", "repeated"),
    ("deleted=yes", "deleted", "literal_error"),
    ("deleted=", "deleted", "literal_error"),
    ("deleted=only&deleted=include", "deleted", "repeated"),
    ("include=subtasks", "include", "literal_error"),
    ("include=subtask_counts,tags", "include", "literal_error"),
    ("limit=0", "limit", "greater_than_equal"),
    ("limit=201", "limit", "less_than_equal"),
    ("cursor=x", "cursor", "cursor"),
    ("due_on=2030-01-01", "due_on", "extra_forbidden"),
    ("title=x", "title", "extra_forbidden"),
    ("Q=x", "Q", "extra_forbidden"),
    ("dry_run=true", "dry_run", "extra_forbidden"),
    ("missing_tags=reject", "missing_tags", "extra_forbidden"),
]
"""Queries of a list that break a rule, by which parameter, and which rule."""

WRITES = [
    ("POST", "/tasks?dry_run=1", {"title": "x"}, ("dry_run", "bool_text")),
    ("POST", "/tasks?dry_run=", {"title": "x"}, ("dry_run", "bool_text")),
    ("POST", "/tasks?dry_run=true&dry_run=true", {"title": "x"}, ("dry_run", "repeated")),
    ("POST", "/tasks?missing_tags=ignore", {"title": "x"}, ("missing_tags", "literal_error")),
    ("POST", "/tasks?title=x", {"title": "x"}, ("title", "extra_forbidden")),
    ("POST", "/tasks", {}, ("/title", "missing")),
    ("POST", "/tasks", [], ("", "model_attributes_type")),
    ("POST", "/tasks", "x", ("", "model_attributes_type")),
    ("PATCH", "/tasks/1", [], ("", "model_attributes_type")),
    ("PATCH", "/tasks/1?missing_tags=", {"title": "x"}, ("missing_tags", "literal_error")),
    ("PATCH", "/tasks/1?permanent=true", {"title": "x"}, ("permanent", "extra_forbidden")),
    ("PATCH", "/tasks/1", {"completed_at": None}, ("/completed_at", "extra_forbidden")),
    ("PATCH", "/tasks/0", {"title": "x"}, ("task_id", "greater_than_equal")),
    ("PATCH", f"/tasks/{TOO_LARGE}", {"title": "x"}, ("task_id", "less_than_equal")),
    ("PATCH", f"/tasks/{10**30}", {"title": "x"}, ("task_id", "int_parsing")),
    ("PATCH", "/tasks/x", {"title": "x"}, ("task_id", "int_parsing")),
    ("PATCH", "/tasks/1.0", {"title": "x"}, ("task_id", "int_parsing")),
    ("PATCH", "/tasks/+1", {"title": "x"}, ("task_id", "int_parsing")),
    ("PATCH", "/tasks/%201", {"title": "x"}, ("task_id", "int_parsing")),
    ("DELETE", "/tasks/-1", None, ("task_id", "int_parsing")),
    ("DELETE", "/tasks/1?permanent=1", None, ("permanent", "bool_text")),
    ("DELETE", "/tasks/1?permanent=true&permanent=true", None, ("permanent", "repeated")),
    ("DELETE", "/tasks/1", {"permanent": True}, ("", "extra_forbidden")),
    ("POST", "/tasks/x/restore", None, ("task_id", "int_parsing")),
    ("POST", "/tasks/1/restore", {"title": "x"}, ("", "extra_forbidden")),
    ("POST", "/tasks/1/restore?permanent=true", None, ("permanent", "extra_forbidden")),
    ("POST", f"/tasks/{2**64}/move", {"to": "last"}, ("task_id", "")),
]


def refused(found: list[tuple[str, str]], place: str, code: str) -> bool:
    return (place, code) in found or (not code and place in dict(found))


def test_a_field_that_cannot_be_is_refused_in_both_writes(
    client: TestClient, subtests: pytest.Subtests
) -> None:
    make(client, tags=["home"])
    before = everything(client)
    for fields, pointer, code in BODIES:
        with subtests.test(str(fields)[:80]):
            created = faults(client.post("/tasks", json={"title": "x", "tags": ["new"], **fields}))
            assert refused(created, pointer, code), created
            changed = faults(client.patch("/tasks/1", json={"tags": ["new"], **fields}))
            assert refused(changed, pointer, code), changed
    assert everything(client) == before


def test_a_query_that_cannot_be_is_refused_by_both_lists(
    client: TestClient, subtests: pytest.Subtests
) -> None:
    make(client)
    tried = set()
    for query, parameter, code in QUERIES:
        paths = ["/tasks", "/tasks/1/subtasks"]
        with subtests.test(query[:80]):
            # What the lists share is seen by one query for each fault of each parameter.
            for path in paths[:1] if (parameter, code) in tried else paths:
                found = faults(client.get(f"{path}?{query}"))
                assert refused(found, parameter, code), found
        tried.add((parameter, code))


def test_a_write_with_what_it_does_not_take_is_refused(
    client: TestClient, subtests: pytest.Subtests
) -> None:
    make(client)
    before = everything(client)
    for method, path, body, (place, code) in WRITES:
        with subtests.test(f"{method} {path} {body}"):
            found = faults(client.request(method, path, json=body))
            assert refused(found, place, code), found
    assert everything(client) == before


def test_every_broken_rule_is_reported_at_once(client: TestClient) -> None:
    body = {"title": "", "status": "x", "tags": ["", "ok", "a,b"], "id": 7}
    assert sorted(faults(client.post("/tasks", json=body))) == [
        ("/id", "extra_forbidden"),
        ("/status", "enum"),
        ("/tags/0", "string_too_short"),
        ("/tags/2", "text_character"),
        ("/title", "string_too_short"),
    ]


def test_errors_do_not_echo_what_was_sent(client: TestClient) -> None:
    make(client)
    for response in (
        client.post("/tasks", json={"title": "x", "status": "s3cret", "s3cret": "s3cret"}),
        client.post("/tasks", json={"title": "x", "due_on": "s3cret"}),
        client.get("/tasks?sort=s3cret&status=s3cret&tz=s3cret&due_after=s3cret&cursor=s3cret"),
        client.get("/tasks/s3cret"),
    ):
        places = [fault for fault in response.json()["errors"] if "s3cret" in str(fault.values())]
        assert [fault["code"] for fault in places] in ([], ["extra_forbidden"])
        assert "s3cret" not in response.json()["detail"]

"""Imports from other programs, and exports for them."""

import csv
import io
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from icalendar import Calendar
from starlette.testclient import TestClient

from .databases import Json, exported, faults, imported, send

FILES = Path(__file__).parent
FORMATS = ("csv", "ics", "taskwarrior", "todotxt")

TODOIST = """\
TYPE,CONTENT,DESCRIPTION,PRIORITY,INDENT,AUTHOR,RESPONSIBLE,DATE,DATE_LANG,TIMEZONE
task,Paint the shed @garden @diy,Two coats,1,1,Ada (1),,2026-03-01,en,Europe/Berlin
note,Ask Bob for the ladder,,,,Ada (1),,,,
task,Buy paint,,4,2,Ada (1),Bob (2),5 Mar 2026 18:30,en,Europe/Berlin
task,"Water, weekly",,3,1,Ada (1),,every friday,en,Europe/Berlin
,,,,,,,,,
section,Later,,,,,,,,
task,=1+1,,2,1,Ada (1),,,en,
"""

# As the programs write them, by their documentation: Apple's Reminders, Nextcloud's Tasks,
# Thunderbird and Evolution.
CALENDARS = {
    "apple": """\
BEGIN:VTODO
UID:A1
DTSTAMP:20260101T000000Z
CREATED:20260101T100000Z
LAST-MODIFIED:20260102T100000Z
SUMMARY:Call the plumber
PRIORITY:1
STATUS:NEEDS-ACTION
DUE;TZID=Europe/Berlin:20260301T093000
X-APPLE-SORT-ORDER:694224000
BEGIN:VALARM
ACTION:DISPLAY
TRIGGER;VALUE=DATE-TIME:20260301T083000Z
END:VALARM
END:VTODO
""",
    "nextcloud": """\
BEGIN:VTODO
UID:n-1
DTSTAMP:20260101T000000
SUMMARY:Parent\\, with a comma
CATEGORIES:garden,Big house
PERCENT-COMPLETE:50
STATUS:IN-PROCESS
PRIORITY:5
END:VTODO
BEGIN:VTODO
UID:n-2
SUMMARY:Child with a long line that is folded
  behind it
DESCRIPTION:One\\nTwo
RELATED-TO:n-1
COMPLETED:20260105T120000Z
STATUS:COMPLETED
PERCENT-COMPLETE:100
END:VTODO
""",
    "thunderbird": """\
BEGIN:VTODO
CREATED:20260101T100000Z
UID:t-1
SUMMARY:Every month
RRULE:FREQ=MONTHLY
DTSTART;VALUE=DATE:20260201
DUE;VALUE=DATE:20260203
CLASS:PRIVATE
X-MOZ-GENERATION:1
END:VTODO
BEGIN:VTODO
UID:t-1
RECURRENCE-ID;VALUE=DATE:20260301
SUMMARY:Every month\\, but once
END:VTODO
""",
    "evolution": """\
BEGIN:VTODO
UID:e-1
SUMMARY:Cancelled
STATUS:CANCELLED
PRIORITY:9
DTSTART:20260201T100000
DURATION:PT2H
COMMENT:Not needed any more
END:VTODO
""",
}


def calendar(*components: str) -> str:
    body = "".join(components)
    text = f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:test\n{body}END:VCALENDAR\n"
    return text.replace("\n", "\r\n")


def tasks(client: TestClient) -> dict[str, Json]:
    items = client.get("/tasks?deleted=include&limit=200").json()["items"]
    return {task["title"]: task for task in items}


def codes(result: Json) -> set[str]:
    return {entry["code"] for entry in result["skipped"]}


def fill(client: TestClient) -> None:
    for task in (
        {"title": "plain"},
        {"title": "Paint", "priority": "high", "tags": ["garden", "home"], "due_on": "2026-03-01"},
        {"title": "Buy", "parent_id": 2, "due_at": "2026-03-01T08:00:00Z", "description": "a\nb"},
        {"title": "Started", "status": "in_progress", "priority": "medium"},
        {"title": "Over", "status": "done", "priority": "low"},
        {"title": "Dropped", "status": "cancelled", "start_at": "2026-02-01T00:00:00Z"},
    ):
        assert client.post("/tasks", json=task).status_code == 201


KEPT = ("title", "status", "priority", "due_on", "due_at")


@pytest.mark.parametrize("format", FORMATS)
def test_what_a_format_can_express_is_imported_again(client: TestClient, format: str) -> None:  # noqa: A002 - the parameter's name
    fill(client)
    before = client.get("/tasks?sort=id").json()["items"]
    result = imported(client, exported(client, f"?format={format}"), f"?format={format}")
    assert result["created"]["tasks"] == len(before)
    after = client.get("/tasks?sort=id").json()["items"][len(before) :]
    for old, new in zip(before, after, strict=True):
        assert [new[name] for name in KEPT] == [old[name] for name in KEPT]
        assert [tag.lower() for tag in new["tags"]] == old["tags"]
    if format != "taskwarrior":
        assert after[2]["parent_id"] == after[1]["id"]
    if format in {"csv", "ics"}:
        assert after[2]["description"] == "a\nb"


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_is_exported_from_nothing(client: TestClient, format: str) -> None:  # noqa: A002 - the parameter's name
    response = client.get(f"/transfer/export?format={format}")
    assert response.headers["Content-Disposition"].startswith("attachment; filename=")
    result = send(client, response.content, f"?format={format}")
    assert result.json() == {"created": {}, "skipped": []}


@pytest.mark.parametrize("format", ["ics", "taskwarrior", "todotxt"])
def test_what_cannot_say_so_has_no_task_of_the_trash(client: TestClient, format: str) -> None:  # noqa: A002 - the parameter's name
    for title in ("live", "in the trash"):
        client.post("/tasks", json={"title": title})
    client.delete("/tasks/2")
    for deleted, number in (("include", 1), ("only", 0)):
        file = exported(client, f"?format={format}&deleted={deleted}")
        created = imported(client, file, f"?format={format}&dry_run=true")["created"]
        assert created.get("tasks", 0) == number


def test_todoist_is_read_with_its_levels_notes_and_what_has_no_place(client: TestClient) -> None:
    result = imported(client, TODOIST, "?format=csv", "text/csv")
    assert result["created"]["tasks"] == 4
    assert {"due", "unknown_type", "unknown_column"} <= codes(result)
    found = tasks(client)
    shed, paint = found["Paint the shed"], found["Buy paint"]
    assert (shed["priority"], shed["tags"], shed["due_on"]) == (
        "urgent",
        ["diy", "garden"],
        "2026-03-01",
    )
    assert (paint["parent_id"], paint["due_at"]) == (shed["id"], "2026-03-05T17:30:00Z")
    assert found["Water, weekly"]["due_on"] is None
    assert found["=1+1"]["parent_id"] is None
    (due,) = (it for it in result["skipped"] if it["code"] == "due")
    assert due["line"] == 5


def test_taskwarrior_is_read_as_it_is_exported(client: TestClient) -> None:
    file = (FILES / "taskwarrior.json").read_bytes()
    result = imported(client, file, "?format=taskwarrior", "application/json")
    assert result["created"]["tasks"] == 7
    assert {"recurring", "unknown_member"} <= codes(result)
    found = tasks(client)
    shed = found["Paint the shed"]
    assert (shed["status"], shed["priority"], shed["tags"]) == (
        "in_progress",
        "high",
        ["diy", "garden"],
    )
    assert shed["due_at"] == "2026-12-24T18:00:00Z"
    assert found["Buy paint"]["due_on"] == "2026-12-31"
    assert found["Buy paint"]["start_at"] == "2026-12-01T00:00:00Z"
    assert found["Done one"]["status"] == "done"


def test_calendars_of_four_programs_are_read(client: TestClient) -> None:
    result = imported(client, calendar(*CALENDARS.values()), "?format=ics", "text/calendar")
    assert result["created"]["tasks"] == 5
    assert {"component", "unknown_property", "occurrence", "zone"} <= codes(result)
    found = tasks(client)
    plumber = found["Call the plumber"]
    assert (plumber["due_at"], plumber["priority"]) == ("2026-03-01T08:30:00Z", "urgent")
    assert plumber["created_at"] == "2026-01-01T10:00:00Z"
    child = found["Child with a long line that is folded behind it"]
    assert child["parent_id"] == found["Parent, with a comma"]["id"]
    assert (child["status"], child["completed_at"]) == ("done", "2026-01-05T12:00:00Z")
    assert child["description"] == "One\nTwo"
    assert found["Every month"]["due_on"] == "2026-02-03"
    assert found["Cancelled"]["due_at"] == "2026-02-01T12:00:00Z"


def test_a_line_of_a_calendar_may_be_folded_inside_of_a_character(client: TestClient) -> None:
    title = "Ünï \N{BICYCLE}"
    folded = b"\r\n ".join(bytes([byte]) for byte in title.encode())
    file = calendar("BEGIN:VTODO\nUID:1\nSUMMARY:*\nEND:VTODO\n").encode()
    imported(client, file.replace(b"*", folded), "?format=ics")
    assert [*tasks(client)] == [title]


def zone(*observances: str, name: str = "TZID:Mine") -> str:
    lines = [
        f"BEGIN:{kind}\nDTSTART:{onset}\nTZOFFSETFROM:{before}\nTZOFFSETTO:{offset}\n"
        f"{''.join(f'{line}\n' for line in more)}END:{kind}\n"
        for kind, onset, before, offset, *more in map(str.split, observances)
    ]
    return f"BEGIN:VTIMEZONE\n{name}\n{''.join(lines)}X-MORE:1\nEND:VTIMEZONE\n"


def due_in(name: str, due: str) -> str:
    return f"BEGIN:VTODO\nUID:{name}\nSUMMARY:a\nDUE;TZID={name}:{due}\nEND:VTODO\n"


INDIA = zone("STANDARD 19700101T000000 +0530 +0530")
OUTLOOK = zone(
    "STANDARD 16010101T030000 +0200 +0100 RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10",
    "DAYLIGHT 16010101T020000 +0100 +0200 RRULE:FREQ=YEARLY;INTERVAL=1;BYMONTH=3;BYDAY=-1SU",
)
AMERICA = zone(
    "DAYLIGHT 19870405T020000 -0500 -0400 "
    "RRULE:FREQ=YEARLY;BYMONTH=4;BYDAY=1SU;UNTIL=20060402T070000Z",
    "DAYLIGHT 20070311T020000 -0500 -0400 RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=2SU",
    "STANDARD 19671029T020000 -0400 -0500 "
    "RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU;UNTIL=20061029T060000Z",
    "STANDARD 20071104T020000 -0400 -0500 RRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=1SU",
)
PLACES = zone(
    "STANDARD 20200101T000000 +0100 +0200 RDATE:20220101T000000,20240101T000000",
    "STANDARD 20210101T000000 +0200 +0100 RDATE:20230101T000000",
    "STANDARD 20250615T000000 +0200 +0300 RRULE:FREQ=YEARLY",
    "STANDARD 20251015T000000 +0300 +0200 RRULE:FREQ=YEARLY;WKST=MO",
)


@pytest.mark.parametrize(
    ("definition", "due", "instant"),
    [
        (INDIA, "20261201T100000", "2026-12-01T04:30:00Z"),
        (INDIA, "19260101T053000", "1926-01-01T00:00:00Z"),
        (OUTLOOK, "20260328T100000", "2026-03-28T09:00:00Z"),
        (OUTLOOK, "20260329T015959", "2026-03-29T00:59:59Z"),
        # Left out by the clocks, and there twice: the offset before, and the first one.
        (OUTLOOK, "20260329T023000", "2026-03-29T01:30:00Z"),
        (OUTLOOK, "20260329T030000", "2026-03-29T01:00:00Z"),
        (OUTLOOK, "20261025T023000", "2026-10-25T00:30:00Z"),
        (OUTLOOK, "20261025T030000", "2026-10-25T02:00:00Z"),
        (OUTLOOK, "20270101T000000", "2026-12-31T23:00:00Z"),
        (AMERICA, "19860701T000000", "1986-07-01T05:00:00Z"),
        (AMERICA, "20060315T000000", "2006-03-15T05:00:00Z"),
        (AMERICA, "20061028T000000", "2006-10-28T04:00:00Z"),
        (AMERICA, "20070315T000000", "2007-03-15T04:00:00Z"),
        (AMERICA, "20261101T030000", "2026-11-01T08:00:00Z"),
        (PLACES, "20190101T000000", "2018-12-31T23:00:00Z"),
        (PLACES, "20220101T010000", "2021-12-31T23:00:00Z"),
        (PLACES, "20230701T000000", "2023-06-30T23:00:00Z"),
        (PLACES, "20260701T000000", "2026-06-30T21:00:00Z"),
        (PLACES, "20261015T000000", "2026-10-14T22:00:00Z"),
    ],
)
def test_a_calendar_defines_zones_that_iana_has_not(
    client: TestClient, definition: str, due: str, instant: str
) -> None:
    file = calendar(definition, due_in("Mine", due), due_in("UTC", due))
    result = imported(client, file, "?format=ics")
    assert result == {"created": {"tasks": 2}, "skipped": []}
    own, in_utc = client.get("/tasks?sort=id").json()["items"]
    assert own["due_at"] == instant
    assert in_utc["due_at"] == f"{datetime.fromisoformat(due):%Y-%m-%dT%H:%M:%SZ}"


@pytest.mark.parametrize("name", ["Mine", "Europe/Berlin"])
@pytest.mark.parametrize(
    ("start", "duration", "due"),
    [
        ("20300331T010000", "PT1H", "2030-03-31T01:00:00Z"),
        ("20300331T010000", "PT3H", "2030-03-31T03:00:00Z"),
        ("20300330T120000", "P1D", "2030-03-31T10:00:00Z"),
        ("20300330T120000", "P1DT1H", "2030-03-31T11:00:00Z"),
        ("20300330T120000", "PT24H", "2030-03-31T11:00:00Z"),
        ("20301026T120000", "P1W", "2030-11-02T11:00:00Z"),
        ("20301026T120000", "PT168H", "2030-11-02T10:00:00Z"),
        ("20301027T000000", "PT4H", "2030-10-27T02:00:00Z"),
    ],
)
def test_days_of_a_duration_are_those_of_the_calendar_and_hours_are_exact(
    client: TestClient, name: str, start: str, duration: str, due: str
) -> None:
    lines = f"SUMMARY:a\nDTSTART;TZID={name}:{start}\nDURATION:{duration}\n"
    file = calendar(OUTLOOK, f"BEGIN:VTODO\nUID:1\n{lines}END:VTODO\n")
    assert imported(client, file, "?format=ics")["skipped"] == []
    assert tasks(client)["a"]["due_at"] == due


UNREAD = {
    "nothing": zone(),
    "an offset of days": zone("STANDARD 19700101T000000 +0530 +9900"),
    "no offset": zone("STANDARD 19700101T000000 +0530 x"),
    "no onset": zone("STANDARD soon +0530 +0530"),
    "a rule that goes on": zone("STANDARD 19700101T000000 +0000 +0100 RRULE:FREQ=SECONDLY"),
    "a rule with a count": zone("STANDARD 19700101T000000 +0000 +0100 RRULE:FREQ=YEARLY;COUNT=2"),
    "no month": zone("STANDARD 19700101T000000 +0000 +0100 RRULE:FREQ=YEARLY;BYDAY=1SU"),
    "many": zone(*["STANDARD 19700101T000000 +0000 +0100"] * 1000),
    "many times": zone(f"STANDARD 19700101T000000 +0 +0100 RDATE:{'19700101,' * 50_000}"),
    "another name": zone("STANDARD 19700101T000000 +0530 +0530", name="TZID:Yours"),
    "no name": zone("STANDARD 19700101T000000 +0530 +0530", name="TZURL:Mine"),
    "inside": "BEGIN:VTIMEZONE\nTZID:Mine\nBEGIN:STANDARD\nBEGIN:DAYLIGHT\nEND:DAYLIGHT\n"
    "END:STANDARD\nEND:VTIMEZONE\n",
    "another calendar": f"{INDIA}END:VCALENDAR\nBEGIN:VCALENDAR\n",
}


@pytest.mark.parametrize("name", UNREAD)
def test_a_zone_whose_definition_is_not_read_is_taken_for_utc(
    client: TestClient, name: str
) -> None:
    file = calendar(UNREAD[name], due_in("Mine", "20260101T100000"))
    assert codes(imported(client, file, "?format=ics")) == {"zone"}
    assert tasks(client)["a"]["due_at"] == "2026-01-01T10:00:00Z"


def test_a_zone_of_iana_is_not_what_a_calendar_defines(client: TestClient) -> None:
    definition = zone("STANDARD 19700101T000000 +0900 +0900", name="TZID:Europe/Berlin")
    imported(
        client, calendar(definition, due_in("Europe/Berlin", "20260101T100000")), "?format=ics"
    )
    assert tasks(client)["a"]["due_at"] == "2026-01-01T09:00:00Z"


@pytest.mark.parametrize(
    ("time", "due"),
    [
        (";VALUE=DATE;TZID=Europe/Berlin:20300710", ("2030-07-10", None)),
        (";TZID=Europe/Berlin:20300710", ("2030-07-10", None)),
        (";TZID=Europe/Berlin:20300710T090000", (None, "2030-07-10T07:00:00Z")),
        (";TZID=Europe/Berlin:20300710T090000Z", (None, "2030-07-10T09:00:00Z")),
        (";TZID=Mine:20300710T090000Z", (None, "2030-07-10T09:00:00Z")),
        # A folder of IANA's is no zone.
        (";TZID=US:20300710T090000", (None, "2030-07-10T03:30:00Z")),
    ],
)
def test_a_day_has_no_zone_and_an_instant_in_utc_no_other_one(
    client: TestClient, time: str, due: tuple[str | None, str | None]
) -> None:
    todo = f"BEGIN:VTODO\nUID:1\nSUMMARY:a\nDTSTART{time}\nDUE{time}\nEND:VTODO\n"
    file = calendar(INDIA.replace("TZID:Mine", "TZID:US"), INDIA, todo)
    assert imported(client, file, "?format=ics")["skipped"] == []
    task = tasks(client)["a"]
    assert (task["due_on"], task["due_at"]) == due
    assert task["start_at"] == (due[1] or "2030-07-10T00:00:00Z")


def test_todotxt_is_read_by_its_rules(client: TestClient) -> None:
    text = """\
(A) 2026-01-02 Call the plumber @phone due:2026-03-01
x 2026-01-05 2026-01-01 Pay http://example.org/a:b at 10:30 pri:C

(F) Someday rec:1w
"""
    result = imported(client, text, "?format=todotxt", "text/plain")
    assert codes(result) == {"priority"}
    found = tasks(client)
    call = found["Call the plumber"]
    assert (call["priority"], call["tags"], call["due_on"]) == ("urgent", ["phone"], "2026-03-01")
    assert call["created_at"] == "2026-01-02T00:00:00Z"
    paid = found["Pay http://example.org/a:b at 10:30"]
    assert (paid["status"], paid["completed_at"]) == ("done", "2026-01-05T00:00:00Z")
    assert found["Someday rec:1w"]["priority"] == "low"


@pytest.mark.parametrize(
    ("format", "file"),
    [
        ("todotxt", "+shed @paint due:2026-03-01"),
        ("csv", "TYPE,CONTENT\ntask,@paint @shed\n"),
    ],
)
def test_a_task_of_nothing_but_tags_is_called_by_them(
    client: TestClient,
    format: str,  # noqa: A002 - the parameter's name
    file: str,
) -> None:
    imported(client, file, f"?format={format}")
    (task,) = client.get("/tasks").json()["items"]
    assert task["title"] in {"+shed @paint due:2026-03-01", "@paint @shed"}
    assert "paint" in task["tags"]


def test_only_a_completed_task_of_todotxt_has_two_dates_in_front(client: TestClient) -> None:
    client.post("/tasks", json={"title": "2026-01-01 is over"})
    client.post("/tasks", json={"title": "2026-01-02 is over", "status": "done"})
    file = exported(client, "?format=todotxt")
    imported(client, file, "?format=todotxt")
    titles = [task["title"] for task in client.get("/tasks?sort=id").json()["items"]]
    assert titles == ["2026-01-01 is over", "2026-01-02 is over"] * 2


@pytest.mark.parametrize(
    "title",
    [
        "see id:1 ticket",
        "see id:1",
        "pay due:2020-02-31",
        "pay due:2020-01-01 t:2019-01-01",
        "x (A) pri:B status:cancelled p:1 +shed @home",
        "two  spaces  id:1 in it",
        "two  id:1",
        "x",
    ],
)
@pytest.mark.parametrize("more", [{}, {"due_on": "2026-03-01", "tags": ["a"]}, {"status": "done"}])
def test_words_of_a_title_are_no_keys_of_the_own_todotxt(
    client: TestClient, title: str, more: Json
) -> None:
    client.post("/tasks", json={"title": "base"})
    client.post("/tasks", json={"title": title, **more})
    result = imported(client, exported(client, "?format=todotxt"), "?format=todotxt")
    assert result == {"created": {"tasks": 2}, "skipped": []}
    (_, old, _, new) = client.get("/tasks?sort=id").json()["items"]
    for name in (*KEPT, "tags", "parent_id", "start_at"):
        assert new[name] == old[name]


@pytest.mark.parametrize(
    ("line", "title", "due"),
    [
        ("Pay due:2026-01-01 the rent", "Pay the rent", "2026-01-01"),
        ("Pay due:2026-01-01 or due:2026-02-02", "Pay due:2026-01-01 or", "2026-02-02"),
        ("Pay due:2026-01-01  the rent id:5", "Pay the rent", "2026-01-01"),
        ("Pay due:2026-01-01 id:5", "Pay", "2026-01-01"),
        ("Pay  due:2026-01-01", "Pay", "2026-01-01"),
        ("Pay due:2026-01-01  id:5 due:2026-02-02", "Pay due:2026-01-01", "2026-02-02"),
        ("Pay  id:5 due:soon", "Pay due:soon", None),
    ],
)
def test_the_last_of_several_keys_counts(
    client: TestClient, line: str, title: str, due: str | None
) -> None:
    imported(client, line, "?format=todotxt")
    (task,) = client.get("/tasks").json()["items"]
    assert (task["title"], task["due_on"]) == (title, due)


@pytest.mark.parametrize(
    ("line", "stamp"),
    [
        ("x 2026-01-03 a", "completed_at"),
        ("x 2026-01-03 a status:in_progress", "completed_at"),
        ("x 2026-01-03 a status:cancelled", "cancelled_at"),
    ],
)
def test_a_date_behind_the_x_of_todotxt_is_that_of_the_end(
    client: TestClient, line: str, stamp: str
) -> None:
    client.post("/tasks", json={"title": "now"})
    imported(client, line, "?format=todotxt")
    ended, now = client.get("/tasks?sort=title").json()["items"]
    assert ended[stamp] == "2026-01-03T00:00:00Z"
    assert ended["created_at"] >= now["created_at"]


@pytest.mark.parametrize(
    ("format", "file"),
    [
        ("todotxt", "a due:2026-01-01 t:2026-02-01"),
        ("todotxt", "a due:2026-01-01T10:00:00Z t:2026-02-01"),
        (
            "taskwarrior",
            '[{"description": "a", "due": "20260101T000000Z", "wait": "20260201T000000Z"}]',
        ),
        (
            "ics",
            calendar(
                "BEGIN:VTODO\nUID:1\nSUMMARY:a\nDTSTART;VALUE=DATE:20260201\n"
                "DUE;VALUE=DATE:20260101\nCOMMENT:\nEND:VTODO\n"
            ),
        ),
    ],
)
def test_a_start_behind_the_due_is_left_out(client: TestClient, format: str, file: str) -> None:  # noqa: A002 - the parameter's name
    result = imported(client, file, f"?format={format}")
    assert [(it["code"]) for it in result["skipped"]] == ["start_after_due"]
    assert result["created"] == {"tasks": 1}
    assert tasks(client)["a"]["start_at"] is None


def test_taskwarrior_has_more_priorities_and_starts_than_a_task(client: TestClient) -> None:
    task = {
        "description": "a",
        "priority": "X",
        "wait": "20260201T000000Z",
        "scheduled": "20260202T000000Z",
    }
    result = imported(client, json.dumps([task]), "?format=taskwarrior")
    assert codes(result) == {"priority", "scheduled"}
    assert tasks(client)["a"]["start_at"] == "2026-02-01T00:00:00Z"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "'=1", "'a", "''", '=a,"b"\n=c'])
def test_a_spreadsheet_runs_no_cell_and_it_comes_back_as_it_was(
    client: TestClient, text: str
) -> None:
    title = text.partition("\n")[0]
    client.post("/tasks", json={"title": title, "description": text, "tags": ["=x"]})
    file = exported(client, "?format=csv")
    for row in csv.reader(io.StringIO(file.decode(), newline="")):
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row)
    imported(client, file, "?format=csv")
    old, new = client.get("/tasks?sort=id").json()["items"]
    assert [new[name] for name in ("title", "description", "tags")] == [title, text, ["=x"]]
    assert old["title"] == title


HOSTILE: dict[str, tuple[str, bytes | str, tuple[int, str] | int]] = {
    "csv cut off": ("csv", 'title,tags\n"a', (2, "csv")),
    "csv in latin-1": ("csv", "title\nb\n\u00fc".encode("latin-1"), (3, "encoding")),
    "csv in utf-16": ("csv", "title\na".encode("utf-16"), (1, "encoding")),
    "csv of something else": ("csv", "a,b\n1,2\n", (1, "columns")),
    "csv with an endless cell": ("csv", 'title\n"' + "x" * 200_000 + '"', (2, "csv")),
    "csv with an endless line": ("csv", "title\n" + "x" * 600_000, (2, "too_long")),
    "csv with too many cells": ("csv", "title\na,b\n", (2, "too_many_cells")),
    "csv with a broken record": ("csv", "title,status\na,todo\nb,maybe\n", (3, "enum")),
    "csv with a circle": ("csv", "id,title,parent_id\n1,a,2\n2,b,1\n", (2, "circle")),
    "todotxt with a control character": ("todotxt", "a\nb\x00\n", (2, "text_control_character")),
    "todotxt with no day": ("todotxt", "a due:2026-02-30", (1, "date_value")),
    "todotxt with an endless line": ("todotxt", "a" * 2_000_000, (1, "too_long")),
    "ics cut off": ("ics", calendar(CALENDARS["apple"])[:-27], (17, "cut_off")),
    "ics of something else": ("ics", "hello\r\n", (1, "content_line")),
    "ics nested": ("ics", "BEGIN:VCALENDAR\n" * 100_000, (9, "too_deep")),
    "ics with todos in todos": ("ics", calendar("BEGIN:VTODO\n" * 100_000), (11, "too_deep")),
    "ics in latin-1": (
        "ics",
        calendar("BEGIN:VTODO\nSUMMARY:\u00fc\n").encode("latin-1"),
        (5, "encoding"),
    ),
    "ics with no time": ("ics", calendar("BEGIN:VTODO\nUID:1\nDUE:soon\nEND:VTODO\n"), (4, "time")),
    "ics with an endless duration": (
        "ics",
        calendar("BEGIN:VTODO\nDTSTART;VALUE=DATE:20260101\nDURATION:P9999999D\nEND:VTODO\n"),
        (4, "time"),
    ),
    "ics with an endless line": (
        "ics",
        calendar("BEGIN:VTODO\nSUMMARY:a\n" + f" {'x' * 70}\n" * 15_000 + "END:VTODO\n"),
        (5, "too_long"),
    ),
    "ics with an endless zone": (
        "ics",
        calendar("BEGIN:VTIMEZONE\n" + "BEGIN:STANDARD\nEND:STANDARD\n" * 150_000),
        (262145, "too_long"),
    ),
    "ics that is its own parent": (
        "ics",
        calendar("BEGIN:VTODO\nUID:1\nSUMMARY:a\nRELATED-TO:1\nEND:VTODO\n"),
        (4, "not_its_own_parent"),
    ),
    "taskwarrior cut off": ("taskwarrior", '[{"description": "a"},\n{"desc', 400),
    "taskwarrior nested": ("taskwarrior", "[" * 100_000, 400),
    "taskwarrior with no status": (
        "taskwarrior",
        '[{"description": "a", "status": 1}]',
        (1, "status"),
    ),
    "taskwarrior with no time": (
        "taskwarrior",
        '[{"description": "a", "due": 5}]',
        (1, "timestamp"),
    ),
    "taskwarrior with no tags": (
        "taskwarrior",
        '[{"description": "a", "tags": 5}]',
        (1, "list_type"),
    ),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name == "ics with an endless zone" else ())
        for name in HOSTILE
    ],
)
def test_a_hostile_file_is_refused_with_its_line_and_stores_nothing(
    client: TestClient, name: str
) -> None:
    format_name, file, expected = HOSTILE[name]
    content = file if isinstance(file, bytes) else file.encode()
    response = send(client, content, f"?format={format_name}")
    if isinstance(expected, int):
        assert response.status_code == expected, response.text
    else:
        line, _, code = faults(response)[0]
        assert (line, code) == expected
    assert client.get("/tasks?deleted=include&include_total=true").json()["total"] == 0


def taskwarrior(**attributes: object) -> str:
    return json.dumps([{"description": "a", "status": "pending"}, {"uuid": "u", **attributes}])


LEFT_OUT: dict[str, tuple[str, str, str, str]] = {
    "a due beyond the years": (
        "ics",
        calendar("BEGIN:VTODO\nSUMMARY:a\nDUE;TZID=America/New_York:99991231T235959\nEND:VTODO\n"),
        "year_out_of_range",
        "DUE",
    ),
    "a date before the years": (
        "csv",
        "TYPE,CONTENT,DATE,TIMEZONE\ntask,a,0001-01-01 00:00,Asia/Tokyo\n",
        "year_out_of_range",
        "DATE",
    ),
    "a task that waits for someday": (
        "taskwarrior",
        taskwarrior(description="b", wait="99991230T000000Z"),
        "year_out_of_range",
        "/1/wait",
    ),
    "a title that is long": (
        "taskwarrior",
        taskwarrior(description="b" * 501),
        "string_too_long",
        "/1/description",
    ),
    "a tag that is long": (
        "taskwarrior",
        taskwarrior(description="b", tags=["x", "y" * 61]),
        "string_too_long",
        "/1/tags/1",
    ),
    "more tags than a task has": (
        "todotxt",
        "a " + " ".join(f"@{'t' * 61}{number}" for number in range(51)),
        "too_long",
        "tags",
    ),
    "an end of what is open": (
        "taskwarrior",
        taskwarrior(description="b", end="20260101T000000Z"),
        "does_not_fit",
        "/1/end",
    ),
    "an end of what is not done": (
        "ics",
        calendar(
            "BEGIN:VTODO\nSUMMARY:a\nSTATUS:NEEDS-ACTION\nCOMPLETED:20260101T000000Z\nEND:VTODO\n"
        ),
        "does_not_fit",
        "COMPLETED",
    ),
    "a part that is done": (
        "ics",
        calendar("BEGIN:VTODO\nSUMMARY:a\nPERCENT-COMPLETE:50\nEND:VTODO\n"),
        "unknown_property",
        "how much",
    ),
    "a status of what is done": ("todotxt", "x a status:in_progress", "does_not_fit", "status"),
    "a second due": ("todotxt", "a due:2026-01-01 due:2026-01-02", "repeated", "due:"),
    "a second priority": ("todotxt", "(A) a pri:B", "repeated", "pri:"),
    "a second summary": (
        "ics",
        calendar("BEGIN:VTODO\nSUMMARY:a\nSUMMARY:b\nEND:VTODO\n"),
        "repeated",
        "SUMMARY",
    ),
    "a priority that is none": ("csv", "TYPE,CONTENT,PRIORITY\ntask,a,9\n", "priority", "1 to 4"),
    "an indent that is none": (
        "csv",
        f"TYPE,CONTENT,INDENT\ntask,a,{'9' * 5000}\n",
        "indent",
        "INDENT",
    ),
    "a zone that is none": (
        "csv",
        "TYPE,CONTENT,DATE,TIMEZONE\ntask,a,2026-01-01 10:00,Mars\n",
        "zone",
        "UTC",
    ),
    "the name of a calendar": (
        "ics",
        calendar("X-WR-CALNAME:Garden\nCALSCALE:GREGORIAN\nBEGIN:VTODO\nSUMMARY:a\nEND:VTODO\n"),
        "unknown_property",
        "X-WR-CALNAME",
    ),
    "the method of a calendar": (
        "ics",
        calendar("METHOD:CANCEL\nBEGIN:VTODO\nSUMMARY:a\nEND:VTODO\n"),
        "unknown_property",
        "METHOD",
    ),
    "a folder of zones": (
        "ics",
        calendar("BEGIN:VTODO\nSUMMARY:a\nDUE;TZID=Europe:20260101T000000\nEND:VTODO\n"),
        "zone",
        "UTC",
    ),
    "several zones": (
        "ics",
        calendar("BEGIN:VTODO\nSUMMARY:a\nDUE;TZID=UTC,UTC:20260101T000000\nEND:VTODO\n"),
        "zone",
        "UTC",
    ),
    "an endless name of a zone": (
        "ics",
        calendar(f"BEGIN:VTODO\nSUMMARY:a\nDUE;TZID={'A/' * 9999}:20260101T000000\nEND:VTODO\n"),
        "zone",
        "UTC",
    ),
    "another endless name of a zone": (
        "csv",
        f"TYPE,CONTENT,DATE,TIMEZONE\ntask,a,2026-01-01 10:00,{'A/' * 9999}\n",
        "zone",
        "UTC",
    ),
    "who has written a task": (
        "csv",
        "TYPE,CONTENT,AUTHOR\ntask,a,Ada (1)\n",
        "unknown_column",
        "AUTHOR",
    ),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_has_no_counterpart_is_left_out_and_reported(client: TestClient, name: str) -> None:
    format_name, file, code, named = LEFT_OUT[name]
    result = imported(client, file, f"?format={format_name}")
    assert codes(result) == {code} | ({"string_too_long"} if code == "too_long" else set())
    entry = result["skipped"][0]
    assert named in entry.get("pointer", "") + entry["detail"]
    assert tasks(client)


@pytest.mark.parametrize(
    ("attribute", "value", "pointer"),
    [
        ("description", "\x07", "/1/description"),
        ("due", "soon", "/1/due"),
        ("project", "\x07", "/1/project"),
        ("tags", ["\x07"], "/1/tags/0"),
        ("annotations", [{"entry": "soon"}], "/1/annotations/0/entry"),
        ("uuid", 1.5, "/1/uuid"),
    ],
)
def test_an_error_is_where_the_other_program_has_it(
    client: TestClient, attribute: str, value: object, pointer: str
) -> None:
    file = taskwarrior(**{"description": "b", attribute: value})
    assert faults(send(client, file, "?format=taskwarrior"))[0][1] == pointer


@pytest.mark.parametrize(
    ("format", "file", "named"),
    [
        ("ics", calendar("BEGIN:VTODO\nSUMMARY:a\x07\nEND:VTODO\n"), "SUMMARY: "),
        ("csv", "TYPE,CONTENT\ntask,\x07\n", "CONTENT: "),
        ("csv", "title,project\na,\x07\n", "project: "),
        ("todotxt", "a due:2026-02-30\n", "due: "),
    ],
)
def test_an_error_has_the_name_of_the_file(
    client: TestClient,
    format: str,  # noqa: A002 - the parameter's name
    file: str,
    named: str,
) -> None:
    (error,) = send(client, file, f"?format={format}").json()["errors"]
    assert error["detail"].startswith(named)


@pytest.mark.parametrize(
    ("described", "title"),
    [("", "Untitled"), ("DESCRIPTION: Paint\\nTwo coats\n", "Paint"), ("SUMMARY: \n", "Untitled")],
)
def test_a_task_without_a_summary_is_called_by_what_there_is(
    client: TestClient, described: str, title: str
) -> None:
    todo = f"BEGIN:VTODO\nUID:1\n{described}END:VTODO\n"
    result = imported(client, calendar(todo), "?format=ics")
    assert codes(result) == {"no_title"}
    assert [*tasks(client)] == [title]


@pytest.mark.parametrize(
    ("media_type", "status"),
    [
        ("text/plain; charset=latin-1", 415),
        ('text/plain; charset="UTF-16"', 415),
        ("text/plain; format=flowed; CHARSET = iso-8859-1", 415),
        ("text/plain; charset=UTF-8", 200),
        ('text/plain; charset="utf-8"', 200),
        ("text/plain; charset=us-ascii", 200),
        ("text/plain", 200),
    ],
)
def test_a_file_in_another_encoding_is_refused(
    client: TestClient, media_type: str, status: int
) -> None:
    response = send(client, "Ünïcode", "?format=todotxt", media_type)
    assert response.status_code == status
    if status == 415:
        assert "UTF-8" in response.json()["detail"]


def test_rules_that_never_end_are_not_followed(client: TestClient) -> None:
    rule = "RRULE:FREQ=SECONDLY;COUNT=1000000000;BYSECOND=" + ",".join(["0"] * 10_000)
    todo = f"BEGIN:VTODO\nUID:1\nSUMMARY:a\nDUE:20260101T000000Z\n{rule}\nEND:VTODO\n"
    assert imported(client, calendar(todo), "?format=ics")["created"] == {"tasks": 1}


def test_the_calendar_has_the_open_tasks_with_a_due(client: TestClient) -> None:
    fill(client)
    response = client.get("/transfer/calendar.ics")
    assert response.headers["Content-Type"].startswith("text/calendar")
    parsed = Calendar.from_ical(response.content)
    assert isinstance(parsed, Calendar)
    assert {str(todo["SUMMARY"]) for todo in parsed.walk("VTODO")} == {"Paint", "Buy"}
    events = Calendar.from_ical(client.get("/transfer/calendar.ics?show=events").content)
    assert isinstance(events, Calendar)
    assert len(events.walk("VEVENT")) == 2


def test_a_calendar_that_stays_the_same_is_not_sent_again(client: TestClient) -> None:
    fill(client)

    def ask(etag: str) -> Any:
        return client.get("/transfer/calendar.ics", headers={"If-None-Match": etag})

    first = client.get("/transfer/calendar.ics").headers["ETag"]
    client.post("/tasks", json={"title": "without a due"})
    assert (ask(first).status_code, ask(first).content) == (304, b"")
    assert client.get("/transfer/calendar.ics?show=events").headers["ETag"] != first
    client.patch("/tasks/2", json={"title": "Painted"})
    changed = ask(first)
    assert changed.status_code == 200
    client.patch("/tags/1", json={"name": "Yard"})
    assert ask(changed.headers["ETag"]).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("format", ["csv", "todotxt"])
def test_a_million_short_lines_are_refused_quickly(client: TestClient, format: str) -> None:  # noqa: A002 - the parameter's name
    response = send(client, "title\n" * 1_000_000, f"?format={format}")
    assert faults(response) == [(250_002 if format == "csv" else 250_001, "", "too_many")]

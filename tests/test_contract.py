"""What clients rely on stays as it was recorded."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from .contract import Contract, breaches, contract_of, current, recorded, text

TAG = "specimens"
MISSING: Any = ...
"""Stands for what an edit removes."""

POST = "paths /specimens post"
GET = "paths /specimens get"
ONE = "paths /specimens/{specimen_id}"
CREATE = "components schemas SpecimenCreate"
READ = "components schemas SpecimenRead"
PAGE = "components schemas SpecimenPage"

type Edits = dict[str, Any]


def contract(document: dict[str, Any], *edits: Edits) -> Any:
    """Return the contract of a document after edits: paths of members, and their new values."""
    document = deepcopy(document)
    for way, value in (edit for part in edits for edit in deepcopy(part).items()):
        *steps, last = way.split()
        place: Any = document
        for step in steps:
            place = place[int(step) if isinstance(place, list) else step]
        if value is MISSING:
            del place[int(last) if isinstance(place, list) else last]
        elif isinstance(place, list):
            place.insert(int(last), value)
        else:
            place[last] = value
    return contract_of(document, TAG)


@pytest.fixture(scope="module")
def specimen_contract(specimen_app: FastAPI) -> Contract:
    """Return the contract of the specimens as they are."""
    recorded_: Contract = contract(specimen_app.openapi())
    return recorded_


def test_nothing_that_was_recorded_is_broken() -> None:
    contracts = current()
    # The record of the operations that belong to no feature is always there.
    assert recorded(Path(__file__).with_name("contract.json"))["operations"]
    for file, now in contracts.items():
        found = breaches(recorded(file), now)
        hint = "if that is meant: python -m tests.contract"
        assert not found, "\n".join([f"{file.name} of {file.parents[1].name}", *found, hint])


@pytest.mark.parametrize(
    ("edits", "breach"),
    [
        ({"paths /specimens": MISSING}, "GET /specimens is gone"),
        ({POST: MISSING}, "POST /specimens is gone"),
        ({f"{POST} operationId": "make"}, "POST /specimens: id was create_specimen"),
        (
            {f"{POST} parameters 0": MISSING},
            "POST /specimens: query parameter dry_run is gone",
        ),
        (
            {f"{POST} parameters 0 required": True},
            "POST /specimens: query parameter dry_run has become required",
        ),
        (
            {f"{POST} parameters 0 schema default": True},
            "POST /specimens: query parameter dry_run has another default",
        ),
        (
            {f"{POST} parameters 0 schema type": "integer"},
            "POST /specimens: query parameter dry_run takes less than before",
        ),
        (
            {f"{POST} parameters 1 schema maxLength": 254},
            "POST /specimens: header parameter Idempotency-Key takes less than before",
        ),
        (
            {
                f"{POST} parameters 0": {
                    "in": "query",
                    "name": "colour",
                    "required": True,
                    "schema": {"type": "string"},
                }
            },
            "POST /specimens: query parameter colour is new",
        ),
        (
            {f"{ONE} patch requestBody content application/json": MISSING},
            "PATCH /specimens/{specimen_id}: body application/json is gone",
        ),
        (
            {f"{ONE}/drop post requestBody": {"content": {"text/csv": {"schema": {}}}}}
            | {f"{ONE}/drop post requestBody required": True},
            "POST /specimens/{specimen_id}/drop: body text/csv is new",
        ),
        (
            {f"{CREATE} properties note": MISSING},
            "POST /specimens: body application/json/note is gone",
        ),
        (
            {f"{CREATE} required 0": "note"},
            "POST /specimens: body application/json takes less than before",
        ),
        (
            {f"{CREATE} properties label pattern": "^[a-z]+$"},
            "POST /specimens: body application/json/label takes less than before",
        ),
        (
            {f"{CREATE} properties weight": {"type": "integer"}},
            "POST /specimens: body application/json/weight takes less than before",
        ),
        (
            {f"{CREATE} properties note enum": ["", "light"]},
            "POST /specimens: body application/json/note takes less than before",
        ),
        (
            {f"{POST} responses 201": MISSING},
            "POST /specimens: answer 201 is gone",
        ),
        (
            {f"{POST} responses 409": MISSING},
            "POST /specimens: answer 409 is gone",
        ),
        (
            {f"{POST} responses 202": {"description": "Later"}},
            "POST /specimens: answer 202 is new",
        ),
        (
            {f"{POST} responses 201 headers Location": MISSING},
            "POST /specimens: answer 201 Location is gone",
        ),
        (
            {f"{POST} responses 409 content application/problem+json examples conflict": MISSING},
            "POST /specimens: answer 409 conflict is gone",
        ),
        (
            {f"{GET} responses 200 content": {"text/csv": {"schema": {}}}},
            "GET /specimens: answer 200 application/json is gone",
        ),
        (
            {f"{READ} properties label": MISSING},
            "POST /specimens: answer 201/label is gone",
        ),
        (
            {f"{PAGE} properties total": MISSING},
            "GET /specimens: answer 200/total is gone",
        ),
        (
            {f"{READ} required": ["id"]},
            "GET /specimens: answer 200/items/* gives more than before",
        ),
        (
            {f"{READ} properties label": {"type": ["string", "null"]}},
            "GET /specimens: answer 200/items/*/label gives more than before",
        ),
        (
            {f"{READ} properties id": {"type": "number"}},
            "GET /specimens: answer 200/items/*/id gives more than before",
        ),
    ],
)
def test_a_breach_is_found(
    specimen_app: FastAPI, specimen_contract: Contract, edits: Edits, breach: str
) -> None:
    assert breach in breaches(specimen_contract, contract(specimen_app.openapi(), edits))


NOTE = {f"{READ} properties note": {"type": "string", "enum": ["", "light"]}}


def test_an_enum_may_only_narrow_in_responses(specimen_app: FastAPI) -> None:
    wider = {f"{READ} properties note enum 2": "heavy"}
    old, new = (contract(specimen_app.openapi(), NOTE, edits) for edits in ({}, wider))
    assert "POST /specimens: answer 201/note gives more than before" in breaches(old, new)
    assert not breaches(new, old)


def test_a_body_may_not_become_required(specimen_app: FastAPI) -> None:
    optional = {f"{ONE} patch requestBody required": False}
    old, new = (contract(specimen_app.openapi(), edits) for edits in (optional, {}))
    breach = "PATCH /specimens/{specimen_id}: body application/json has become required"
    assert breach in breaches(old, new)
    assert not breaches(new, old)


def test_a_record_is_the_contract(specimen_app: FastAPI, tmp_path: Path) -> None:
    file = tmp_path / "contract.json"
    assert not breaches(recorded(file), contract(specimen_app.openapi()))
    file.write_text(text(contract(specimen_app.openapi())))
    assert recorded(file) == contract(specimen_app.openapi())


@pytest.mark.parametrize(
    "edits",
    [
        {"paths /specimens/all": {}},
        {
            f"{ONE}/drop get": {
                "operationId": "seen",
                "parameters": [],
                "responses": {},
                "tags": [TAG],
            }
        },
        {f"{POST} description": "Otherwise."},
        {f"{POST} parameters 1 schema maxLength": 256},
        {
            f"{POST} parameters 0": {
                "in": "query",
                "name": "colour",
                "required": False,
                "schema": {"type": "string"},
            }
        },
        {f"{POST} requestBody content text/csv": {"schema": {}}},
        {f"{CREATE} properties colour": {"type": "string"}},
        {f"{CREATE} properties label maxLength": 41},
        {f"{CREATE} required": []},
        {f"{READ} properties colour": {"type": "string"}, f"{READ} required 0": "colour"},
        {f"{READ} properties weight": {"type": "integer"}},
        {f"{POST} responses 410": {"description": "Gone"}},
    ],
)
def test_what_clients_can_live_with_is_no_breach(specimen_app: FastAPI, edits: Edits) -> None:
    old = contract(specimen_app.openapi())
    assert not breaches(old, contract(specimen_app.openapi(), edits))

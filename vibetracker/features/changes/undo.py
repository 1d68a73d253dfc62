"""Undo: a change is reverted by the rules that hold for every write.

A feature may have a module ``revert.py`` that says how changes of its resources are reverted,
with any of ``lock(session, values)``, ``revert(session, action, values)`` and ``delete(session,
id)``; ``values`` are, by the id of each resource, those of its members before. Without ``revert``
the handler of its ``PATCH`` is called, and for what was created ``delete``, or that of ``DELETE``.
"""

import inspect
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import groupby
from typing import Any, get_type_hints

from fastapi import FastAPI
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import Session

from vibetracker.core.api.preconditions import Preconditions, check, lock_rows
from vibetracker.core.api.representations import reader
from vibetracker.core.api.schema import Patch
from vibetracker.core.db.changes import Reader, table_of
from vibetracker.core.db.model import Resource, has_own_trash
from vibetracker.core.discovery import Feature, module_of
from vibetracker.core.http.problems import Gone, Problem

from .feed import Json
from .listener import LEFT_OUT
from .model import Action
from .problems import ChangeIrrevocable, ChangeOvertaken

type Values = dict[int, Json]

REFUSED = {HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY}


@dataclass(frozen=True)
class Owner:
    """A resource, and the feature that it is of."""

    feature: Feature
    resource: type[Resource]
    reader: Reader

    def read(self, session: Session, ids: Sequence[int]) -> Values:
        """Return the resources with these ids, as answers have them."""
        found = self.reader(session.connection(), ids)
        return {row_id: json.loads(to_json(dict(values))) for row_id, values in found.items()}

    def lock(self, session: Session, values: Values) -> None:
        """Lock what reverting to these values needs."""
        own = self._own()
        if hasattr(own, "lock"):
            own.lock(session, values)
        lock_rows(session, self.resource, values)

    def revert(self, session: Session, action: Action, values: Values) -> None:
        """Revert changes of one kind."""
        own = self._own()
        if hasattr(own, "revert"):
            own.revert(session, str(action), values)
            return
        for row_id, members in values.items():
            if action is not Action.CREATED:
                self._call("PATCH", session, row_id, members)
            elif hasattr(own, "delete"):
                own.delete(session, row_id)
            else:
                self._delete(session, row_id, members)

    def _own(self) -> Any:
        return module_of(self.feature.package, "revert")

    def _delete(self, session: Session, row_id: int, members: Json) -> None:
        try:
            self._call("DELETE", session, row_id, members)
        except Gone:
            # It is in the trash already; without one of its own, with what it belongs to.
            if not has_own_trash(self.resource):
                session.delete(session.get_one(self.resource, row_id, populate_existing=True))

    def _call(self, verb: str, session: Session, row_id: int, members: Json) -> None:
        """Call the handler of the operation on one resource, as a request would.

        Members that a ``PATCH`` does not take, and follow from others, are as they were then.
        """
        handler = self._handler(verb)
        follow: Json = {}
        arguments: dict[str, Any] = {}
        for name, hint in get_type_hints(handler).items():
            if hint is Session:
                arguments[name] = session
            elif inspect.isclass(hint) and issubclass(hint, Patch):
                sent = {key: members[key] for key in members if key in hint.model_fields}
                if not sent:
                    raise ChangeIrrevocable("Nothing of it can be written")
                arguments[name] = hint.model_validate_json(to_json(sent))
                follow = {key: members[key] for key in members.keys() - sent.keys()}
            elif hint is int and name.endswith("_id"):
                arguments[name] = row_id
        try:
            inspect.signature(handler).bind(**arguments)
        except TypeError:
            raise ChangeIrrevocable(f"Only an operation on {self.feature.name} can do it") from None
        handler(**arguments)
        if follow:
            self._write(session.get_one(self.resource, row_id), follow)

    def _write(self, row: Resource, members: Json) -> None:
        output = self.feature.resources[self.resource]
        columns = sa_inspect(self.resource).column_attrs
        for name, field in output.model_fields.items() if output else ():
            if name in members and name in columns:
                annotation: Any = field.annotation
                value = TypeAdapter(annotation).validate_json(to_json(members[name]))
                setattr(row, name, value)

    def _handler(self, verb: str) -> Any:
        for operation in self.feature.operations:
            is_single = operation.path_format.count("/") == 2
            if operation.verb == verb and is_single and operation.path_format.endswith("}"):
                return inspect.unwrap(operation.endpoint)
        raise ChangeIrrevocable(f"{self.feature.name} has no {verb}")


def owners(app: FastAPI) -> dict[str, Owner]:
    """Return the resources of an application by the names that changes have for them."""
    return {
        table_of(resource).name: Owner(feature, resource, reader(resource, output))
        for feature in app.state.features
        for resource, output in feature.resources.items()
    }


def revert(session: Session, owners: Mapping[str, Owner], changes: Sequence[Json]) -> None:
    """Revert changes, the last first.

    Raises ``ChangeOvertaken``, and ``ChangeIrrevocable`` for what the rules of a feature refuse.
    """
    for change in changes:
        if change["action"] is Action.DELETED or change["resource"] not in owners:
            raise ChangeIrrevocable(
                f"{change['resource']} {change['resource_id']} was deleted for good"
            )
    for resource in sorted({change["resource"] for change in changes}):
        values = {it["resource_id"]: _before(it) for it in changes if it["resource"] == resource}
        owners[resource].lock(session, values)
    if len(changes) == 1:
        _check(session, owners, changes[0])
    # What the request demands of the resource of its path has been met.
    session.info[Preconditions] = Preconditions(writes=True, tags=None)
    for resource, action, group in _groups(changes):
        _revert_group(session, owners[resource], action, group)


def _check(session: Session, owners: Mapping[str, Owner], change: Json) -> None:
    row_id = change["resource_id"]
    now = owners[change["resource"]].read(session, [row_id]).get(row_id)
    if now is not None:
        check(session, now["version"])


def _groups(changes: Sequence[Json]) -> Iterator[tuple[str, Action, list[Json]]]:
    """Put those together that come one after the other and are of one kind."""
    for (resource, action), group in groupby(changes, lambda it: (it["resource"], it["action"])):
        waiting = [*group]
        while waiting:
            # Each resource once.
            some: dict[int, Json] = {}
            for change in waiting:
                if change["resource_id"] in some:
                    break
                some[change["resource_id"]] = change
            waiting = waiting[len(some) :]
            yield resource, action, [*some.values()]


def _revert_group(session: Session, owner: Owner, action: Action, changes: Sequence[Json]) -> None:
    now = owner.read(session, [change["resource_id"] for change in changes])
    values: Values = {}
    for change in changes:
        members, before = now.get(change["resource_id"]), _before(change)
        if members is None:
            raise _overtaken(change, before, "has been deleted for good")
        if action is not Action.CREATED and all(members.get(it) == before[it] for it in before):
            continue
        after = {name: it for name, (_, it) in change["changes"].items()}
        if action is Action.CREATED:
            # What was null then is left out; what has gone to the trash is where it is to go.
            after = dict.fromkeys(members.keys() - LEFT_OUT - {"deleted_at"}) | after
        overtaken = sorted(name for name in after if members.get(name) != after[name])
        if overtaken:
            raise _overtaken(change, overtaken, f"has changed in {', '.join(overtaken)}")
        values[change["resource_id"]] = before
    if values:
        try:
            owner.revert(session, action, values)
        except Problem as error:
            # What a rule refuses; the rules of all features are not those of this operation.
            if isinstance(error, ChangeIrrevocable) or error.status_code not in REFUSED:
                raise
            raise ChangeIrrevocable(str(error.detail)) from error
        except ValidationError as error:
            raise ChangeIrrevocable("It was made by other rules than those of today") from error
        session.flush()


def _before(change: Json) -> Json:
    return {name: before for name, (before, _) in change["changes"].items()}


def _overtaken(change: Json, members: Iterable[str], since: str) -> ChangeOvertaken:
    return ChangeOvertaken(
        f"Since change {change['id']}, {change['resource']} {change['resource_id']} {since}",
        members=[*members],
        change_id=change["id"],
    )

"""Imports a file: all of it, or nothing.

It is read twice at least. First everything is checked that can be without the database, so that a
file with an error writes nothing and locks nobody out; then the rows are written, in portions. What
refers to something further down waits for another reading.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from time import monotonic
from types import NoneType

from pydantic import MISSING
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from vibetracker.core.api.names import key_of
from vibetracker.core.db.changes import announce_new, call_listeners
from vibetracker.core.db.database import lock
from vibetracker.core.db.model import noun
from vibetracker.core.http.faults import Fault
from vibetracker.core.http.problems import MAX_ERRORS, Problem, ValidationFailed
from vibetracker.features.tags.model import Tag
from vibetracker.features.tags.tagging import tags_named

from .collection import Agreement, Collection
from .new_rows import New, Twins, analyze, write
from .numbering import go_beyond, reserve
from .records import (
    LARGEST_ID,
    Found,
    LastIds,
    LeftOut,
    NoRecord,
    Place,
    Record,
    Told,
    Values,
    broken,
    broken_file,
    fault_at,
    faults_at,
    problem_at,
)
from .validation import validated

logger = logging.getLogger(__name__)

PORTION = 250
"""Rows that are written at once."""
ANALYZED = 1000
"""Rows of an empty database's table after which PostgreSQL looks at it."""
LOGGED = 20_000
"""Records after which the log says how far an import is."""
IDLE = 1
"""Seconds after which a transaction shows that it goes on; the database ends one that is idle."""
type Read = Callable[[], Iterator[Found]]
"""Reads the file from its beginning."""


class Import:
    """One import, in the transaction of a session."""

    def __init__(
        self, session: Session, collections: Mapping[str, Collection], most: int | None = None
    ) -> None:
        self.session = session
        self.collections = collections
        self.most = most
        """Records that a file may have."""
        self.told = Told()
        self.created: dict[str, int] = {}
        self._is_empty = False
        self._last_ids: dict[str, int] = {}
        self._ids: dict[str, dict[Hashable, int | None]] = defaultdict(dict)
        """What the file has, of each collection: by key the id, once it is written."""
        self._counts: Counter[str] = Counter()
        self._numbers: dict[str, Iterator[int]] = {}
        self._agreements: dict[str, Agreement] = {}
        self._twins = Twins(session)
        self._tags: dict[str, int] = {}
        self._pending: defaultdict[str, list[New]] = defaultdict(list)
        self._done = 0

    def run(self, read: Read, *, many_lines: bool = False) -> None:
        """Import what ``read`` reads; a problem with its lines for a file that breaks a rule.

        One of ``many_lines`` is counted before anything else, since that takes the least time.
        """
        for name, collection in self.collections.items():
            if collection.agreement is not None:
                self._agreements[name] = collection.agreement()
        if many_lines:
            self._count(self._alive(read()))
        self._check(self._alive(read()))
        lock(self.session, "transfer import")
        some = (select(it.table.c.id).limit(1) for it in self.collections.values())
        self._is_empty = all(self.session.scalar(one) is None for one in some)
        for agreement in self._agreements.values():
            agreement.begin(self.session, is_empty=self._is_empty, stand_ins=self._twins.stand_ins)
        if self._is_empty:
            self._go_beyond()
        waiting: set[int] | None = None
        while waiting is None or waiting:
            before = waiting
            waiting = self._write(self._alive(read()), before)
            if waiting == before:
                self._refuse_circle(read(), min(waiting))
        logger.info("imported %s", self.created or "nothing")

    def _alive(self, records: Iterable[Found]) -> Iterator[Found]:
        """Iterate over records, and let the transaction not be idle meanwhile."""
        last = monotonic()
        for record in records:
            if monotonic() - last > IDLE and self.session.in_transaction():
                self.session.execute(select(1))
                last = monotonic()
            yield record

    def _go_beyond(self) -> None:
        """Let no row get an id that is in the file, or was in the service that it comes from."""
        for name, collection in self.collections.items():
            used = (key for key in self._ids[name] if isinstance(key, int))
            last = max(self._last_ids.get(name, 0), 0, *used)
            go_beyond(self.session, collection.table, last)

    def _count(self, records: Iterable[Found]) -> None:
        for number, record in enumerate(records, 1):
            if self.most is not None and number > self.most and not isinstance(record, LastIds):
                raise self._too_many(record.place)

    def _too_many(self, place: Place) -> ValidationFailed:
        return broken(place, "too_many", f"At most {self.most} records are imported at once")

    def _check(self, records: Iterable[Found]) -> None:
        """Check what can be without the database, and record what is left out."""
        found: list[Fault] = []
        for number, record in enumerate(records, 1):
            if isinstance(record, LastIds):
                self._last_ids = record.ids
            elif self.most is not None and number > self.most:
                raise self._too_many(record.place)
            elif isinstance(record, LeftOut):
                self.told.add(record)
            elif record.collection not in self.collections:
                name = record.collection
                detail = f"Nothing here stores {name}"
                self.told.add(LeftOut(record.place, "unknown_collection", detail, (name,)))
            elif isinstance(record, NoRecord):
                found.append(fault_at(record.place, "not_an_object", "A record is an object"))
            else:
                found += self._faults_of(record, self.collections[record.collection])
            if len(found) >= MAX_ERRORS:
                break
            self._log(number, "checked")
        if found:
            raise broken_file(found)

    def _faults_of(self, record: Record, collection: Collection) -> list[Fault]:
        values, place = record.values, record.place
        key = values.get("id")
        self._counts[collection.name] += 1
        for member in ("id", *collection.references):
            if type(values.get(member)) not in {int, str, NoneType}:
                return [fault_at(place, "reference", "Expected an id", member)]
        if key is not None:
            if key in self._ids[collection.name]:
                return [fault_at(place, "repeated", "Another record has this id", "id")]
            if isinstance(key, int) and not 1 <= key <= LARGEST_ID:
                return [fault_at(place, "id", f"Expected an id from 1 to {LARGEST_ID}", "id")]
            self._ids[collection.name][key] = None
        for name in sorted(values.keys() - collection.record.model_fields.keys()):
            detail = f"Nothing here stores {name!r} of {collection.name}"
            group = (collection.name, name)
            self.told.add(LeftOut(place.of(name), "unknown_member", detail, group))
        # Any id will do for now.
        refers = {name: 1 for name in collection.references if values.get(name) is not None}
        try:
            checked = validated(record, collection, {"id": 1, **refers}, self.told.add)
            if collection.name in self._agreements:
                self._agreements[collection.name].look(checked)
        except ValidationFailed as problem:
            found = faults_at(place, problem.errors)
            if not record.is_extra:
                return found
            self.told.add(LeftOut(place, found[0]["code"], found[0]["detail"]))
        return []

    def _write(self, records: Iterable[Found], only: set[int] | None) -> set[int]:
        """Write the records, or some of them by their numbers; return those that have to wait."""
        waiting = set()
        # Tags that a record names are created for it, unless they are there already.
        tags_ahead = self._counts[Tag.__tablename__] if only is None else 0
        for number, record in enumerate(records):
            if only is not None and number not in only:
                continue
            if not isinstance(record, Record) or record.collection not in self.collections:
                continue
            collection = self.collections[record.collection]
            tags_ahead -= collection.name == Tag.__tablename__
            if len(self._pending[collection.name]) >= PORTION:
                self._flush()
            waits = tags_ahead and collection.association is not None
            ids = None if waits else self._resolved(record, collection)
            if ids is None:
                waiting.add(number)
            elif ids:
                self._add(record, collection, ids)
        self._flush()
        return waiting

    def _resolved(self, record: Record, collection: Collection) -> Values | None:
        """Return the new ids for a record; None while it has to wait, empty if it is left out."""
        key = record.values.get("id")
        ids: Values = {}
        to_itself: list[str] = []
        for member, target in collection.references.items():
            wanted = record.values.get(member)
            if wanted is None:
                continue
            if target == collection.name and wanted == key:
                to_itself.append(member)
                continue
            if self._pending[target] and self.collections[target].unique:
                self._settle(self.collections[target])
            known = self._ids[target].get(wanted)
            if known is None and wanted in self._ids[target]:
                return None
            if known is None and member in collection.lasting and self._was_deleted(target, wanted):
                known = wanted
            if known is None and not self._report_missing(record, collection, member, target):
                return {}
            ids[member] = known
        keeps_id = self._is_empty and isinstance(key, int)
        own_id = key if keeps_id else self._next_id(collection)
        return {**ids, **dict.fromkeys(to_itself, own_id), "id": own_id}

    def _was_deleted(self, target: str, row_id: object) -> bool:
        """Return whether no row will get an id that the file does not have, since one had it."""
        last = self._last_ids.get(target, 0) if self._is_empty else 0
        return isinstance(row_id, int) and row_id <= last

    def _report_missing(
        self, record: Record, collection: Collection, member: str, target: str
    ) -> bool:
        """Record a reference to what the file does not have; return whether it can be left out."""
        column = collection.columns[collection.sources[member]]
        kind = noun(self.collections[target].model) if target in self.collections else target
        place = record.place.of(member)
        code = f"unknown_{kind.replace(' ', '_')}"
        if column.nullable:
            detail = f"The file does not have this {kind}; the {noun(collection.model)} has none"
            self.told.add(LeftOut(place, code, detail))
            return True
        detail = f"The file does not have this {kind}; the {noun(collection.model)} is left out"
        self.told.add(LeftOut(place, code, detail))
        self._ids[collection.name].pop(record.values.get("id"), None)
        return False

    def _next_id(self, collection: Collection) -> int:
        if collection.name not in self._numbers:
            many = self._counts[collection.name]
            if self._is_empty:
                many -= sum(isinstance(key, int) for key in self._ids[collection.name])
            self._numbers[collection.name] = reserve(self.session, collection.table, many)
        return next(self._numbers[collection.name])

    def _add(self, record: Record, collection: Collection, ids: Values) -> None:
        try:
            checked = validated(record, collection, ids)
        except ValidationFailed:
            # The check has reported that it is left out.
            return
        values = {
            source: value
            for member, source in collection.sources.items()
            if source in collection.columns and (value := getattr(checked, member)) is not MISSING
        }
        if collection.name in self._agreements:
            try:
                values = self._agreements[collection.name].complete(ids["id"], values)
            except Problem as problem:
                raise problem_at(record.place, problem) from None
        tags = getattr(checked, "tags", []) if collection.association is not None else []
        key = record.values.get("id")
        if key is not None:
            self._ids[collection.name][key] = ids["id"]
        new = New(collection.model(**values), record.place, key, tags, record.only_named)
        self._pending[collection.name].append(new)
        self._done += 1
        self._log(self._done, "imported")

    def _flush(self) -> None:
        """Write what is pending, each collection behind those that it refers to."""
        for name, collection in self.collections.items():
            if self._pending[name]:
                self._settle(collection)
                self._write_rows(collection, self._pending.pop(name))
        # Now and not at the end, so that what is announced is never more than a portion.
        call_listeners(self.session)
        self.session.expunge_all()

    def _settle(self, collection: Collection) -> None:
        """Let rows that are there already stay, and stand for new ones that are pending."""
        pending = self._pending[collection.name]
        unsettled = [new for new in pending if not new.is_settled]
        if not unsettled:
            return
        for new, row_id in self._twins.of(collection, unsettled, look=not self._is_empty):
            if not new.only_named:
                detail = f"The {noun(collection.model)} {row_id} is there, and stays as it is"
                self.told.add(LeftOut(new.place, "exists", detail))
            pending.remove(new)
            if new.key is not None:
                self._ids[collection.name][new.key] = row_id
        for new in unsettled:
            new.is_settled = True

    def _write_rows(self, collection: Collection, pending: list[New]) -> None:
        write(self.session, pending)
        if collection.association is not None:
            self._put_tags(collection, pending)
        before = self.created.get(collection.name, 0)
        self.created[collection.name] = after = before + len(pending)
        if self._is_empty and before < ANALYZED <= after:
            analyze(self.session, collection.table)

    def _put_tags(self, collection: Collection, pending: list[New]) -> None:
        missing = [name for new in pending for name in new.tags if key_of(name) not in self._tags]
        if missing:
            for tag in tags_named(self.session, missing, create=True):
                self._tags[tag.key] = tag.id
        rows = [
            {"owner_id": new.row.id, "tag_id": tag_id}
            for new in pending
            for tag_id in {self._tags[key_of(name)]: None for name in new.tags}
        ]
        if rows and collection.association is not None:
            self.session.execute(insert(collection.association), rows)
            announce_new(self.session, collection.table, {row["owner_id"] for row in rows})

    def _refuse_circle(self, records: Iterable[Found], first: int) -> None:
        found = next(it for number, it in enumerate(records) if number == first)
        place = Place(1) if isinstance(found, LastIds) else found.place
        raise broken(place, "circle", "The record refers to itself, through others or directly")

    def _log(self, number: int, what: str) -> None:
        if number % LOGGED == 0:
            logger.info("%s %d records", what, number)

"""The components of an iCalendar file, one at a time, whatever its size."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from typing import Any, BinaryIO

from icalendar import vDDDTypes
from icalendar.parser import Contentline, unescape_backslash
from icalendar.timezone import tzp

from .lines import MAX_ZONE, bytes_of, text_of
from .records import LeftOut, Place, broken
from .vtimezone import Zone, zone_of

MAX_COMPONENT = 1024 * 1024
"""Characters, or bytes of a line."""
MAX_DEPTH = 8
MAX_ZONES = 1000
"""Of a calendar; there are some 600 in the world."""
VTODO, VTIMEZONE = ["VCALENDAR", "VTODO"], ["VCALENDAR", "VTIMEZONE"]
WITHOUT_A_WORD = {"VCALENDAR", "VTIMEZONE", "STANDARD", "DAYLIGHT"}
"""Components that say nothing by themselves."""
NAME = "X-WR-CALNAME:Tasks"
"""The line with the name of the calendars of this service."""
OF_THE_FORMAT = {"VERSION", "PRODID", "CALSCALE"}
"""Properties of a calendar that say nothing of what is in it."""


@dataclass
class Todo:
    """A VTODO: its properties, each with its parameters and its value."""

    place: Place
    zones: Mapping[str, Zone] = field(default_factory=dict)
    """What the calendar defines in front of it, by TZID."""
    properties: defaultdict[str, list[tuple[Any, str]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def text(self, name: str) -> str:
        """Return the text of a property; empty where there is none."""
        values = self.properties.get(name)
        return unescape_backslash(values[0][1]) if values else ""

    def time(self, name: str) -> Any:
        """Return a date, an instant, or the duration of ``DURATION``; None where there is none."""
        if name not in self.properties:
            return None
        parameters, text = self.properties[name][0]
        moment: object = None
        with suppress(ValueError, OverflowError):
            moment = vDDDTypes.from_ical(text.strip())  # type: ignore[no-untyped-call] # it has no types
            # A day has no zone, and an instant in UTC no other one.
            if isinstance(moment, datetime) and moment.tzinfo is None:
                moment = moment.replace(tzinfo=self._zone(str(parameters.get("TZID", ""))))
        if not isinstance(moment, timedelta if name == "DURATION" else date):
            raise broken(self.place, "time", "This is not when something is", name)
        return moment

    def _zone(self, name: str) -> tzinfo | None:
        """Return the zone of IANA with a name, or else the one that the calendar defines."""
        # The name may be that of a folder.
        with suppress(OSError):
            if len(name) <= MAX_ZONE and (zone := tzp.timezone(name)):
                return zone
        return self.zones.get(name)


class Calendars:
    """The calendars of a file, as they are read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._inside: list[str] = []
        self._todo = Todo(Place(1))
        self._zones: dict[str, Zone] = {}
        self._zone: list[defaultdict[str, list[str]]] = []
        """The properties of a VTIMEZONE and, behind those, of its components."""
        self._size = 0

    def todos(self) -> Iterator[Todo | LeftOut]:
        """Read the VTODOs, and what else there is."""
        place = Place(1)
        for place, line in self._unfolded():
            name, parameters, value = _parts(line, place)
            if name == "BEGIN":
                yield from self._begin(value.upper(), place)
            elif not self._inside:
                raise broken(place, "calendar", "Expected BEGIN:VCALENDAR")
            elif name == "END":
                yield from self._end(value.upper(), place)
            elif len(self._inside) == 1 and line != NAME and name not in OF_THE_FORMAT:
                detail = f"Nothing here stores {name} of a calendar"
                yield LeftOut(place, "unknown_property", detail, ("VCALENDAR", name))
            elif self._inside == VTODO:
                self._grow(line, place)
                self._todo.properties[name].append((parameters, value))
            elif self._inside[:2] == VTIMEZONE:
                self._grow(line, place)
                self._zone[-1 if len(self._inside) > 2 else 0][name].append(value)
        if self._inside:
            raise broken(place, "cut_off", f"The file ends inside of a {self._inside[-1]}")

    def _begin(self, component: str, place: Place) -> Iterator[LeftOut]:
        if not self._inside and component != "VCALENDAR":
            raise broken(place, "calendar", "Expected BEGIN:VCALENDAR")
        if len(self._inside) == MAX_DEPTH:
            raise broken(place, "too_deep", "Components are inside of each other too deep")
        self._inside.append(component)
        if component == "VCALENDAR":
            self._zones = {}
        if len(self._inside) == len(VTODO):
            self._size, self._zone = 0, []
        if self._inside[:2] == VTIMEZONE:
            self._grow(component, place)
            self._zone.append(defaultdict(list))
        if self._inside == VTODO:
            self._todo = Todo(place, self._zones)
        elif component not in WITHOUT_A_WORD:
            yield LeftOut(place, "component", f"Nothing here stores a {component}", (component,))

    def _end(self, component: str, place: Place) -> Iterator[Todo]:
        if component != self._inside.pop():
            raise broken(place, "calendar", "The component that ends is another one")
        if [*self._inside, component] == VTODO:
            yield self._todo
        elif [*self._inside, component] == VTIMEZONE and len(self._zones) < MAX_ZONES:
            properties, *observances = self._zone
            zone = zone_of(observances)
            for name in properties["TZID"]:
                if zone is not None:
                    self._zones[unescape_backslash(name).strip()] = zone

    def _grow(self, line: str, place: Place) -> None:
        self._size += len(line)
        if self._size > MAX_COMPONENT:
            detail = f"A {self._inside[1]} has up to {MAX_COMPONENT} characters"
            raise broken(place, "too_long", detail)

    def _unfolded(self) -> Iterator[tuple[Place, str]]:
        """Read the lines; those that begin with white space belong to the one before.

        They may part the bytes of a character (RFC 5545 section 3.1).
        """
        parts: list[bytes] = []
        size, first = 0, 1
        for number, line in bytes_of(self._file):
            part = line.rstrip(b"\r\n")
            if part[:1] in {b" ", b"\t"} and parts:
                parts.append(part[1:])
                size += len(part)
                if size > MAX_COMPONENT:
                    raise broken(Place(first), "too_long", "The line goes on and on")
                continue
            if parts:
                yield Place(first), text_of(b"".join(parts), first)
            parts, size, first = ([part] if part else []), len(part), number
        if parts:
            yield Place(first), text_of(b"".join(parts), first)


def _parts(line: str, place: Place) -> tuple[str, Any, str]:
    name, colon, value = line.partition(":")
    if colon and name.isascii() and name.replace("-", "").isalnum():
        return name.upper(), {}, value
    try:
        name, parameters, value = Contentline(line).parts()  # type: ignore[no-untyped-call] # it has no types
    except ValueError:
        raise broken(place, "content_line", "This is no line of iCalendar") from None
    return name.upper(), parameters, value

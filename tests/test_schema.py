"""The field types that every feature builds its requests from, in large tables."""

from datetime import UTC, date, datetime
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import MISSING, TypeAdapter, ValidationError

from vibetracker.core.api.schema import (
    CalendarDate,
    Id,
    Input,
    Output,
    Patch,
    Timestamp,
    UrlBool,
    UrlId,
    UrlInt,
)
from vibetracker.core.api.text import Line, Prose, searchable

LINE: TypeAdapter[str] = TypeAdapter(Annotated[str, Line(5)])
PROSE: TypeAdapter[str] = TypeAdapter(Annotated[str, Prose(5)])
TIMESTAMP: TypeAdapter[datetime] = TypeAdapter(Timestamp)
DATE: TypeAdapter[date] = TypeAdapter(CalendarDate)

WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
"""The characters with the Unicode property White_Space."""
CONTROLS = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))]
LAYOUT = ["\t", "\n", "\r"]
SEPARATORS = ["\u2028", "\u2029"]
SURROGATES = ["\ud800", "\udbff", "\udc00", "\udfff"]


def refuses(adapter: TypeAdapter[Any], value: object) -> bool:
    try:
        adapter.validate_python(value, strict=True)
    except ValidationError:
        return True
    return False


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("a", "a"),
        ("  a b  ", "a b"),
        ("\u00a0a\u3000", "a"),
        ("a  b", "a  b"),
        ("e\u0301", "é"),
        ("\u212b", "å".upper()),
        ("\ufb01", "\ufb01"),
        ("<b>", "<b>"),
        ("👩‍👩‍👧", "👩‍👩‍👧"),
        ("  12345  ", "12345"),
        *(("\ufeffmilk", "milk"), ("milk\u200b", "milk"), ("\u2060 \n\u00ada\u202e", "a")),
        # What is inside of words and emoji stays, and so does what ends one.
        *(
            ("a\u200bb", "a\u200bb"),
            ("a\u00adb", "a\u00adb"),
            ("\u0646\u200c\u0645", "\u0646\u200c\u0645"),
        ),
        *(
            ("\u2764\ufe0f", "\u2764\ufe0f"),
            ("\u2764\ufe0f\u200b", "\u2764\ufe0f"),
            ("a \ufe0f", "a"),
        ),
        *(("1\ufe0f\u20e3", "1\ufe0f\u20e3"), ("\u845b\U000e0100", "\u845b\U000e0100")),
        ("\U0001f3f4\U000e0067\U000e0062\U000e007f", "\U0001f3f4\U000e0067\U000e0062\U000e007f"),
        ("e\u0301" * 5, "é" * 5),
        ("😀" * 5, "😀" * 5),
    ],
)
def test_a_line_is_trimmed_and_composed_before_it_is_measured(sent: str, kept: str) -> None:
    assert LINE.validate_python(sent) == kept


@pytest.mark.parametrize("character", [*CONTROLS, *SEPARATORS, *SURROGATES])
@pytest.mark.parametrize("place", ["{}ab", "a{}b", "ab{}"])
def test_a_line_has_no_control_characters_but_white_space_around_it(
    character: str, place: str
) -> None:
    if character in WHITE_SPACE and place != "a{}b":
        assert LINE.validate_python(place.format(character)) == "ab"
    else:
        assert refuses(LINE, place.format(character))


@pytest.mark.parametrize("value", ["", " ", "\u3000\u00a0", "123456", "😀" * 6, "\u0344" * 3])
def test_a_line_has_a_length_that_counts_code_points(value: str) -> None:
    assert refuses(LINE, value)


INVISIBLE = "\u200b\u2060\u00ad\ufeff\u3164\u2800\u202e\ufe0f\u0301\u20dd\u115f\U000e0041"


@pytest.mark.parametrize(
    "value",
    [
        *(*INVISIBLE, " \u200b\u0301 ", "\u034f\u0301\ufe0f", "\u0301\u200b\u0301"),
        *("\u0301 \u0301", "\u0301\u3000\u2060\u20dd"),
    ],
)
def test_a_line_has_a_visible_character(value: str) -> None:
    assert refuses(LINE, value)
    assert not refuses(LINE, f"a{value}")


@pytest.mark.parametrize(
    "value",
    [
        *("\u2764\ufe0f", "1\ufe0f\u20e3", "\u8fbb\U000e0101", "\u1820\u180b", "\u00b4"),
        "\U0001f3f4\U000e0067\U000e0062\U000e007f",
    ],
)
def test_a_line_keeps_the_form_of_its_only_visible_character(value: str) -> None:
    assert LINE.validate_python(value) == value


def test_what_is_invisible_hides_no_word_from_a_search() -> None:
    assert searchable("so\u00adft hy\u200bph\u2060en na\u0308ive") == "soft hyphen naive"
    assert searchable(INVISIBLE) == ""


def test_a_line_can_be_without_some_characters() -> None:
    names: TypeAdapter[str] = TypeAdapter(Annotated[str, Line(9, without=",")])
    assert refuses(names, "a,b")
    assert names.validate_python("a;b") == "a;b"
    # U+FF0C is another character, and NFC leaves it alone.
    assert names.validate_python("a\uff0cb") == "a\uff0cb"


@pytest.mark.parametrize("value", ["", "  a ", "\ta\r\n", "e\u0301", *SEPARATORS, "12345"])
def test_prose_is_unchanged(value: str) -> None:
    assert PROSE.validate_python(value) == value


@pytest.mark.parametrize("character", [c for c in CONTROLS if c not in LAYOUT] + SURROGATES)
def test_prose_has_no_control_characters_but_layout(character: str) -> None:
    assert refuses(PROSE, f"a{character}b")


@pytest.mark.parametrize("adapter", [LINE, PROSE])
@pytest.mark.parametrize("value", [1, 1.5, True, None, b"a", ["a"], {}])
def test_other_types_are_not_coerced_to_text(adapter: TypeAdapter[str], value: object) -> None:
    assert refuses(adapter, value)


@pytest.mark.parametrize("mark", [Line(5), Prose(5)])
def test_a_text_that_may_be_something_else_is_checked_where_it_is_one(mark: Prose) -> None:
    adapter: TypeAdapter[str | int | None] = TypeAdapter(Annotated[str | int | None, mark])
    assert adapter.validate_python(None) is None
    assert adapter.validate_python(123456) == 123456
    assert refuses(adapter, "123456")


@pytest.mark.slow
@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.text(max_size=8))
def test_a_valid_line_is_unchanged_by_another_validation(text: str) -> None:
    if not refuses(LINE, text):
        kept = LINE.validate_python(text)
        assert LINE.validate_python(kept) == kept
        assert kept.encode()


@pytest.mark.parametrize(
    ("sent", "instant"),
    [
        ("2026-02-28T12:00:00Z", datetime(2026, 2, 28, 12, tzinfo=UTC)),
        ("2026-02-28t12:00:00z", datetime(2026, 2, 28, 12, tzinfo=UTC)),
        ("2026-02-28T12:00:00+00:00", datetime(2026, 2, 28, 12, tzinfo=UTC)),
        ("2026-02-28T12:00:00-00:00", datetime(2026, 2, 28, 12, tzinfo=UTC)),
        ("2026-02-28T12:00:00+05:30", datetime(2026, 2, 28, 6, 30, tzinfo=UTC)),
        ("2026-02-28T12:00:00-23:59", datetime(2026, 3, 1, 11, 59, tzinfo=UTC)),
        ("2026-02-28T12:00:00.5Z", datetime(2026, 2, 28, 12, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-02-28T12:00:00.123456789Z", datetime(2026, 2, 28, 12, 0, 0, 123_456, tzinfo=UTC)),
        ("2024-02-29T00:00:00Z", datetime(2024, 2, 29, tzinfo=UTC)),
        ("1900-01-01T00:00:00Z", datetime(1900, 1, 1, tzinfo=UTC)),
        ("1899-12-31T23:30:00-01:00", datetime(1900, 1, 1, 0, 30, tzinfo=UTC)),
        ("9998-12-31T23:59:59.999999Z", datetime(9998, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("9999-01-01T00:30:00+01:00", datetime(9998, 12, 31, 23, 30, tzinfo=UTC)),
    ],
)
def test_a_timestamp_is_an_instant_in_utc(sent: str, instant: datetime) -> None:
    moment = TIMESTAMP.validate_python(sent)
    assert moment == instant
    assert moment.tzinfo is UTC
    assert TIMESTAMP.dump_json(moment).endswith(b'Z"')


NO_TIMESTAMP: list[object] = [
    *("", " ", "now", "2026", "2026-02-28", "12:00:00Z", "2026-02-28T12:00:00"),
    *("2026-02-28 12:00:00Z", "2026-02-28T12:00:00 Z", " 2026-02-28T12:00:00Z"),
    *("2026-02-28T12:00:00Z ", "2026-02-28T12:00:00Z\n", "2026-02-28T12:00Z", "2026-02-28T12Z"),
    *("20260228T120000Z", "2026-W09-6T12:00:00Z", "2026-059T12:00:00Z", "26-02-28T12:00:00Z"),
    *("2026-2-28T12:00:00Z", "2026-02-28T12:00:00,5Z", "2026-02-28T12:00:00.Z"),
    *("2026-02-28T12:00:00+0100", "2026-02-28T12:00:00+01", "2026-02-28T12:00:00 01:00"),
    *("2026-02-28T12:00:00+01:00:00", "2026-02-28T12:00:00GMT", "2026-02-28T12:00:00UTC"),
    *("2026-02-29T12:00:00Z", "2026-13-01T12:00:00Z", "2026-00-01T12:00:00Z"),
    *("2026-04-31T12:00:00Z", "2026-02-28T24:00:00Z", "2026-02-28T12:60:00Z"),
    *("2026-06-30T23:59:60Z", "2026-02-28T12:00:00+24:00", "2026-02-28T12:00:00+01:60"),
    *("0000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "1899-12-31T23:59:59Z"),
    *("1900-01-01T00:30:00+01:00", "9999-01-01T00:00:00Z", "9998-12-31T23:30:00-01:00"),
    *("9999-12-31T23:59:59-14:00", "10000-01-01T00:00:00Z", "-2026-02-28T12:00:00Z"),
    *("+2026-02-28T12:00:00Z", "\uff12026-02-28T12:00:00Z", "\u0662026-02-28T12:00:00Z", "\0"),
    *("1709121600", "1e9", 1709121600, 1709121600.5, True, None, [], {}, b"2026-02-28T12:00:00Z"),
]


@pytest.mark.parametrize("value", NO_TIMESTAMP)
def test_what_is_no_timestamp_with_an_offset_is_refused(value: object) -> None:
    assert refuses(TIMESTAMP, value)


def test_a_plus_that_a_query_turned_into_a_space_is_explained() -> None:
    with pytest.raises(ValidationError, match="%2B"):
        TIMESTAMP.validate_python("2026-02-28T12:00:00 01:00")


@settings(derandomize=True, deadline=None, max_examples=20)
@given(
    st.datetimes(
        min_value=datetime(1900, 1, 2),  # noqa: DTZ001 - Hypothesis wants naive bounds
        max_value=datetime(9998, 12, 30),  # noqa: DTZ001 - likewise
        timezones=st.timezones(),
    )
)
def test_every_instant_comes_back_as_it_was_sent(moment: datetime) -> None:
    sent = moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
    assert TIMESTAMP.validate_python(sent) == moment.astimezone(UTC)


@pytest.mark.parametrize("value", ["1900-01-01", "2024-02-29", "2026-12-31", "9998-12-31"])
def test_a_date_is_a_day_of_the_calendar(value: str) -> None:
    day = DATE.validate_python(value)
    assert DATE.dump_json(day) == f'"{value}"'.encode()


@pytest.mark.parametrize(
    "value",
    [
        *("", "2026", "2026-02", "2026-02-29", "2026-13-01", "2026-2-3", "20260228", "2026-W09-6"),
        *("2026-02-28T00:00:00Z", "2026-02-28 ", " 2026-02-28", "2026-02-28\n", "28.02.2026"),
        *(
            "1899-12-31",
            "9999-01-01",
            "0000-00-00",
            "\u0662\u0660\u0662\u0666-02-28",
            20260228,
            0,
            True,
            None,
            [],
        ),
    ],
)
def test_what_is_no_date_is_refused(value: object) -> None:
    assert refuses(DATE, value)


@pytest.mark.parametrize("value", [1, 2**53 - 1, 1.0, 9007199254740991.0])
def test_an_id_is_an_integer_that_every_client_reads_exactly(value: float) -> None:
    adapter: TypeAdapter[int] = TypeAdapter(Id)
    assert adapter.validate_python(value, strict=True) == value
    assert type(adapter.validate_python(value, strict=True)) is int


@pytest.mark.parametrize(
    "value", [0, -1, 2**53, 2**63, 10**400, 1.5, 0.0, 1e300, "1", "", True, False, None, [1]]
)
def test_what_is_no_id_is_refused(value: object) -> None:
    assert refuses(TypeAdapter(Id), value)


@pytest.mark.parametrize("kind", [UrlInt, UrlId])
@pytest.mark.parametrize(
    "value", ["", "+1", "-1", "01", "1.0", "1e3", " 1", "1 ", "\u0661", "\u00b2", "1_0"]
)
def test_a_number_in_a_url_has_one_spelling(kind: Any, value: str) -> None:
    assert refuses(TypeAdapter(kind), value)


@pytest.mark.parametrize("value", ["1", "0", "yes", "on", "", " true", "t", "null"])
def test_a_boolean_in_a_url_is_true_or_false(value: str) -> None:
    adapter: TypeAdapter[bool] = TypeAdapter(UrlBool)
    assert refuses(adapter, value)
    spelled = ("true", "false", "True", "False", "TRUE", "fAlSe")
    assert [adapter.validate_python(text) for text in spelled] == [True, False] * 3


class _Named(Input):
    name: str


class _Rename(Patch):
    name: str | MISSING = MISSING
    note: str | MISSING | None = MISSING


class _Row:
    name = "old"
    note: str | None = "old"


def test_a_patch_changes_what_was_sent_and_nothing_else() -> None:
    row = _Rename.model_validate({"note": None}).apply_to(_Row())
    assert (row.name, row.note) == ("old", None)
    row = _Rename.model_validate({"name": "new", "note": "new"}).apply_to(_Row(), "name")
    assert (row.name, row.note) == ("new", "old")
    assert _Rename.model_validate({}).changes() == {}


def test_null_clears_only_what_can_be_null() -> None:
    assert refuses(TypeAdapter(_Rename), {"name": None})
    assert _Rename.model_validate({"note": None}).changes() == {"note": None}


def test_an_input_takes_no_other_members_and_an_output_does() -> None:
    class Named(Output):
        name: str

    assert refuses(TypeAdapter(_Named), {"name": "a", "other": 1})
    assert Named.model_validate({"name": "a", "other": 1}).name == "a"

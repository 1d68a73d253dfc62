"""todo.txt, a task on each line, as https://github.com/todotxt/todo.txt has it.

Beyond that ``due:``, ``t:`` (the start), ``pri:`` (the priority of a completed task), ``status:``,
``id:`` and ``p:`` (the parent) are understood, which many programs write, wherever they are in a
line; of several the last one counts. Other words stay in the title. Descriptions and the trash have
no place in it.

A title can have such words too. A line of this service has two spaces behind the title, and an
``id:`` among what follows; then words of the title do not count, unless another program has made
one space of the two.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO

from .export import Export
from .lines import Projects, lines_of, put_start
from .records import Found, LeftOut, Place, Record, Values

MEDIA_TYPE = "text/plain"
EXTENSION = "txt"
EXAMPLE = "(A) 2026-02-01 Call the plumber +Kitchen @phone due:2026-03-01\n"
HAS_TRASH = False
LOST = {
    **dict.fromkeys(("start_at", "created_at", "completed_at", "cancelled_at"), "the time of day"),
    **dict.fromkeys(("tags", "projects"), "all but the names, spaces in those"),
    **dict.fromkeys(("description", "position", "version", "started_at", "updated_at"), ""),
    **dict.fromkeys(("comments", "recurrences", "trash", "fractions of a second"), ""),
}

PRIORITIES = {"A": "urgent", "B": "high", "C": "medium", "D": "low"}
LETTERS = {priority: letter for letter, priority in PRIORITIES.items()}
DATE = r"\d{4}-\d\d-\d\d"
HEAD = re.compile(
    rf"(?P<done>x )?(?:\((?P<priority>[A-Z])\) )?(?P<first>{DATE} )?(?(done)(?P<second>{DATE} )?)",
    re.ASCII,
)
NAMES = {"due_on": "due", "due_at": "due", "start_at": "t", "parent_id": "p", "project_id": "+"}
"""The words of members that have another name here."""
KEY = re.compile(r"(due|t|pri|status|id|p):(\S+)")
NO_TITLE = re.compile(rf"[+@]\S+|{KEY.pattern}")
IN_KEY = {
    "due": re.compile(rf"{DATE}(T[\d:.]+Z)?", re.ASCII),
    "t": re.compile(DATE, re.ASCII),
    "pri": re.compile(r"[A-Z]", re.ASCII),
    "status": re.compile("in_progress|cancelled"),
    "id": re.compile(r"\d{1,15}", re.ASCII),
    "p": re.compile(r"\d{1,15}", re.ASCII),
}


def write(export: Export) -> Iterator[bytes]:
    """Write the live tasks, and without any a blank line, since no byte is no file."""
    projects = export.names("projects")
    text = ""
    for portion in export.portions("tasks"):
        text = "".join(f"{_line(task, projects)}\n" for task in portion)
        yield text.encode()
    if not text:
        yield b"\n"


def _line(task: Values, projects: dict[int, str]) -> str:
    letter = LETTERS.get(task["priority"])
    is_over = task["status"] in {"done", "cancelled"}
    ended = task["completed_at"] or task.get("cancelled_at")
    words = []
    if is_over:
        words += ["x", f"{ended:%Y-%m-%d}"]
    elif letter:
        words += [f"({letter})"]
    # With a second space behind the title; see above.
    words += [f"{task['created_at']:%Y-%m-%d}", f"{task['title']} "]
    if (project_id := task.get("project_id")) is not None:
        words += [f"+{_word(projects[project_id])}"]
    words += [f"@{_word(tag)}" for tag in task["tags"]]
    if task["due_on"]:
        words += [f"due:{task['due_on']}"]
    elif task["due_at"]:
        words += [f"due:{task['due_at']:%Y-%m-%dT%H:%M:%SZ}"]
    if task["start_at"]:
        words += [f"t:{task['start_at']:%Y-%m-%d}"]
    if letter and is_over:
        words += [f"pri:{letter}"]
    if task["status"] in {"in_progress", "cancelled"}:
        words += [f"status:{task['status']}"]
    words += [f"id:{task['id']}"]
    if task["parent_id"]:
        words += [f"p:{task['parent_id']}"]
    return " ".join(words)


def _word(name: str) -> str:
    return "_".join(name.split())


def read(file: BinaryIO) -> Iterator[Found]:
    """Read the tasks."""
    projects = Projects()
    for number, line in lines_of(file):
        if line.strip():
            yield from _task(line.strip(), Place(number, names=NAMES), projects)


def _task(line: str, place: Place, projects: Projects) -> Iterator[Found]:
    head = HEAD.match(line)
    assert head is not None  # noqa: S101 - it matches nothing too
    is_done, letter = bool(head["done"]), head["priority"]
    dates = [date.strip() for date in (head["first"], head["second"]) if date]
    values: Values = {"status": "done" if is_done else "todo", "tags": []}
    text = line[head.end() :]
    title, words = _split(text)
    in_title: list[str] = []
    seen = {"pri"} if letter else set()
    for word in reversed(words):
        name = word[1:]
        key = KEY.fullmatch(word)
        if key and IN_KEY[key[1]].fullmatch(key[2]):
            if key[1] not in seen:
                seen.add(key[1])
                letter = key[2] if key[1] == "pri" else letter
                values |= _member(key[1], key[2])
                continue
            detail = f"Another {key[1]}: is read; this one stays in the title"
            yield LeftOut(place, "repeated", detail)
        elif word[0] == "+" and name:
            if "project_id" not in values:
                yield from projects.put(values, name, place)
                continue
            detail = f"A task is in one project, and not in {name}, which stays in the title"
            yield LeftOut(place, "second_project", detail)
        elif word[0] == "@" and name and "," not in name:
            values["tags"].append(name)
            continue
        in_title.append(word)
    if is_done and values["status"] == "in_progress":
        values["status"] = "done"
        detail = "A task behind an x is done; its status: is left out"
        yield LeftOut(place, "does_not_fit", detail, ("status",))
    values["title"] = " ".join([*title, *reversed(in_title)]) or text
    yield from put_start(values, values.pop("start_at", None), place)
    if letter:
        values["priority"] = PRIORITIES.get(letter, "low")
        if letter not in PRIORITIES:
            detail = f"The priority {letter} is low here"
            yield LeftOut(place, "priority", detail, (letter,))
    values |= _stamps(dates, values["status"], is_done=is_done)
    yield Record("tasks", values, place, is_foreign=True)


def _split(text: str) -> tuple[list[str], list[str]]:
    """Return the title where two spaces end it, and the words that are left to be read."""
    title, _, rest = text.rpartition("  ")
    words = rest.split(" ")
    has_id = any(word.startswith("id:") for word in words)
    if title.strip() and has_id and all(map(NO_TITLE.fullmatch, words)):
        return [title.strip()], words
    return [], text.split()


def _stamps(dates: list[str], status: str, *, is_done: bool) -> Values:
    """Return the times of a task; of one that is done, a date that is alone is that of its end."""
    names = ["created_at"]
    if is_done:
        names.insert(0, "cancelled_at" if status == "cancelled" else "completed_at")
    return {name: f"{date}T00:00:00Z" for name, date in zip(names, dates, strict=False)}


def _member(key: str, value: str) -> Values:
    match key:
        case "due":
            return {"due_at" if "T" in value else "due_on": value}
        case "t":
            return {"start_at": f"{value}T00:00:00Z"}
        case "status":
            return {"status": value}
        case "id":
            return {"id": int(value)}
        case "p":
            return {"parent_id": int(value)}
    return {}

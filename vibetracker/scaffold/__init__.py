"""Writes the folder of a new feature: what ``vibetracker new`` does.

The templates use everything that some feature could need; ruff then takes out what this one does
not, and lays out the rest.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from string import Template
from textwrap import indent
from typing import Any

import vibetracker.features
from vibetracker.core.db.model import Base
from vibetracker.core.discovery import RESERVED, Feature, discover, sources

from .fields import Field, Filter, fields_of, kinds_of
from .names import TEMPLATES, Names, RefusedError, capital, names_of, words

__all__ = ["RefusedError", "write"]

DEFAULT_FIELDS = ("title:str", "description:text?")


def write(
    plural: str,
    fields: Sequence[str] = (),
    *,
    singular: str | None = None,
    about: str | None = None,
) -> Path:
    """Write a feature and give its folder; ``RefusedError`` when nothing was written."""
    if find_spec("ruff") is None:
        raise RefusedError("ruff is not installed, which lays the code out; install the dev extra")
    names = names_of(plural, singular)
    features = discover()
    _refuse_taken(names, features)
    about = f"{capital(words(plural))}." if about is None else about
    if not about.isprintable() or not about.strip() or set(about) & set('"\\$'):
        raise RefusedError("what it is about: that is one line of text without quotes")
    about = about.strip()
    if about[-1] not in ".!?":
        about += "."
    texts = _texts(names, about, fields_of(fields or DEFAULT_FIELDS, names, kinds_of(features)))
    (root,) = map(Path, vibetracker.features.__path__)
    # Beside the others, so that it appears whole and at once; its dot keeps it from being found.
    with tempfile.TemporaryDirectory(dir=root, prefix=f".{plural}-") as staging:
        folder = Path(staging) / plural
        for template in _templates():
            name = str(template.relative_to(TEMPLATES).with_suffix(".py"))
            file = folder / name.replace("test_feature", f"test_{plural}")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(_render(template.read_text(), {**texts, **texts[name]}))
        # Told what is ours, since the folder is not yet where its imports say.
        ours = 'lint.isort.known-first-party = ["vibetracker"]'
        _ruff("check", "--select", "F401", "--fix", str(folder))
        _ruff("check", "--select", "I", "--fix", "--config", ours, str(folder))
        _ruff("format", str(folder))
        folder.chmod(0o755)
        # Nothing but caches can be there, which what is written before leaves behind.
        shutil.rmtree(root / plural, ignore_errors=True)
        return folder.rename(root / plural)


def _templates() -> list[Path]:
    return sorted(TEMPLATES.rglob("*.py-tpl"))


def _ruff(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "ruff", *arguments, "--quiet", "--no-cache"], check=True)  # noqa: S603 - our own arguments


def _refuse_taken(names: Names, features: Iterable[Feature]) -> None:
    name = names.plural
    if name in sources():
        raise RefusedError(f"the feature {name!r}: there is one of this name")
    if name in RESERVED:
        raise RefusedError(f"the feature {name!r}: /{name} belongs to the application itself")
    if name in Base.metadata.tables:
        raise RefusedError(f"the feature {name!r}: there is a table of this name")
    taken = {operation.unique_id for feature in features for operation in feature.operations}
    for operation in (f"list_{name}", f"create_{names.singular}", f"get_{names.singular}"):
        if operation in taken:
            raise RefusedError(f"the feature {name!r}: there is an operation {operation!r}")


def _texts(names: Names, about: str, fields: Sequence[Field]) -> dict[str, Any]:
    """Give what stands in the slots, and under the name of a file those that it alone has."""
    stored = [field for field in fields if field.stored]
    sort_keys = {
        **{field.name: field.key for field in fields if field.key},
        **{name: f"{names.model}.{name}" for name in ("created_at", "updated_at", "id")},
    }
    indexed = ["created_at", "updated_at", *(field.name for field in fields if field.indexed)]
    filters = {name: slot for field in fields for name, slot in field.filters.items()}
    broken = [(field.name, *case) for field in fields for case in field.broken]
    all_stored = len(stored) == len(fields)
    left_out = ", ".join(repr(field.name) for field in fields if not field.stored)
    applied = [names.singular, *(f'"{field.name}"' for field in stored if not all_stored)]
    files = [str(file.relative_to(TEMPLATES).with_suffix(".py")) for file in _templates()]
    rows = f"{names.model}Read.select({names.model})"
    return {
        **names.in_templates(),
        "about": about,
        "definitions": _blocks(field.definition for field in fields),
        "columns": _lines(field.column for field in sorted(fields, key=lambda it: not it.stored)),
        "indexes": ", ".join(f'Index(None, "{name}")' for name in indexed),
        "types": _lines(field.type for field in fields),
        "create": _lines(f"{field.name}: {field.create}" for field in fields),
        "update": _lines(f"{field.name}: {field.update}" for field in fields),
        "read": _lines(f"{field.name}: {field.read}" for field in fields),
        "sort_keys": _lines(f"{name}=Key({key})," for name, key in sort_keys.items()),
        "sort_parameters": ", ".join(f'"{name}", "-{name}"' for name in sort_keys),
        "filters": _filters(names, filters),
        "filters_parameter": f"filters: Annotated[{names.model}Filters, Query()]," * bool(filters),
        "rows": f"filters.narrow({rows})" if filters else rows,
        "before_create": _lines(field.before_create for field in fields),
        "after_create": _lines(field.after_create for field in fields),
        "before_update": _lines(field.before_update for field in fields),
        "after_update": _lines(field.after_update for field in fields),
        "dumped": "" if all_stored else f"exclude={{{left_out}}}",
        "applied": ", ".join(applied),
        "required": _lines(field.required for field in fields),
        "samples": ", ".join(f'"{field.name}": {field.sample}' for field in fields),
        "changes": ", ".join(f'"{field.name}": {field.changed}' for field in fields),
        "broken": ", ".join(f'("{n}", {value}, "{at}", "{code}")' for n, value, at, code in broken),
        "defaults_test": _defaults_test(names, fields),
        "filters_test": _filters_test(names, filters),
        "field_tests": _blocks(field.test for field in fields),
        **{
            file: {"imports": _lines(field.imports.get(file, "") for field in fields)}
            for file in files
        },
    }


def _lines(parts: Iterable[str]) -> str:
    return "\n".join(dict.fromkeys(filter(None, parts)))


def _blocks(parts: Iterable[str]) -> str:
    return "\n\n\n".join(filter(None, parts))


def _filters(names: Names, filters: Mapping[str, Filter]) -> str:
    if not filters:
        return ""
    fields = [
        f"    {name}: Annotated[\n        {slot.type}, Where({slot.where}), "
        f'Field(description="{slot.description}")\n    ] = {slot.default}'
        for name, slot in filters.items()
    ]
    head = f'class {names.model}Filters(Filters):\n    """What narrows the list down."""\n'
    return "\n".join([head, *fields, "", ""])


def _defaults_test(names: Names, fields: Sequence[Field]) -> str:
    absent = [f'"{field.name}": {field.absent}' for field in fields if field.absent is not None]
    if not absent:
        return ""
    given = [f'"{field.name}": {field.sample}' for field in fields if field.absent is None]
    return f"""\
def test_what_is_left_out_has_its_default(client: TestClient) -> None:
    response = client.post("/{names.plural}", json={{{", ".join(given)}}})
    assert response.status_code == 201, response.text
    {names.singular} = response.json()
    defaults: Json = {{{", ".join(absent)}}}
    assert {{name: {names.singular}[name] for name in defaults}} == defaults


"""


def _filters_test(names: Names, filters: Mapping[str, Filter]) -> str:
    cases = [f'("{slot.finds}", 1)' for slot in filters.values() if slot.finds]
    cases += [f'("{slot.misses}", 0)' for slot in filters.values() if slot.misses]
    if not cases:
        return ""
    return f"""\
@pytest.mark.parametrize(("query", "count"), [{", ".join(cases)}])
def test_filters_narrow_the_list_down(client: TestClient, query: str, count: int) -> None:
    make(client)
    assert len(client.get(f"/{names.plural}?{{query}}").json()["items"]) == count


"""


def _render(template: str, texts: Mapping[str, Any]) -> str:
    """Fill a template; a line that is nothing but a slot becomes the lines of it, or none."""
    lines = []
    for line in template.splitlines():
        if slot := re.fullmatch(r"( *)\$(\w+)", line):
            lines += [indent(texts[slot[2]], slot[1])] if texts[slot[2]] else []
        else:
            lines.append(Template(line).substitute(texts))
    return "\n".join(lines) + "\n"

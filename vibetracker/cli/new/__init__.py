"""Writes the folder of a new feature: what ``vibetracker new`` does.

The templates use everything that some feature could need; ruff then takes out what this one does
not, and lays out the rest.
"""

import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from textwrap import indent

from ruff import find_ruff_bin  # type: ignore[import-untyped] # it has no stubs

import vibetracker.features
from vibetracker.cli.refusals import UnusableError
from vibetracker.core.api.paging import PageQuery
from vibetracker.core.db.model import Base
from vibetracker.core.discovery import RESERVED, discover, sources

from .fields import Field, field_of, kinds_of
from .names import TEMPLATES, names_of

OWN_PARAMETERS = (*PageQuery.model_fields, "sort", "fields", "dry_run", "updated_after")
"""The query parameters that the list of every new feature has."""


def write(plural: str, asked: Sequence[str], *, singular: str | None, about: str | None) -> Path:
    """Write a feature and return its folder; ``UnusableError`` when nothing was written."""
    names = names_of(plural, singular)
    taken = {operation.unique_id for feature in discover() for operation in feature.operations}
    taken |= {*sources(), *RESERVED, *Base.metadata.tables}
    if {plural, f"list_{plural}", f"get_{names['singular']}"} & taken:
        raise UnusableError(
            f"the feature {plural!r}: there is a feature, a table or an operation of this name, or "
            "its path belongs to the application itself"
        )
    about = (names["Nouns"] if about is None else about).strip()
    if not about or not about.isprintable() or set(about) & set('"\\$'):
        raise UnusableError("what it is about: that is one line of text without quotes")
    names["about"] = about if about[-1] in ".!?" else f"{about}."
    kinds = kinds_of(sources())
    fields = [field_of(it, names, kinds) for it in asked or ("title:str", "description:text?")]
    filters = "\n".join(field["filters"] for field in fields)
    parameters = re.findall(r"^(\w+):", filters, re.MULTILINE)
    keys = ["default", *(field["name"] for field in fields if field["key"])]
    for group in ([field["name"] for field in fields], [*OWN_PARAMETERS, *parameters], keys):
        for name, count in Counter(group).items():
            if count > 1:
                raise UnusableError(f"the field or filter {name!r}: there are two of this name")
    names |= _inline(names, fields)
    (root,) = map(Path, vibetracker.features.__path__)
    # Beside the others, so that it appears whole and at once; its dot keeps it from being found.
    with tempfile.TemporaryDirectory(dir=root, prefix=f".{plural}-") as staging:
        folder = Path(staging) / plural
        for template in TEMPLATES.rglob("*.py-tpl"):
            name = template.relative_to(TEMPLATES).with_suffix(".py")
            file = folder / str(name).replace("test_feature", f"test_{plural}")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(_render(template.read_text(), names, fields))
        # Named, since ruff cannot find the package from a folder outside of it.
        ours = 'lint.isort.known-first-party = ["vibetracker"]'
        _ruff("check", "--select", "F401", "--fix", str(folder))
        _ruff("check", "--select", "I", "--fix", "--config", ours, str(folder))
        _ruff("format", str(folder))
        folder.chmod(0o755)
        # Nothing but the caches of a deleted feature can be there.
        shutil.rmtree(root / plural, ignore_errors=True)
        return folder.rename(root / plural)


def _ruff(*arguments: str) -> None:
    subprocess.run([find_ruff_bin(), *arguments, "--quiet", "--no-cache"], check=True)  # noqa: S603 - our own arguments


def _inline(names: Mapping[str, str], fields: Sequence[Field]) -> dict[str, str]:
    """Return the code of the slots in the middle of lines."""
    stored = [field["name"] for field in fields if not field["after_create"]]
    others = ", ".join(f'"{field["name"]}"' for field in fields if field["after_create"])
    return {
        "defined": ", ".join([names["model"], *filter(None, (it["defines"] for it in fields))]),
        **{slot: max(field[slot] for field in fields) for slot in ("context", "live", "gone")},
        "dumped": f"exclude={{{others}}}" if others else "",
        "applied": ", ".join([names["singular"], *(f'"{name}"' for name in stored if others)]),
    }


def _render(template: str, names: Mapping[str, str], fields: Sequence[Field]) -> str:
    """Fill a template; a line that is nothing but a slot becomes what the fields have for it."""
    lines = []
    for line in template.splitlines():
        if slot := re.fullmatch(r"( *)\$(\w+)", line):
            code = dict.fromkeys(field[slot[2]] for field in fields)
            lines += [indent(text, slot[1]) for text in code if text]
        else:
            lines.append(Template(line).substitute(names))
    return "\n".join(lines) + "\n"

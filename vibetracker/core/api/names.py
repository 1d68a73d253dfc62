"""Names that are unique whatever their case."""

import unicodedata

from sqlalchemy import select
from sqlalchemy.orm import Mapped, Session, mapped_column, validates

from vibetracker.core.api.text import sortable
from vibetracker.core.db.model import Resource
from vibetracker.core.db.types import OrderedText


def key_of(name: str) -> str:
    """Return what names have in common that differ only in case (Unicode casefold).

    Case is folded in decomposed text (Unicode 3.13, canonical caseless matching): a composed
    capital such as that of U+0390 folds to other characters than the small letter does.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


class Named(Resource):
    """A resource with a name, by which it is found, searched and sorted.

    That ``key`` is unique is declared by the model, with the problem of a name that is taken.
    """

    __abstract__ = True

    name: Mapped[str] = mapped_column(OrderedText)
    key: Mapped[str] = mapped_column(OrderedText)
    """The name's casefold; lower() of the databases would differ from each other."""
    search_key: Mapped[str] = mapped_column(OrderedText)
    """What the name is searched and sorted by."""

    @validates("name")
    def _fold(self, _: str, name: str) -> str:
        self.key, self.search_key = key_of(name), sortable(name)
        return name


def holder_of(session: Session, model: type[Named], name: str, *, but: Named | None) -> int | None:
    """Return the id of the row that has this name, unless it is ``but`` itself."""
    holder = session.scalar(select(model.id).where(model.key == key_of(name)))
    return None if but is not None and holder == but.id else holder

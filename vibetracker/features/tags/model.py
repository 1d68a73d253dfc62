"""The tags table."""

import unicodedata

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, validates

from vibetracker.core.api.text import sortable
from vibetracker.core.db.model import Resource
from vibetracker.core.db.types import OrderedText

from .problems import TagNameTaken


def key_of(name: str) -> str:
    """Return what names have in common that differ only in case (Unicode casefold).

    Case is folded in decomposed text (Unicode 3.13, canonical caseless matching): a composed
    capital such as that of U+0390 folds to other characters than the small letter does.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


class Tag(Resource):
    """A label with a name that is unique whatever its case."""

    __tablename__ = "tags"

    name: Mapped[str] = mapped_column(OrderedText)
    key: Mapped[str] = mapped_column(OrderedText)
    """The name's casefold; lower() of the databases would differ from each other."""
    search_key: Mapped[str] = mapped_column(OrderedText)
    """What the name is searched and sorted by."""
    color: Mapped[str | None] = mapped_column(default=None)
    description: Mapped[str] = mapped_column(default="")

    __table_args__ = (
        UniqueConstraint("key", info={"problem": TagNameTaken}),
        Index(None, "search_key", "id"),
        Index(None, "created_at"),
        Index(None, "updated_at"),
        Resource.__table_args__,
    )

    @validates("name")
    def _fold(self, _: str, name: str) -> str:
        self.key, self.search_key = key_of(name), sortable(name)
        return name

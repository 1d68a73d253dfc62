"""Tags for tests."""

from factory.declarations import Sequence

from vibetracker.features.tags.model import Tag
from vibetracker.testing import Factory


class TagFactory(Factory[Tag]):
    """A tag with a name of its own."""

    class Meta:
        model = Tag

    name = Sequence(lambda n: f"tag {n}")  # type: ignore[no-untyped-call] # factory-boy is untyped

"""Projects for tests."""

from factory.declarations import Sequence

from vibetracker.features.projects.model import Project
from vibetracker.testing import Factory


class ProjectFactory(Factory[Project]):
    """A project with a name of its own."""

    class Meta:
        model = Project

    name = Sequence(lambda n: f"project {n}")  # type: ignore[no-untyped-call] # factory-boy is untyped

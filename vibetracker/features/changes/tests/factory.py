"""Changes for tests."""

from vibetracker.features.changes.model import Action, Entry
from vibetracker.testing import Factory


class EntryFactory(Factory[Entry]):
    """A change without members, written in a transaction of its own."""

    class Meta:
        model = Entry

    request_id = "5f2b3c1d"
    resource = "tags"
    resource_id = 1
    action = Action.UPDATED
    version = 2
    changes = "{}"

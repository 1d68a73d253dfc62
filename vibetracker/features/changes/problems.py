"""The problems that only changes have."""

from http import HTTPStatus

from vibetracker.core.http.problems import Problem


class ChangesExpired(Problem):
    """Changes behind this cursor are older than those that are kept, or it is of a lost journal.

    Take the cursor of `GET /changes?after=now`, then read the lists anew, and go on from that
    cursor. In the other order what changes meanwhile would be missed.
    """

    title = "The changes have expired"
    status = HTTPStatus.GONE


class ChangeOvertaken(Problem):
    """What the change has made has been changed again; `members` has what.

    Revert the later changes first, or change the resource itself.
    """

    title = "The change has been overtaken"
    status = HTTPStatus.CONFLICT


class ChangeIrrevocable(Problem):
    """The change cannot be taken back: what was deleted for good stays deleted."""

    title = "The change cannot be reverted"
    status = HTTPStatus.CONFLICT

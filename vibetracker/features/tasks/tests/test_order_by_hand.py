"""The order that tasks are put in by hand, among the siblings under one parent."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from vibetracker.features.tasks import ranking

from .calls import Json, everything, faults, ids, make, read, walk
from .factory import TaskFactory


def move(client: TestClient, task_id: int, **place: object) -> Json:
    response = client.post(f"/tasks/{task_id}/move", json=place)
    assert response.status_code == 200, response.text
    task: Json = response.json()
    assert response.headers["etag"] == f'"{task["version"]}"'
    return task


def by_hand(client: TestClient, **params: Any) -> list[int]:
    return ids(client, sort="position", **params)


def siblings(parents: int | None, count: int = 4) -> list[int]:
    return [task.id for task in TaskFactory.create_batch(count, parent_id=parents)]


def test_a_new_task_is_the_last_among_its_siblings(client: TestClient) -> None:
    parent, other = make(client), make(client)
    move(client, other["id"], to="first")
    children = [make(client, parent_id=parent["id"])["id"] for _ in range(3)]
    top = make(client)
    assert by_hand(client, is_subtask="false") == [other["id"], parent["id"], top["id"]]
    assert by_hand(client, parent_id=parent["id"]) == children


MOVES: list[tuple[int, Json, list[int]]] = [
    (4, {"to": "first"}, [4, 1, 2, 3]),
    (1, {"to": "last"}, [2, 3, 4, 1]),
    (4, {"before_id": 2}, [1, 4, 2, 3]),
    (1, {"after_id": 2}, [2, 1, 3, 4]),
    (4, {"before_id": 1}, [4, 1, 2, 3]),
    (1, {"before_id": 4}, [2, 3, 1, 4]),
    (1, {"after_id": 4}, [2, 3, 4, 1]),
    (4, {"after_id": 1}, [1, 4, 2, 3]),
]


@pytest.mark.parametrize(
    ("moved", "place", "order", "nested"),
    [
        *((*move, False) for move in MOVES),
        *((*move, True) for move in MOVES[:4]),
        *(pytest.param(*move, True, marks=pytest.mark.slow) for move in MOVES[4:]),
    ],
)
def test_a_move_writes_the_moved_task_alone(
    client: TestClient, moved: int, place: Json, order: list[int], *, nested: bool
) -> None:
    parent_id = TaskFactory.create().id if nested else None
    shift = 1 if nested else 0
    siblings(parent_id)
    before = {task["id"]: task for task in walk(client)}
    place = {name: value if name == "to" else value + shift for name, value in place.items()}
    task = move(client, moved + shift, **place)
    assert task["version"] == 2
    assert task["updated_at"] > task["created_at"]
    within: Json = {"parent_id": parent_id} if nested else {}
    assert by_hand(client, **within) == [number + shift for number in order]
    assert by_hand(client, **within) == ids(client, sort="-position", **within)[::-1]
    after = {task["id"]: task for task in walk(client)}
    assert after.pop(task["id"]) == task
    del before[task["id"]]
    assert after == before


@pytest.mark.parametrize(
    ("moved", "place"),
    [
        (1, {"to": "first"}),
        (4, {"to": "last"}),
        (2, {"before_id": 3}),
        (2, {"after_id": 1}),
        (2, {"after_id": 1, "parent_id": None}),
    ],
)
def test_a_move_to_where_the_task_is_changes_nothing(
    client: TestClient, moved: int, place: Json
) -> None:
    siblings(None)
    before = everything(client)
    assert move(client, moved, **place)["version"] == 1
    assert everything(client) == before


@pytest.mark.parametrize(
    ("place", "order"),
    [
        ({"to": "first"}, [9, 2, 3, 4, 5]),
        ({"to": "last"}, [2, 3, 4, 5, 9]),
        ({"before_id": 4}, [2, 3, 9, 4, 5]),
        ({"after_id": 4}, [2, 3, 4, 9, 5]),
    ],
)
def test_a_task_can_be_moved_to_a_place_under_another_parent(
    client: TestClient, place: Json, order: list[int]
) -> None:
    parent = TaskFactory.create().id
    siblings(parent)
    old_parent = TaskFactory.create().id
    siblings(old_parent)
    moved = move(client, 9, parent_id=parent, **place)
    assert (moved["parent_id"], moved["version"]) == (parent, 2)
    assert by_hand(client, parent_id=parent) == order
    assert by_hand(client, parent_id=old_parent) == [7, 8, 10]
    assert {task["version"] for task in walk(client) if task["id"] != 9} == {1}
    assert move(client, 9, to="first", parent_id=None)["parent_id"] is None
    assert by_hand(client, is_subtask="false") == [9, parent, old_parent]


def test_a_task_can_be_the_first_child(client: TestClient) -> None:
    siblings(None, 3)
    for task_id, place in ((2, "first"), (3, "last")):
        assert move(client, task_id, to=place, parent_id=1)["parent_id"] == 1
    assert by_hand(client, parent_id=1) == [2, 3]


def test_the_place_is_next_to_the_sibling_whatever_was_between_them(client: TestClient) -> None:
    """A task in the trash has its position still, and has it again when it is restored."""
    siblings(None, 3)
    client.delete("/tasks/2")
    move(client, 3, after_id=1)
    assert by_hand(client) == [1, 3]
    client.post("/tasks/2/restore")
    assert by_hand(client)[0] == 1
    assert sorted(by_hand(client)) == [1, 2, 3]


NO_PLACES: list[tuple[Json, tuple[str, str]]] = [
    ({}, ("", "one_place")),
    ({"parent_id": 6}, ("", "one_place")),
    ({"to": "last", "before_id": 2}, ("", "one_place")),
    ({"after_id": 3, "before_id": 2}, ("", "one_place")),
    ({"after_id": 3, "before_id": 2, "to": "first"}, ("", "one_place")),
    ({"to": "middle"}, ("/to", "literal_error")),
    ({"to": None}, ("/to", "literal_error")),
    ({"before_id": None}, ("/before_id", "int_type")),
    ({"before_id": "2"}, ("/before_id", "int_type")),
    ({"after_id": True}, ("/after_id", "int_type")),
    ({"after_id": 0}, ("/after_id", "greater_than_equal")),
    ({"after_id": 2**53}, ("/after_id", "less_than_equal")),
    ({"before_id": 1}, ("/before_id", "not_a_sibling")),
    ({"before_id": 77}, ("/before_id", "not_a_sibling")),
    ({"after_id": 4}, ("/after_id", "not_a_sibling")),
    ({"after_id": 7}, ("/after_id", "not_a_sibling")),
    ({"before_id": 2, "parent_id": 6}, ("/before_id", "not_a_sibling")),
    ({"to": "first", "parent_id": 77}, ("/parent_id", "unknown_parent")),
    ({"to": "first", "parent_id": "6"}, ("/parent_id", "int_type")),
    ({"to": "first", "position": "8"}, ("/position", "extra_forbidden")),
]


def test_a_place_that_is_none_breaks_a_rule(client: TestClient, subtests: pytest.Subtests) -> None:
    siblings(None)
    client.delete("/tasks/4")
    TaskFactory.create()
    TaskFactory.create()
    TaskFactory.create(parent_id=6)
    before = everything(client)
    for place, fault in NO_PLACES:
        with subtests.test(str(place)):
            response = client.post("/tasks/1/move", json=place)
            assert fault in faults(response)
            assert everything(client) == before


def test_tasks_of_one_position_are_ordered_by_id_and_can_be_parted(client: TestClient) -> None:
    """Two concurrent requests may set the same position."""
    for _ in range(4):
        TaskFactory.create(position="800000000000")
    assert by_hand(client) == [1, 2, 3, 4]
    assert ids(client, sort="-position") == [1, 2, 3, 4]
    assert by_hand(client, limit=1) == [1, 2, 3, 4]
    move(client, 4, after_id=1)
    assert by_hand(client) == [1, 4, 2, 3]
    assert {task["id"]: task["version"] for task in walk(client)} == {1: 1, 4: 2, 2: 2, 3: 2}
    move(client, 1, before_id=3)
    assert by_hand(client) == [4, 2, 1, 3]
    move(client, 3, to="first")
    assert by_hand(client) == [3, 4, 2, 1]


def test_a_move_between_two_of_one_position_leaves_the_others_alone(client: TestClient) -> None:
    siblings(None, 3)
    tied = TaskFactory.create()
    other = TaskFactory.create(position=tied.position)
    siblings(None, 3)
    TaskFactory.create(trashed=True)
    assert move(client, 1, after_id=tied.id)["version"] == 2
    assert by_hand(client) == [2, 3, tied.id, 1, other.id, 6, 7, 8]
    versions = {task["id"]: task["version"] for task in walk(client, deleted="include")}
    assert [task_id for task_id, version in versions.items() if version > 1] == [other.id, 1]


def test_next_siblings_are_spread_when_there_is_no_room_left_between_two(
    client: TestClient,
) -> None:
    """Only then does a move write other rows; each of them is one version further."""
    digits = "8" * (ranking.LONGEST - 2)
    for position in (digits, f"{digits}1"):
        TaskFactory.create(position=position)
    siblings(None, 5)
    order = [1, 2]
    before = {task["id"]: task["version"] for task in walk(client)}
    for moved in (3, 4, 5, 6, 7):
        # Every time into the upper half of what is left of the gap.
        task = move(client, moved, before_id=2)
        order.insert(-1, moved)
        others = {task["id"]: task for task in walk(client) if task["id"] != moved}
        spread = {task_id for task_id, task in others.items() if task["version"] > before[task_id]}
        assert spread in (set(), {2})
        if spread:
            assert others[2]["version"] == before[2] + 1
            break
        before[moved] = task["version"]
    else:
        pytest.fail("there was room for all of them")
    assert by_hand(client)[: len(order)] == order
    assert len(read(client, moved)["position"]) == ranking.WHOLE
    assert read(client, moved)["version"] == 2


@pytest.mark.parametrize("side", ["before", "after", "both"])
def test_one_gap_can_be_split_1500_times(side: str) -> None:
    """As the operation does it, without its 1,500 requests."""
    ranks = [ranking.behind(None), ranking.behind(ranking.behind(None))]
    names = [*"az"]
    index = 1
    for number in range(1500):
        rank = ranking.between(ranks[index - 1], ranks[index])
        if rank is None:
            rank, *others = ranking.spread(ranks[index - 1], ranks[index:])
            ranks[index : index + len(others)] = others
        ranks.insert(index, rank)
        names.insert(index, str(number))
        if side == "after" or (side == "both" and number % 2):
            index += 1
    assert ranks == sorted(set(ranks))
    assert max(map(len, ranks)) <= ranking.LONGEST
    newest = [name for name in names if name.isdigit()]
    if side != "both":
        assert newest == sorted(newest, key=int, reverse=side == "before")


def test_there_is_room_for_many_at_both_ends() -> None:
    first = last = ranking.between(None, None)
    ranks = [first]
    for _ in range(3000):
        first, last = ranking.between(None, first), ranking.between(last, None)
        ranks = [first, *ranks, last]
    assert all(rank is not None and len(rank) == ranking.WHOLE for rank in ranks)
    assert ranks == sorted({rank or "" for rank in ranks})

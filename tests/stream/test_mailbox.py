from __future__ import annotations

import threading

import numpy as np

from ghost_deploy.stream.mailbox import Mailboxes, Pending
from ghost_deploy.stream.ordered import Ordered


def item(index: int) -> Pending:
    return Pending(index, index, lambda: np.zeros((1, 1, 3), np.uint8))


def take(boxes: Mailboxes) -> tuple[int, int] | None:
    taken = boxes.take(0.0)
    return taken and (taken[0], taken[1].index)


def test_an_empty_box() -> None:
    boxes = Mailboxes(2)
    assert boxes.take(0.01) is None
    assert not boxes.exhausted


def test_the_newest_replaces_and_the_older_one_is_returned() -> None:
    boxes = Mailboxes(1)
    first, second = item(1), item(2)
    assert boxes.put_latest(0, first) is None
    assert boxes.put_latest(0, second) is first
    assert take(boxes) == (0, 2)
    assert take(boxes) is None


def test_sources_are_served_in_turn() -> None:
    boxes = Mailboxes(3)
    served = []
    for index in range(6):
        boxes.put_latest(0, item(index))  # a fast source fills its place again each time
        boxes.put_latest(2, item(index))
        taken = take(boxes)
        assert taken
        served.append(taken[0])
    assert served == [0, 2, 0, 2, 0, 2]


def test_files_wait_for_room() -> None:
    boxes = Mailboxes(1)
    done: list[bool] = []

    def produce() -> None:
        done.extend(boxes.put_in_turn(0, item(index)) for index in range(3))
        boxes.finish(0)

    thread = threading.Thread(target=produce)
    thread.start()
    taken = []
    while not boxes.exhausted:
        if got := boxes.take(0.5):
            taken.append(got[1].index)
    thread.join(5)
    assert (taken, done) == ([0, 1, 2], [True, True, True])


def test_closing_wakes_everybody_and_returns_what_is_left() -> None:
    boxes = Mailboxes(2)
    boxes.put_latest(0, item(5))
    boxes.put_in_turn(1, item(6))
    refused: list[bool] = []
    thread = threading.Thread(target=lambda: refused.append(boxes.put_in_turn(1, item(7))))
    thread.start()
    assert [(source, left.index) for source, left in boxes.close()] == [(0, 5), (1, 6)]
    thread.join(5)
    assert refused == [False]
    late = item(8)
    assert boxes.put_latest(0, late) is late
    assert boxes.take(10) is None
    assert boxes.exhausted
    assert boxes.close() == []


def test_finished_sources_are_emptied_first() -> None:
    boxes = Mailboxes(1)
    boxes.put_latest(0, item(1))
    boxes.finish(0)
    assert not boxes.exhausted
    assert take(boxes) == (0, 1)
    assert boxes.exhausted


def test_items_come_out_by_number() -> None:
    ordered: Ordered[str] = Ordered(room=4)
    ordered.put(1, "b")
    assert ordered.get(0.0) is None
    ordered.put(0, None)
    assert ordered.get(0.0) == "b"
    ordered.put(3, "d")
    ordered.put(2, "c")
    assert [ordered.get(0.0), ordered.get(0.0), ordered.get(0.0)] == ["c", "d", None]


def test_who_is_too_far_ahead_waits() -> None:
    ordered: Ordered[int] = Ordered(room=1)
    put: list[bool] = []

    def produce() -> None:
        put.extend(ordered.put(number, number) for number in range(4))

    thread = threading.Thread(target=produce)
    thread.start()
    assert [ordered.get(5.0) for _ in range(3)] == [0, 1, 2]
    thread.join(5)
    assert put == [True] * 4
    late = threading.Thread(target=lambda: put.append(ordered.put(9, 9)))
    late.start()
    assert ordered.close() == [3]
    late.join(5)
    assert put[-1] is False


def test_sources_that_are_passed_over() -> None:
    boxes = Mailboxes(3)
    for source in range(3):
        boxes.put_latest(source, item(source))
    assert boxes.take(0, {0, 1}) is not None
    assert boxes.take(0, {0, 1}) is None
    taken = boxes.take(0, {1})
    assert taken is not None
    assert taken[0] == 0
    assert not boxes.exhausted

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from ghost_deploy.stream import mailbox
from ghost_deploy.stream.mailbox import Mailboxes, Pending
from ghost_deploy.stream.ordered_buffer import OrderedBuffer
from tests.support.clocks import ManualTime


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
    ordered: OrderedBuffer[str] = OrderedBuffer(room=4)
    ordered.put(1, "b")
    assert ordered.get(0.0) is None
    ordered.put(0, None)
    assert ordered.get(0.0) == "b"
    ordered.put(3, "d")
    ordered.put(2, "c")
    assert [ordered.get(0.0), ordered.get(0.0), ordered.get(0.0)] == ["c", "d", None]


def test_who_is_too_far_ahead_waits() -> None:
    ordered: OrderedBuffer[int] = OrderedBuffer(room=1)
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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualTime:
    made = ManualTime()
    monkeypatch.setattr(mailbox, "time", made)
    return made


def captured(index: int, at_s: float) -> Pending:
    return Pending(index, round(at_s * 1e9), lambda: np.zeros((1, 1, 3), np.uint8))


def beat(boxes: Mailboxes, clock: ManualTime, source: int, until_s: float) -> None:
    """Frames of a source every 50 ms, the last of them at `until_s`."""
    for index in range(30):
        clock.now = until_s - (29 - index) * 0.05
        boxes.put_latest(source, captured(index, clock.now))


def test_a_frame_whose_successor_is_about_to_arrive_is_served_last(clock: ManualTime) -> None:
    boxes = Mailboxes(2)
    beat(boxes, clock, 0, 200.0)
    beat(boxes, clock, 1, 200.02)
    clock.now = 200.046
    taken = boxes.take(0.0, patience_s=0.01)
    assert taken
    assert taken[0] == 1  # 0 would be the first, but its next is due at 200.05


def test_a_source_that_comes_last_is_not_left_out(clock: ManualTime) -> None:
    boxes = Mailboxes(2)
    beat(boxes, clock, 0, 200.0)
    beat(boxes, clock, 1, 200.02)
    served = []
    for turn in range(8):
        # Whenever one is taken, the next frame of source 0 is due: it must get its turns.
        clock.now = 200.046 + 0.1 * turn
        taken = boxes.take(0.0)
        assert taken
        served.append(taken[0])
        for source, phase in ((0, 0.0), (1, 0.02)):
            for step in (0.05, 0.1):
                clock.now = 200.0 + phase + 0.1 * turn + step
                boxes.put_latest(source, captured(100, clock.now))
    assert all(sorted(served[i : i + 2]) == [0, 1] for i in range(0, 8, 2)), served


def overdue(boxes: Mailboxes, index: int) -> None:
    """Put a frame of a steady source whose next frame should have come a second ago."""
    for n in range(30):
        boxes._periods[0].arrived(n * 0.05, n * 0.05)
    boxes._periods[0].arrived(1.5, 1.5)
    boxes._places[0] = item(index)


def test_the_successor_is_waited_for() -> None:
    boxes = Mailboxes(1)
    overdue(boxes, 1)
    newer = captured(2, time.monotonic() + 3600)
    producer = threading.Timer(0.05, boxes.put_latest, (0, newer))
    producer.start()
    taken = boxes.take(0.0, patience_s=30.0)
    producer.join()
    assert taken == (0, newer)


def test_no_longer_than_the_patience_lasts() -> None:
    boxes = Mailboxes(1)
    overdue(boxes, 1)  # as after a loss
    taken = boxes.take(0.0, patience_s=0.02)
    assert taken
    assert taken[1].index == 1


def test_closing_ends_the_wait_for_a_successor() -> None:
    boxes = Mailboxes(1)
    overdue(boxes, 1)
    closer = threading.Timer(0.05, boxes.close)
    closer.start()
    assert boxes.take(0.0, patience_s=30.0) is None
    closer.join()

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from ghost_deploy.stream.sinks.outbox import Answer, Outbox
from ghost_deploy.stream.sinks.sink import DeliveryStats
from tests.support.waiting import wait_until

TAKEN, LATER, REFUSED = Answer("taken"), Answer("later", "away"), Answer("refused", "no")


@contextmanager
def outbox(
    deliver: Callable[[bytes], Answer], capacity: int = 256, grace_s: float = 20.0
) -> Iterator[Outbox]:
    made = Outbox(
        deliver, capacity=capacity, first_wait_s=0.001, longest_wait_s=0.01, grace_s=grace_s
    )
    before = threading.active_count()
    try:
        yield made
    finally:
        made.close()
    assert threading.active_count() < before


def test_nothing_to_deliver() -> None:
    with outbox(lambda _: pytest.fail("nothing was put")) as box:
        assert box.stats() == DeliveryStats()
    assert box.stats() == DeliveryStats()
    box.close()
    box.put(b"too late")
    assert box.stats() == DeliveryStats(dropped=1)


def test_messages_arrive_in_order_however_often_the_server_is_away() -> None:
    answers, seen = iter([LATER, LATER, TAKEN, LATER, TAKEN, TAKEN]), []

    def deliver(message: bytes) -> Answer:
        answer = next(answers)
        if answer is TAKEN:
            seen.append(message)
        return answer

    with outbox(deliver) as box:
        for message in (b"1", b"2", b"3"):
            box.put(message)
    assert seen == [b"1", b"2", b"3"]
    assert box.stats() == DeliveryStats(sent=3, retries=3, last_error="away")


def test_what_is_refused_is_not_tried_again() -> None:
    with outbox(lambda message: REFUSED if message == b"bad" else TAKEN) as box:
        box.put(b"bad")
        box.put(b"good")
    assert box.stats() == DeliveryStats(sent=1, dropped=1, last_error="no")


def test_a_full_queue_loses_the_oldest() -> None:
    may_go_on, seen = threading.Event(), []

    def deliver(message: bytes) -> Answer:
        may_go_on.wait()
        seen.append(message)
        return TAKEN

    with outbox(deliver, capacity=2) as box:
        box.put(b"0")
        wait_until(lambda: not box._queue)
        for message in (b"1", b"2", b"3", b"4"):
            box.put(message)
        assert box.stats() == DeliveryStats(dropped=2, waiting=3)
        may_go_on.set()
    assert seen == [b"0", b"3", b"4"]
    assert box.stats() == DeliveryStats(sent=3, dropped=2)


def test_a_failed_message_gives_way_to_newer_ones_in_a_full_queue() -> None:
    is_up, tried = threading.Event(), threading.Event()

    def deliver(_: bytes) -> Answer:
        if is_up.is_set():
            return TAKEN
        tried.set()
        return LATER

    with outbox(deliver, capacity=3) as box:
        for number in range(50):
            box.put(b"%d" % number)
        tried.wait()
        now = box.stats()
        assert now.waiting <= 4
        assert now.dropped + now.waiting == 50
        is_up.set()
    assert box.stats().sent + box.stats().dropped == 50
    assert box.stats().waiting == 0


def test_the_end_does_not_wait_for_a_server_that_is_away() -> None:
    with outbox(lambda _: LATER, grace_s=0.0) as box:
        for number in range(5):
            box.put(b"%d" % number)
    assert box.stats().dropped == 5
    assert box.stats().waiting == 0

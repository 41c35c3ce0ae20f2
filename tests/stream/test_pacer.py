from __future__ import annotations

import contextlib
import threading
import time

import pytest

from ghost_deploy.stream import pacer as module
from ghost_deploy.stream.pacer import Pacer
from tests.support.clocks import ManualTime


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualTime:
    made = ManualTime()
    monkeypatch.setattr(module, "time", made)
    return made


def run_once(pacer: Pacer, clock: ManualTime, run_s: float, prepare_s: float = 0.01) -> None:
    pacer.wait_to_fetch()
    with pacer.slot(prepare_s):
        clock.now += run_s


def wait_in_a_run(pacer: Pacer, clock: ManualTime) -> float:
    """Seconds to wait for a fetch at the moment at which a run begins."""
    pacer.wait_to_fetch()
    with pacer.slot(0.01):
        return pacer._seconds_to_wait(clock.now)


def test_nothing_is_known_at_first(clock: ManualTime) -> None:
    assert Pacer(1)._seconds_to_wait(clock.now) == 0


def test_a_frame_is_fetched_to_be_ready_when_the_run_ends(clock: ManualTime) -> None:
    pacer = Pacer(1)
    for _ in range(50):
        run_once(pacer, clock, 0.1)
    assert wait_in_a_run(pacer, clock) == pytest.approx(0.1 - 0.01 - 0.001, abs=1e-6)


def test_where_times_vary_it_is_fetched_earlier(clock: ManualTime) -> None:
    pacer = Pacer(1)
    for i in range(100):
        run_once(pacer, clock, 0.08 if i % 2 else 0.12)
    wait_s = wait_in_a_run(pacer, clock)
    assert wait_s < 0.08 - 0.01 - 0.001
    assert wait_s > 0.03


def test_a_second_slot_is_free_at_once(clock: ManualTime) -> None:
    pacer = Pacer(2)
    run_once(pacer, clock, 0.1)
    assert wait_in_a_run(pacer, clock) == 0


def test_no_more_runs_than_slots_and_an_end_for_those_who_wait() -> None:
    pacer = Pacer(1)
    pacer.wait_to_fetch()
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with pacer.slot(0.0):
            inside.set()
            leave.wait(10)

    first = threading.Thread(target=hold)
    first.start()
    assert inside.wait(10)
    second = threading.Thread(target=pacer.wait_to_fetch)
    second.start()
    pacer.close()
    second.join(10)
    assert not second.is_alive()
    leave.set()
    first.join(10)


def test_files_are_not_waited_for(clock: ManualTime) -> None:
    pacer = Pacer(1, eager=True)
    for _ in range(5):
        pacer.wait_to_fetch()


def test_a_queued_run_begins_when_one_ends_and_is_timed_from_there(clock: ManualTime) -> None:
    pacer = Pacer(2, queued=1, eager=True)
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        for _ in range(3):
            pacer.wait_to_fetch()
        first.enter_context(pacer.slot(0.01))
        second.enter_context(pacer.slot(0.01))
        with pacer.slot(0.01) as queued:
            assert queued.began == clock.now
            clock.now += 0.1
            second.close()
            assert queued.began == clock.now
            clock.now += 0.1
        assert pacer._run.mean == pytest.approx(0.1)
        # One slot is free.
        assert pacer._seconds_to_wait(clock.now) == 0


def test_a_frame_behind_a_queued_one_waits_for_the_second_end(clock: ManualTime) -> None:
    pacer = Pacer(2, queued=1, eager=True)
    for _ in range(50):
        run_once(pacer, clock, 0.1)
    with contextlib.ExitStack() as runs:
        for after in (0.04, 0.01, 0.0):
            pacer.wait_to_fetch()
            runs.enter_context(pacer.slot(0.01))
            clock.now += after
        # The first ends in 50 ms for the one that is queued, the second in 90 ms.
        assert pacer._seconds_to_wait(clock.now) == pytest.approx(0.09 - 0.01 - 0.001, abs=1e-6)


@pytest.mark.parametrize(("slots", "queued"), [(1, 0), (2, 0), (2, 1)])
def test_as_many_runs_at_once_as_slots_and_places_in_the_queue(slots: int, queued: int) -> None:
    pacer = Pacer(slots, queued=queued, eager=True)
    now, most = 0, 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal now, most
        for _ in range(20):
            pacer.wait_to_fetch()
            with pacer.slot(0.0):
                with lock:
                    now += 1
                    most = max(most, now)
                time.sleep(0.001)
                with lock:
                    now -= 1

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert most == slots + queued

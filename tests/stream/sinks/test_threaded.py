from __future__ import annotations

import threading

import pytest

from ghost_deploy.core.errors import InputError
from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sinks.retrying import RetryingSink
from ghost_deploy.stream.sinks.threaded import ThreadedSink
from tests.support.running_pipeline import Collect, Script, scripted
from tests.support.stream_results import make_result
from tests.support.waiting import wait_until


class Slow(Collect):
    """A sink that hangs while `free` is not set."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()
        self.error: Exception | None = None

    def write(self, result: Result) -> None:
        if self.error:
            raise self.error
        self.free.wait(60)
        super().write(result)


@pytest.fixture
def slow() -> Slow:
    return Slow()


def test_nothing_was_written(slow: Slow) -> None:
    apart = ThreadedSink(RetryingSink(slow))
    apart.close()
    assert (apart.stats().sent, slow.closed) == (0, 1)


def test_a_sink_that_keeps_up_gets_everything_in_order_from_another_thread(slow: Slow) -> None:
    slow.free.set()
    apart = ThreadedSink(RetryingSink(slow))
    for index in range(50):
        apart.write(make_result(index=index))
    apart.close()
    assert [result.frame.index for result in slow.results] == list(range(50))
    stats = apart.stats()
    assert (stats.sent, stats.dropped, stats.waiting, stats.stuck) == (50, 0, 0, False)
    assert threading.get_ident() not in slow.threads


def test_a_sink_that_hangs_delays_no_other_and_is_seen(slow: Slow) -> None:
    apart = ThreadedSink(RetryingSink(slow), patience_s=0.05)
    for index in range(30):
        apart.write(make_result(index=index))
    stats = apart.stats()
    assert stats.stuck
    assert stats.last_error == "it hangs"
    assert stats.dropped > 20
    assert stats.dropped + stats.waiting == 30
    slow.free.set()
    wait_until(lambda: not apart.stats().waiting)
    apart.write(make_result(index=99))
    apart.close()
    assert not apart.stats().stuck
    assert apart.stats().sent == 31 - apart.stats().dropped == len(slow.results)
    assert slow.results[-1].frame.index == 99


def test_a_sink_that_hangs_at_the_end_is_left_behind(slow: Slow) -> None:
    apart = ThreadedSink(RetryingSink(slow), patience_s=0.05, end_s=0.05)
    for index in range(3):
        apart.write(make_result(index=index))
    wait_until(lambda: apart.stats().waiting == 3)
    apart.close()
    wait_until(lambda: apart.stats().stuck)
    assert apart.stats().dropped == 2  # what is under way may still arrive
    slow.free.set()


def test_a_patient_one_loses_nothing(slow: Slow) -> None:
    apart = ThreadedSink(RetryingSink(slow), patient=True, patience_s=0.01)
    timer = threading.Timer(0.2, slow.free.set)
    timer.start()
    for index in range(20):
        apart.write(make_result(index=index))
    apart.close()
    timer.join()
    assert (len(slow.results), apart.stats().dropped) == (20, 0)


def test_what_a_full_disk_loses_is_counted(slow: Slow) -> None:
    slow.error = InputError("cannot write out", got="No space left on device", fix="Free some")
    apart = ThreadedSink(RetryingSink(slow))
    apart.write(make_result())
    apart.close()
    assert apart.stats().dropped == 1
    assert apart.stats().last_error == "cannot write out: No space left on device"


def test_a_mistake_is_not_hidden(slow: Slow) -> None:
    slow.error = KeyError("bug")
    apart = ThreadedSink(RetryingSink(slow))
    apart.write(make_result())
    with pytest.raises(KeyError):
        apart.close()
    with pytest.raises(KeyError):
        apart.write(make_result())


def test_other_sinks_go_on_beside_one_that_hangs(slow: Slow) -> None:
    other = Collect()
    apart = ThreadedSink(RetryingSink(slow), patience_s=0.05, end_s=0.05)
    scripted(Script(range(20), is_live=False)).run([apart, other])
    assert len(other.results) == 20
    wait_until(lambda: apart.stats().stuck)
    assert apart.stats().dropped == 19  # what is under way may still arrive
    slow.free.set()

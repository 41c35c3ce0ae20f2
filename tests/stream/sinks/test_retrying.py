from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from ghost_deploy.core.errors import InputError
from ghost_deploy.stream.sinks.jsonl import JsonlSink
from ghost_deploy.stream.sinks.retrying import RetryingSink
from tests.stream.sinks.test_video import files_of_at_most
from tests.support.running_pipeline import Collect, Script, run_all, scripted
from tests.support.stream_results import make_result
from tests.support.waiting import wait_until

FULL = InputError("cannot write out", got="No space left on device", fix="Free some space")


class Fragile(Collect):
    """A sink that fails while `error` is set."""

    error: Exception | None = None

    def write(self, result):  # type: ignore[no-untyped-def]
        if self.error:
            raise self.error
        super().write(result)

    def close(self) -> None:
        super().close()
        if self.error:
            raise self.error


def test_a_sink_that_never_fails() -> None:
    inner = Fragile()
    guard = RetryingSink(inner)
    assert (guard.stats().sent, guard.stats().dropped) == (0, 0)
    guard.write(make_result())
    guard.close()
    assert (guard.stats().sent, guard.stats().dropped, inner.closed) == (1, 0, 1)


def test_what_is_lost_is_counted_and_the_sink_is_tried_again() -> None:
    inner = Fragile()
    guard = RetryingSink(inner, first_wait_s=0.05, longest_wait_s=0.1)
    inner.error = FULL
    for _ in range(10):
        guard.write(make_result())
    stats = guard.stats()
    assert (stats.sent, stats.dropped) == (0, 10)
    assert stats.retries < 5  # it is left alone for a while
    assert stats.last_error == "cannot write out: No space left on device"
    inner.error = None

    def written() -> bool:
        guard.write(make_result())
        return guard.stats().sent > 0

    wait_until(written)
    assert len(inner.results) == guard.stats().sent == 1
    inner.error = FULL
    guard.close()  # the end of the run is not held up by it
    assert guard.stats().retries > stats.retries


def test_a_mistake_is_not_hidden() -> None:
    inner = Fragile()
    inner.error = KeyError("bug")
    with pytest.raises(KeyError):
        RetryingSink(inner).write(make_result())


def test_a_full_disk_stops_neither_the_run_nor_other_sinks() -> None:
    inner, other = Fragile(), Collect()
    inner.error = FULL
    guard = RetryingSink(inner)
    pipeline = scripted(Script(range(20), is_live=False))
    pipeline.run([guard, other])
    assert (len(other.results), guard.stats().dropped) == (20, 20)
    assert len(run_all(scripted(Script(range(3), is_live=False))).results) == 3


def test_lines_on_a_full_disk_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    guard = RetryingSink(JsonlSink(path), first_wait_s=0.01, longest_wait_s=0.01)
    with files_of_at_most(1500):
        for i in range(20):
            guard.write(make_result(index=i))
            time.sleep(0.012)
    lost = guard.stats().dropped
    assert lost
    while guard.stats().dropped == lost and guard.stats().sent < 25 - lost:
        guard.write(make_result(index=99))
    guard.close()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == guard.stats().sent
    assert rows[-1]["index"] == 99

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from ghost_deploy.core.errors import InputError
from ghost_deploy.stream.result import Result
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


class Buffering(Collect):
    """A sink that writes three results at a time, and keeps `on_disk`."""

    def __init__(self) -> None:
        super().__init__()
        self.on_disk = self.gone = self.open = 0
        self.error: Exception | None = None

    @property
    def held(self) -> int:
        return self.open

    @property
    def lost(self) -> int:
        return self.gone

    def wants(self, result: Result) -> bool:
        return result.frame.index >= 0

    def write(self, result: Result) -> None:
        if self.open == 3:
            self._flush()
        self.open += 1

    def close(self) -> None:
        self._flush()

    def _flush(self) -> None:
        if self.error:
            self.gone, self.open = self.gone + self.open, 0
            raise self.error
        self.on_disk, self.open = self.on_disk + self.open, 0


def counts(guard: RetryingSink) -> tuple[int, int, int]:
    stats = guard.stats()
    return stats.sent, stats.waiting, stats.dropped


def test_only_what_is_written_counts_as_written() -> None:
    inner = Buffering()
    guard = RetryingSink(inner, first_wait_s=0.0, longest_wait_s=0.0)
    found = []
    for _ in range(7):
        guard.write(make_result())
        found.append(counts(guard))
    assert found == [(0, 1, 0), (0, 2, 0), (0, 3, 0), (3, 1, 0), (3, 2, 0), (3, 3, 0), (6, 1, 0)]
    guard.close()
    assert counts(guard) == (7, 0, 0)
    assert inner.on_disk == 7


def test_what_was_held_when_the_disk_became_full_is_lost() -> None:
    inner = Buffering()
    guard = RetryingSink(inner, first_wait_s=0.0, longest_wait_s=0.0)
    for _ in range(6):
        guard.write(make_result())
    inner.error = FULL
    guard.write(make_result())
    assert counts(guard) == (3, 0, 4)
    guard.write(make_result())
    assert counts(guard) == (3, 1, 4)  # taken, which says nothing
    guard.close()
    assert counts(guard) == (3, 0, 5)
    assert inner.on_disk == 3


def test_what_a_sink_does_not_want_is_neither_written_nor_lost() -> None:
    inner = Buffering()
    guard = RetryingSink(inner)
    inner.error = FULL
    for _ in range(4):
        guard.write(make_result())
    before = counts(guard)
    guard.write(make_result(index=-1))
    assert counts(guard) == before == (0, 0, 4)

"""Work that several workers share comes in order, and stops when it is given up."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from ghost_deploy.judge.accuracy.shared_out import shared_out


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 50])
def test_all_come_in_order(workers: int, count: int) -> None:
    def work(worker: int, item: int) -> int:
        time.sleep(0.001 * (item % 3))
        return item * item

    assert list(shared_out(range(count), work, range(workers))) == [i * i for i in range(count)]


def test_a_worker_has_one_item_at_a_time() -> None:
    locks = [threading.Lock() for _ in range(3)]

    def work(lock: threading.Lock, item: int) -> int:
        assert lock.acquire(blocking=False)
        time.sleep(0.002)
        lock.release()
        return item

    assert list(shared_out(range(30), work, locks)) == list(range(30))


def test_they_work_side_by_side() -> None:
    barrier = threading.Barrier(2, timeout=10)
    assert len(list(shared_out(range(4), lambda _worker, _item: barrier.wait(), "ab"))) == 4


@pytest.mark.parametrize("workers", ["a", "abc"])
def test_an_error_comes_in_its_place(workers: str) -> None:
    def work(_worker: str, item: int) -> int:
        if item == 3:
            raise ValueError("of the fourth")
        return item

    results = shared_out(range(10), work, workers)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="of the fourth"):
        next(results)


@pytest.mark.parametrize("workers", ["a", "ab", "abcd"])
def test_little_is_taken_ahead(workers: str) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    results = shared_out(items(), lambda _worker, item: item, workers)
    assert next(results) == 0
    results.close()
    assert len(taken) <= len(workers) + 1
    assert not [each for each in threading.enumerate() if each.name.startswith("shared out")]

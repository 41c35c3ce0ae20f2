"""Items are made while the one before is used."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from ghost_deploy.calib.ranges.one_ahead import one_ahead


@pytest.mark.parametrize("items", [[], [None], [0, 1, 2], ["a"] * 50])
def test_all_come_in_order(items: list[object]) -> None:
    assert list(one_ahead(items)) == items


def test_one_is_made_while_another_is_used() -> None:
    begun = [threading.Event() for _ in range(3)]

    def items() -> Iterator[int]:
        for number, event in enumerate(begun):
            event.set()
            yield number

    for number in one_ahead(items()):
        assert all(event.wait(10) for event in begun[: number + 2])
        assert not any(event.is_set() for event in begun[number + 2 :])


def test_an_error_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("of the second")

    ahead = one_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="of the second"):
        next(ahead)


def test_no_thread_is_left_when_it_is_given_up() -> None:
    ahead = one_ahead(range(100))
    next(ahead)
    ahead.close()
    assert not [each for each in threading.enumerate() if each.name.startswith("ahead")]

"""Waiting for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(
    condition: Callable[[], object],
    timeout_s: float = 20.0,
    state: Callable[[], object] = lambda: "",
) -> None:
    """Return once `condition()` is true.

    Args:
        condition: is called every 10 ms.
        timeout_s: how long to wait.
        state: what to show of the tested object where the time was not enough.

    Raises:
        AssertionError: it did not become true in time.
    """
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"not within {timeout_s} s: {state()}"
        time.sleep(0.01)

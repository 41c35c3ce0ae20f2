from __future__ import annotations

import pytest

from ghost_deploy.stream.source_stats import SourceCounters
from tests.support.stream_results import make_result
from tests.support.waiting import wait_until


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ((), "connecting"),
        (("captured",), "live"),
        (("captured", "broken"), "stalled"),
        (("captured", "newer"), "live"),
        (("captured", "broken", "captured", "newer"), "stalled"),
        (("captured", "broken", "processed"), "live"),
        (("captured", "broken", "still"), "live"),
        (("captured", "broken", "processed", "broken"), "stalled"),
        (("captured", "broken", "lost"), "lost"),
        (("captured", "broken", "lost", "captured"), "live"),
    ],
)
def test_the_state_of_a_source(events: tuple[str, ...], state: str) -> None:
    # Stalled at once: no time may pass between two broken frames.
    counters = SourceCounters("0", "camera", stalled_after_s=0.0)
    for event in events:
        if event == "captured":
            counters.captured(1)
        elif event == "processed":
            counters.processed(make_result())
        elif event == "lost":
            counters.enter("lost", "gone")
        else:
            counters.dropped(event)  # type: ignore[arg-type]
    assert counters.stats().state == state


def test_a_source_is_stalled_after_a_while_only() -> None:
    later, soon = (SourceCounters("0", "camera", stalled_after_s=s) for s in (3600.0, 0.05))
    for counters in (later, soon):
        counters.captured(1)
        counters.dropped("broken")
    assert later.stats().state == "live"
    wait_until(lambda: soon.stats().state == "stalled")

from __future__ import annotations

import signal

import pytest

from ghost_deploy.cli import signals as module
from ghost_deploy.cli.signals import SignalHandler


def test_no_signal() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with SignalHandler() as ending:
        assert signal.getsignal(signal.SIGTERM) != before
    assert ending.caught is None
    assert signal.getsignal(signal.SIGTERM) == before


def test_before_there_is_something_to_stop_a_signal_interrupts() -> None:
    with SignalHandler() as ending, pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    assert ending.caught is signal.SIGTERM


def test_later_it_stops_and_the_same_signal_again_does_nothing() -> None:
    stops: list[int] = []
    with SignalHandler() as ending:
        ending.stops(lambda: stops.append(1))
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert (stops, ending.caught) == ([1], signal.SIGINT)


def test_an_interrupt_that_a_library_has_swallowed_still_stops() -> None:
    stops: list[int] = []
    with SignalHandler() as ending:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        ending.stops(lambda: stops.append(1))
    assert stops == [1]


def test_a_second_signal_after_a_while_does_what_it_did_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_SAME_SIGNAL_S", -1.0)
    # What a process in the background inherits is to ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with SignalHandler() as ending:
        ending.stops(lambda: None)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    signal.signal(signal.SIGINT, before)

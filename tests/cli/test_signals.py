from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ghost_deploy.cli import signals as module
from ghost_deploy.cli.signals import SignalHandler, Terminated, termination_as_exception
from tests.support.assets import GHOST, needs_assets
from tests.support.waiting import wait_until


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


@needs_assets
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_an_export_that_is_ended_leaves_nothing(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    words = ["export", str(GHOST), "-o", str(tmp_path / "out"), "--onnx", "--imgsz", "64"]
    # A process that was started in the background ignores SIGINT, and so do its children.
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"from ghost_deploy.cli.main import main; sys.exit(main({words!r}))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        wait_until(lambda: any(tmp_path.iterdir()), timeout_s=120)
        child.send_signal(number)
        _, messages = child.communicate(timeout=120)
    assert child.returncode == code, messages
    assert messages.rstrip().endswith("interrupted" if code == 130 else "terminated")
    assert list(tmp_path.iterdir()) == []


def test_sigterm_has_its_usual_effect_outside() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), termination_as_exception():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_closed_terminal_ends_a_run_and_under_nohup_does_not() -> None:
    with pytest.raises(Terminated) as ended, termination_as_exception():
        signal.raise_signal(signal.SIGHUP)
    assert ended.value.number == signal.SIGHUP
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with termination_as_exception(), SignalHandler() as handler:
            signal.raise_signal(signal.SIGHUP)
        assert handler.caught is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_live_run_is_stopped_by_a_closed_terminal() -> None:
    stops: list[int] = []
    with SignalHandler() as ending:
        ending.stops(lambda: stops.append(1))
        signal.raise_signal(signal.SIGHUP)
    assert (stops, ending.caught) == ([1], signal.SIGHUP)

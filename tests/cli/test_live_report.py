from __future__ import annotations

import io
from dataclasses import replace

from ghost_deploy.cli.console import Console
from ghost_deploy.cli.live_report import LiveReport
from ghost_deploy.stream.sinks.sink import DeliveryStats
from ghost_deploy.stream.source_stats import SourceStats


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Stats:
    """Statistics that a test sets."""

    def __init__(self, *sources: SourceStats) -> None:
        self.sources = sources

    def __call__(self) -> tuple[SourceStats, ...]:
        return self.sources


CAMERA = SourceStats("0", "rtsp://***@host/1")


def test_each_change_is_told_once() -> None:
    err = io.StringIO()
    stats = Stats(CAMERA)
    report = LiveReport(Console(io.StringIO(), err), stats)
    report.tick()
    assert err.getvalue() == ""
    for change in (
        replace(CAMERA, state="live"),
        replace(CAMERA, state="lost", last_error="no route"),
        replace(CAMERA, state="live", reconnects=1),
        replace(CAMERA, state="failed", reconnects=1, last_error="given up"),
    ):
        stats.sources = (change,)
        report.tick()
        report.tick()
    name = "source 0 (rtsp://***@host/1)"
    assert err.getvalue().splitlines() == [
        f"{name} is live",
        f"{name} is lost: no route; it is tried again",
        f"{name} is back",
        f"{name} has failed: given up",
    ]


def test_a_status_line_on_a_terminal_only() -> None:
    live = replace(CAMERA, state="live", fps=12.34, age_p50_ms=45.6, dropped={"newer": 3})
    err = Terminal()
    report = LiveReport(Console(io.StringIO(), err), Stats(live, replace(CAMERA, id="1")))
    report.tick()
    assert "0 12.3 fps 46 ms -3   1 connecting" in err.getvalue()
    report.clear()
    assert err.getvalue().endswith("\r")


def test_the_end_of_a_run_without_a_frame() -> None:
    out = io.StringIO()
    report = LiveReport(Console(out, io.StringIO()), Stats(CAMERA))
    report.print(out)
    assert "0 frames, 0 detections" in out.getvalue()
    assert "source 0: rtsp://***@host/1" in out.getvalue()


def test_a_sink_that_loses_results_is_told_once_and_when_it_works_again() -> None:
    err, out = io.StringIO(), io.StringIO()
    now = [DeliveryStats()]
    report = LiveReport(Console(out, err), Stats(), {"lines": lambda: now[0]})
    report.tick()
    for now[0] in (
        DeliveryStats(sent=3),
        DeliveryStats(sent=3, dropped=1, last_error="disk full"),
        DeliveryStats(sent=3, dropped=4, last_error="disk full"),
        DeliveryStats(sent=3, dropped=4, last_error="disk full"),
        DeliveryStats(sent=5, dropped=4, last_error="disk full"),
        DeliveryStats(sent=6, dropped=4, last_error="disk full"),
    ):
        report.tick()
    assert err.getvalue().splitlines() == [
        "lines: results are being lost: disk full",
        "lines: works again, 4 lost so far",
    ]
    report.print(out)
    assert "lines: 6 results taken, 4 lost; last error: disk full" in out.getvalue()

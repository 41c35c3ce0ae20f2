from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest

from ghost_deploy.cli.console import Console
from ghost_deploy.cli.live_progress import LiveProgress
from ghost_deploy.cli.live_report import LiveReport
from ghost_deploy.cli.log_lines import LogLines
from ghost_deploy.stream.sinks.sink import DeliveryStats
from ghost_deploy.stream.source_stats import SourceStats, State
from tests.support.clocks import ManualTime


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
        replace(CAMERA, state="live", reconnects=1, processed=1),
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


def test_texts_of_others_do_not_steer_the_terminal() -> None:
    """Names of files and what servers say."""
    out = io.StringIO()
    escape = "\x1b]0;x\x07"
    sources = replace(CAMERA, label=escape, state="ended", unreadable=(escape,), size_hw=(1, 2))
    delivery = DeliveryStats(0, 1, 0, 0, escape)
    report = LiveReport(Console(out, io.StringIO()), Stats(sources), {"webhook": lambda: delivery})
    report.print(out)
    assert "\x1b" not in out.getvalue()
    assert out.getvalue().count("\\x1b]0;x") == 3


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
    assert "lines: 6 results written, 4 lost; last error: disk full" in out.getvalue()


def test_a_server_that_is_away_is_told_before_results_are_lost() -> None:
    err = io.StringIO()
    now = [DeliveryStats()]
    report = LiveReport(Console(io.StringIO(), err), Stats(), {"mqtt": lambda: now[0]})
    away = "the broker cannot be reached"
    for now[0] in (
        DeliveryStats(sent=1),
        DeliveryStats(sent=1, waiting=1, retries=1, last_error=away),
        DeliveryStats(sent=2, retries=1, last_error=away),  # one failed attempt is no news
        DeliveryStats(sent=2, waiting=1, retries=2, last_error=away),
        DeliveryStats(sent=2, waiting=3, retries=3, last_error=away),
        DeliveryStats(sent=2, waiting=4, retries=9, last_error=away),
        DeliveryStats(sent=6, retries=9, last_error=away),
        DeliveryStats(sent=6, waiting=1, retries=11, last_error=away),
        DeliveryStats(sent=6, dropped=1, retries=12, last_error=away),
        DeliveryStats(sent=6, dropped=1, retries=15, last_error=away),
    ):
        report.tick()
    waits = f"mqtt: {away}; it is tried again, results wait"
    lost = f"mqtt: results are being lost: {away}"
    assert err.getvalue().splitlines() == [waits, "mqtt: works again", waits, lost]


def test_a_source_is_back_with_its_first_image_and_not_with_its_first_packet() -> None:
    err = io.StringIO()
    lost = replace(CAMERA, state="lost", captured=9, processed=8, last_error="no route")
    stats = Stats(lost)
    report = LiveReport(Console(io.StringIO(), err), stats)
    report.tick()
    for late in (
        replace(lost, processed=9),  # it was under way when the source was lost
        replace(CAMERA, state="live", reconnects=1, captured=10, processed=9),
        replace(
            CAMERA, state="live", reconnects=1, captured=10, processed=9, dropped={"broken": 1}
        ),
    ):
        stats.sources = (late,)
        report.tick()
        assert "is back" not in err.getvalue()
    stats.sources = (replace(late, captured=11, processed=10),)
    report.tick()
    assert err.getvalue().endswith("is back\n")


def video(state: State = "live", at: float | None = 0.0, **changes: Any) -> SourceStats:
    """Statistics of a video of 200 seconds."""
    return SourceStats("0", "v.mp4", state, position_s=at, duration_s=200.0, **changes)


def test_how_far_a_piped_run_is() -> None:
    err, time_s, stats = io.StringIO(), ManualTime(), Stats(video("connecting", None))
    progress = LiveProgress(time_s.monotonic)
    report = LiveReport(Console(io.StringIO(), err), stats, progress=progress)
    said = []
    for now, at in ((1, 1.0), (5, 10.0), (6, 12.0), (10, 50.0), (11, 199.0), (30, 199.0)):
        time_s.now = 100 + now
        stats.sources = (video(at=at, processed=int(at * 10)),)
        report.tick()
        said.append(err.getvalue().splitlines()[1:])
    assert said[0] == []
    assert said[1] == said[2] == ["5 %, 1:35 left, 100 frames"]
    assert said[3:5] == [[*said[1], "25 %, 0:30 left, 500 frames"]] * 2  # not within five seconds
    assert said[5][-1] == "99 %, 0:00 left, 1990 frames"
    stats.sources = (video("ended", 200.0, processed=2000),)
    time_s.now = 1000
    report.tick()
    assert err.getvalue().splitlines()[-1] == "source 0 (v.mp4) has ended"


def test_a_run_that_hardly_advances_is_told_each_minute() -> None:
    time_s = ManualTime()
    progress = LiveProgress(time_s.monotonic)
    due = []
    for second in range(1, 301):
        time_s.now = 100.0 + second
        if progress.is_due(0.001):
            due.append(second)
    assert due == [60, 120, 180, 240, 300]


@pytest.mark.parametrize(
    ("sources", "told"),
    [
        ([], "None"),
        ([video("connecting", None)], "0 %"),
        ([video("failed", None)], "100 %, 0:00 left"),
        ([video(at=100.0, processed=9), video("ended", None)], "75 %, 0:20 left"),
        ([video(at=100.0, processed=9), replace(video(at=None, processed=9))], "None"),
        ([replace(video(at=9.0, processed=9), duration_s=None)], "None"),
        ([video(at=300.0, processed=9)], "100 %, 0:00 left"),  # a header that is wrong
        ([video(at=1.0, processed=9)], "0 %, 3:19:00 left"),
    ],
)
def test_the_share_of_a_run(sources: list[SourceStats], told: str) -> None:
    time_s = ManualTime()
    progress = LiveProgress(time_s.monotonic)
    time_s.now += 60
    assert str(progress.read(sources)) == told


def test_a_terminal_has_the_share_and_the_remaining_time_in_its_status_line() -> None:
    time_s, err = ManualTime(), Terminal()
    stats = Stats(video(at=50.0, processed=9, fps=12.0))
    progress = LiveProgress(time_s.monotonic)
    time_s.now += 30
    LiveReport(Console(io.StringIO(), err), stats, progress=progress).tick()
    assert "25 %, 1:30 left   0 12.0 fps" in err.getvalue()
    err = Terminal()
    stats.sources = (*stats.sources, video("ended", 200.0))
    LiveReport(Console(io.StringIO(), err), stats, progress=progress).tick()
    assert "62 %, 0:18 left   0 25 % 12.0 fps   0 ended" in err.getvalue()


def test_in_json_a_terminal_gets_lines_alone() -> None:
    err = Terminal()
    console = Console(io.StringIO(), err)
    console.log = LogLines(err, "debug", as_json=True)
    lost = replace(CAMERA, state="lost", last_error="no route")
    LiveReport(console, Stats(lost)).tick()
    first, second = (json.loads(line) for line in err.getvalue().splitlines())
    assert (first["level"], first["source"], first["state"]) == ("warning", "0", "lost")
    assert (second["level"], second["message"]) == ("debug", "0 lost")

"""What a live run prints: events, a status line, the final table."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Mapping
from typing import IO

from ghost_deploy.cli.console import Column, Console
from ghost_deploy.cli.format import by, plural
from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sinks.sink import DeliveryStats, ReadDelivery, Sink
from ghost_deploy.stream.source_stats import ReadStats, SourceStats

_EVERY_S = 1.0
_NUMBER = True


class LiveReport(Sink):
    """A sink that counts detections and reports the state of a run.

    Args:
        console: events and the status line go to its `err`.
        stats: returns the statistics of the sources.
        deliveries: return the counters of the sinks that may lose results, by name.
    """

    def __init__(
        self,
        console: Console,
        stats: ReadStats,
        deliveries: Mapping[str, ReadDelivery] | None = None,
    ) -> None:
        self._console = console
        self._stats = stats
        self._deliveries = dict(deliveries or {})
        self._sent: dict[str, DeliveryStats] = {}
        self._losing: set[str] = set()
        self._is_terminal = console.err.isatty()
        self._began = time.monotonic()
        self._next = 0.0
        self._width = 0
        self._states: dict[str, tuple[str, int]] = {}
        self._found: Counter[str] = Counter()

    def write(self, result: Result) -> None:
        """Count the detections of one result."""
        self._found.update(result.detections.names)

    def tick(self) -> None:
        """Report what has changed; to be called often."""
        sources = self._stats()
        for each in sources:
            before = self._states.get(each.id, ("connecting", 0))
            if (each.state, each.reconnects) != before:
                self._states[each.id] = (each.state, each.reconnects)
                self.clear()
                self._console.note(_event(each))
        for name, stats in self._deliveries.items():
            self._report_delivery(name, stats())
        if self._is_terminal and time.monotonic() >= self._next:
            self._next = time.monotonic() + _EVERY_S
            self._draw("   ".join(map(_status, sources)))

    def _report_delivery(self, name: str, now: DeliveryStats) -> None:
        before = self._sent.get(name, DeliveryStats())
        self._sent[name] = now
        if now.dropped > before.dropped and name not in self._losing:
            self._losing.add(name)
            self.clear()
            self._console.note(
                f"{name}: results are being lost: {now.last_error or 'the run has ended'}"
            )
        elif now.sent > before.sent and now.dropped == before.dropped and name in self._losing:
            self._losing.remove(name)
            self.clear()
            self._console.note(f"{name}: works again, {now.dropped} lost so far")

    def clear(self) -> None:
        """Remove the status line."""
        if self._width:
            self._draw("")

    def print(self, to: IO[str]) -> None:
        """Print the final table and the totals."""
        seconds = time.monotonic() - self._began
        sources = self._stats()
        columns = [Column("source"), Column("state")]
        titles = ("captured", "processed", "dropped", "reconnects", "fps", "age p50", "p99")
        columns += [Column(title, _NUMBER) for title in titles]
        self._console.table(columns, [_row(each, seconds) for each in sources], to=to)
        for each in sources:
            size = f", {by(each.size_hw)} pixels" if each.size_hw else ""
            print(f"source {each.id}: {each.label}{size}", file=to)
        dropped: Counter[str] = Counter()
        for each in sources:
            dropped.update(each.dropped)
        if dropped:
            causes = ", ".join(f"{count} {cause}" for cause, count in dropped.most_common())
            print(f"dropped: {causes}", file=to)
        for each in sources:
            for why in each.unreadable:
                print(f"source {each.id}: {why}", file=to)
            if each.state == "ended" and each.lost and not each.unreadable:
                print(_lost(each), file=to)
        for name, delivery in self._deliveries.items():
            print(_delivered(name, delivery()), file=to)
        frames = plural(sum(each.processed for each in sources), "frame")
        found = ", ".join(f"{count} {name}" for name, count in self._found.most_common())
        total = plural(self._found.total(), "detection")
        print(f"{frames}, {total}{': ' if found else ''}{found}", file=to)

    def _draw(self, text: str) -> None:
        text = text[: shutil.get_terminal_size().columns - 1]
        print(
            f"\r{text:<{self._width}}", end="" if text else "\r", file=self._console.err, flush=True
        )
        self._width = len(text)


def _lost(stats: SourceStats) -> str:
    broken, missing = stats.dropped.get("broken", 0), stats.missing
    parts = [f"{broken} do not decode"] * bool(broken) + [f"{missing} are not there"] * bool(
        missing
    )
    whole = plural(stats.captured + missing, "frame")
    return f"source {stats.id}: {stats.lost} of {whole} lost: {', '.join(parts)}"


def _delivered(name: str, stats: DeliveryStats) -> str:
    lost = f", {stats.dropped} lost" if stats.dropped else ""
    error = f"; last error: {stats.last_error}" if stats.last_error else ""
    return f"{name}: {stats.sent} results taken{lost}{error}"


def _event(stats: SourceStats) -> str:
    name = f"source {stats.id} ({stats.label})"
    if stats.state == "live":
        return f"{name} is {'back' if stats.reconnects else 'live'}"
    if stats.state == "stalled":
        return f"{name} is stalled: it is connected, but none of its frames decodes"
    if stats.state == "lost":
        return f"{name} is lost: {stats.last_error}; it is tried again"
    if stats.state == "failed":
        return f"{name} has failed: {stats.last_error}"
    return f"{name} has ended"


def _status(stats: SourceStats) -> str:
    if stats.state != "live":
        return f"{stats.id} {stats.state}"
    age = "" if stats.age_p50_ms is None else f" {stats.age_p50_ms:.0f} ms"
    drops = sum(stats.dropped.values())
    return f"{stats.id} {stats.fps:.1f} fps{age}{f' -{drops}' if drops else ''}"


def _row(stats: SourceStats, seconds: float) -> list[str]:
    return [
        stats.id,
        stats.state,
        str(stats.captured),
        str(stats.processed),
        str(sum(stats.dropped.values())),
        str(stats.reconnects),
        f"{stats.processed / seconds:.1f}",
        *("" if age is None else f"{age:.0f} ms" for age in (stats.age_p50_ms, stats.age_p99_ms)),
    ]

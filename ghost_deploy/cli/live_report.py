"""What a live run prints: events, a status line, the final table."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING

from ghost_deploy.cli.console import Column, Console
from ghost_deploy.cli.format import plural
from ghost_deploy.cli.live_progress import LiveProgress, RunProgress
from ghost_deploy.cli.summary import SUMMARY_SCHEMA
from ghost_deploy.core.printable import printable
from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sinks.sink import DeliveryStats, ReadDelivery, Sink
from ghost_deploy.stream.sinks.sink_table import SINKS
from ghost_deploy.stream.source_stats import ReadStats, SourceStats

if TYPE_CHECKING:
    from ghost_deploy.cli.log_lines import Level, Value

_EVERY_S, _DETAILS_EVERY_S = 1.0, 10.0
_NUMBER = True
_REPEATED = 2
"""Failed attempts without a success between them from which on a sink is told."""
_FINAL = frozenset({"ended", "failed"})
_FILES = {kind.name for kind in SINKS if kind.on_disk}
_LEVELS: dict[str, Level] = {"stalled": "warning", "lost": "warning", "failed": "error"}


class LiveReport(Sink):
    """A sink that counts detections and reports the state of a run.

    Args:
        console: events and the status line go to its `err`.
        stats: returns the statistics of the sources.
        deliveries: return the counters of the sinks that may lose results, by name.
        progress: measures the run, if all its sources end.
    """

    def __init__(
        self,
        console: Console,
        stats: ReadStats,
        deliveries: Mapping[str, ReadDelivery] | None = None,
        progress: LiveProgress | None = None,
    ) -> None:
        self._console = console
        self._stats = stats
        self._deliveries = dict(deliveries or {})
        self._sent: dict[str, DeliveryStats] = {}
        self._losing: set[str] = set()
        self._waiting: set[str] = set()
        self._failing_since: dict[str, int] = {}
        self._progress = progress
        self._began = time.monotonic()
        self._next = 0.0
        self._width = 0
        self._states: dict[str, tuple[str, int]] = {}
        self._decoded: dict[str, int] = {}
        self._found: Counter[str] = Counter()

    def write(self, result: Result) -> None:
        """Count the detections of one result."""
        self._found.update(result.detections.names)

    def tick(self) -> None:
        """Report what has changed; to be called often."""
        sources = self._stats()
        for each in sources:
            if each.state != "live":
                self._decoded[each.id] = each.decoded
            before = self._states.get(each.id, ("connecting", 0))
            if (each.state, each.reconnects) != before and self._is_certain(each):
                self._states[each.id] = (each.state, each.reconnects)
                self._say(_event(each), _LEVELS.get(each.state, "info"), each)
        for name, stats in self._deliveries.items():
            self._report_delivery(name, stats())
        self._report_progress(sources)

    def _is_certain(self, stats: SourceStats) -> bool:
        """Whether a source that is live again has given an image since it was lost."""
        if stats.state != "live" or not stats.reconnects:
            return True
        return stats.decoded > self._decoded.get(stats.id, 0)

    def _say(self, text: str, level: Level, source: SourceStats | None = None) -> None:
        self.clear()
        facts = {"source": source.id, "state": source.state} if source else {}
        self._console.note(text, level, facts)

    def _report_progress(self, sources: Sequence[SourceStats]) -> None:
        """A status line on a terminal; elsewhere how far the videos are."""
        progress = self._progress.read(sources) if self._progress else None
        now = time.monotonic()
        if self._console.is_terminal:
            if now >= self._next:
                self._next = now + _EVERY_S
                whole = [str(progress)] if progress and progress.share < 1 else []
                # The share of one source is that of the run.
                each_too = not whole or len(sources) > 1
                shown = (_status(each, with_share=each_too) for each in sources)
                self._draw("   ".join([*whole, *shown]))
            return
        if self._console.log and now >= self._next:
            self._next = now + _DETAILS_EVERY_S
            self._console.note("   ".join(map(_status, sources)), "debug")
        if self._progress and any(each.state not in _FINAL for each in sources):
            self._tell_progress(self._progress, progress, sources)

    def _tell_progress(
        self, measure: LiveProgress, now: RunProgress | None, sources: Sequence[SourceStats]
    ) -> None:
        """A line about it if one is due; of videos of unknown length, the frames so far."""
        if not measure.is_due(now.share if now else 0.0):
            return
        frames = sum(each.processed for each in sources)
        over = sum(each.state == "ended" for each in sources)
        parts = [str(now)] * bool(now) + [plural(frames, "frame")]
        parts += [f"{over} of {len(sources)} sources done"] * (len(sources) > 1)
        facts: dict[str, Value] = {"frames": frames}
        if now:
            facts["progress"] = round(now.share, 4)
            if now.remaining_s is not None:
                facts["remaining_s"] = round(now.remaining_s, 1)
        self._console.note(", ".join(parts), facts=facts)

    def _report_delivery(self, name: str, now: DeliveryStats) -> None:
        before = self._sent.get(name, DeliveryStats())
        self._sent[name] = now
        if now.dropped > before.dropped and name not in self._losing:
            self._losing.add(name)
            self._waiting.discard(name)
            why = now.last_error or "the run has ended"
            self._say(f"{name}: results are being lost: {why}", "warning")
        elif now.sent > before.sent and now.dropped == before.dropped and name in self._losing:
            self._losing.remove(name)
            self._say(f"{name}: works again, {now.dropped} lost so far", "info")
        elif name not in self._losing:
            self._report_waiting(name, now, now.sent > before.sent)

    def _report_waiting(self, name: str, now: DeliveryStats, delivered: bool) -> None:
        """Say that attempts fail again and again, before the queue is full, and when one succeeds.

        One failed attempt is no news: the next follows within a second.
        """
        if delivered or name not in self._failing_since:
            self._failing_since[name] = now.retries
        if delivered and name in self._waiting:
            self._waiting.remove(name)
            self._say(f"{name}: works again", "info")
        elif now.retries >= self._failing_since[name] + _REPEATED and name not in self._waiting:
            self._waiting.add(name)
            self._say(f"{name}: {now.last_error}; it is tried again, results wait", "warning")

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
            size = f", {each.size_hw[1]} x {each.size_hw[0]} pixels" if each.size_hw else ""
            print(printable(f"source {each.id}: {each.label}{size}"), file=to)
        dropped: Counter[str] = Counter()
        for each in sources:
            dropped.update(each.dropped)
        if dropped:
            causes = ", ".join(f"{count} {cause}" for cause, count in dropped.most_common())
            print(f"dropped: {causes}", file=to)
        for each in sources:
            for why in each.unreadable:
                print(printable(f"source {each.id}: {why}"), file=to)
            if each.state == "ended" and each.lost and not each.unreadable:
                print(printable(_lost(each)), file=to)
        for name, delivery in self._deliveries.items():
            print(printable(_delivered(name, delivery())), file=to)
        frames = plural(sum(each.processed for each in sources), "frame")
        found = ", ".join(f"{count} {name}" for name, count in self._found.most_common())
        total = plural(self._found.total(), "detection")
        print(f"{frames}, {total}{': ' if found else ''}{found}", file=to)

    def document(self) -> dict[str, object]:
        """The final counters as plain values, for JSON."""
        return {
            "schema": SUMMARY_SCHEMA,
            "detections": self._found.total(),
            "classes": dict(self._found.most_common()),
            "sources": list(self._stats()),
            "outputs": {name: read() for name, read in self._deliveries.items()},
        }

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
    done = "written" if name in _FILES else "delivered"
    return f"{name}: {stats.sent} results {done}{lost}{error}"


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


def _status(stats: SourceStats, *, with_share: bool = True) -> str:
    if stats.state != "live":
        return f"{stats.id} {stats.state}"
    known = with_share and stats.position_s and stats.done_share
    share = f" {int(100 * known)} %" if known else ""
    age = "" if stats.age_p50_ms is None else f" {stats.age_p50_ms:.0f} ms"
    drops = sum(stats.dropped.values())
    return f"{stats.id}{share} {stats.fps:.1f} fps{age}{f' -{drops}' if drops else ''}"


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

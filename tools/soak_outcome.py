"""What came of a soak: the judgement and the table."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ghost_deploy.stream.source_stats import SourceStats
from tools.soak_faults import BOMB_EVERY
from tools.soak_frames import Check
from tools.soak_growth import fit, low_used, slope, split, used_slope
from tools.soak_samples import Sample

KEEP_MIB = 8
"""Limit of each sink that writes files."""

WARMUP = 0.35
"""Share of a run in which caches and the three minutes of the web view's history fill."""

_MOST_MIB_PER_HOUR, _MOST_MIB_PER_HOUR_LONG = 6.0, 2.5
_LONG_MINUTES = 30


@dataclass
class Soak:
    """The outcome of a run.

    Attributes:
        limits: of the command line.
        check: of every frame.
        samples: of the process, in order.
        stats: of the sources at the end; the last was dead from the start.
        restarts: of the first camera.
        looks: answers of the web view.
        kept_mib: in the folder of the sinks at the end.
        lost: results that a sink did not take.
        visits: how often silent visitors asked for `/livez`, and how often it failed; none
            without faults. The last camera is then the one that sends huge images.
    """

    limits: argparse.Namespace
    check: Check
    samples: list[Sample]
    stats: Sequence[SourceStats]
    restarts: int
    looks: int
    kept_mib: float
    lost: int
    visits: Sequence[int] = ()

    @property
    def settled(self) -> list[Sample]:
        return self.samples[int(len(self.samples) * WARMUP) :]

    def most(self, name: str) -> tuple[int, int]:
        """The most of a count in each half; of descriptors the median, as visitors come and go."""
        settled = self.settled
        half = len(settled) // 2
        counts = [[getattr(s, name) for s in h] for h in (settled[:half], settled[half:])]
        if name == "descriptors":
            first, second = (int(np.median(each)) for each in counts)
        else:
            first, second = (max(each) for each in counts)
        return first, second

    @property
    def most_mib_per_hour(self) -> float:
        asked: float | None = self.limits.most_mib_per_hour
        if asked is not None:
            return asked
        return _MOST_MIB_PER_HOUR_LONG if self.is_long else _MOST_MIB_PER_HOUR

    @property
    def is_long(self) -> bool:
        return bool(self.limits.minutes >= _LONG_MINUTES)

    @property
    def age_limit_ms(self) -> float:
        return 1000 / int(self.limits.fps) + self.check.times.percentile(99)

    def wrong(self) -> list[str]:
        """List what is wrong with the run."""
        wrong = [f"{count} frames {what}" for what, count in self.check.wrong.items()]
        *cameras, dead = self.stats
        for each in self.stats:
            if each.captured != each.processed + sum(each.dropped.values()):
                wrong.append(f"the counters of source {each.id} do not add up: {each}")
        wrong += [f"source {x.id} gave nothing: {x.last_error}" for x in cameras if not x.processed]
        if dead.captured or dead.state != "lost":
            wrong.append(f"the dead source is {dead.state}")
        # The last restart may have been in the last moment.
        if not self.restarts - 1 <= cameras[0].reconnects <= self.restarts:
            wrong.append(f"{cameras[0].reconnects} reconnects in {self.restarts} restarts")
        wrong += [f"source {x.id} was lost" for x in cameras[1:] if x.reconnects]
        for name in ("threads", "descriptors", "children"):
            first, second = self.most(name)
            if second > first:
                wrong.append(f"{name} have grown from {first} to {second}")
        age = self.check.ages.percentile(99)
        if age > self.age_limit_ms:
            wrong.append(f"frames are up to {age:.0f} ms old, over {self.age_limit_ms:.0f} ms")
        wrong += self._wrong_under_faults(cameras[-1])
        if self.lost:
            wrong.append(f"the sinks have lost {self.lost} results")
        if not self.looks:
            wrong.append("the web view did not answer")
        if self.kept_mib > 3 * KEEP_MIB * 1.3:
            wrong.append(f"{self.kept_mib:.0f} MiB were kept")
        return wrong + self._wrong_memory()

    def _wrong_under_faults(self, camera: SourceStats) -> list[str]:
        if not self.limits.faults:
            return []
        wrong = []
        if len(self.visits) != 2 or not self.visits[0] or self.visits[1]:
            wrong.append(f"silent visitors asked for /livez and did not get it: {self.visits}")
        # Those that a newer frame replaced before they were read are not looked into.
        sent, broken = camera.captured / BOMB_EVERY, camera.dropped.get("broken", 0)
        if broken > sent + 2 or (sent > 5 and not broken):
            wrong.append(f"huge images are not counted as broken: {camera.dropped}")
        return wrong

    def _wrong_memory(self) -> list[str]:
        most = self.most_mib_per_hour
        rate, error = slope(self.settled)
        used, used_error = used_slope(self.settled)
        wrong = []
        if rate - 2 * error > most:
            wrong.append(f"the resident memory grows by {rate:.1f} ± {error:.1f} MiB/h")
        if used - 2 * used_error > most:
            wrong.append(f"the memory in use grows by {used:.1f} ± {used_error:.1f} MiB/h")
        # A short run is less exact: it detects fast growth, a long one leaks.
        noise = 2 * max(error, used_error)
        if self.is_long and noise > most:
            wrong.append(
                f"the memory is too noisy for a verdict: ± {noise / 2:.1f} MiB/h; run it longer"
            )
        return wrong

    def _halves(self) -> Iterator[str]:
        for half in split(self.settled, 2):
            yield "{:+.2f} ± {:.2f} and {:+.2f} ± {:.2f} MiB/h".format(
                *slope(half), *used_slope(half)
            )

    def table(self) -> str:
        """The figures, in markdown."""
        limits, cameras = self.limits, self.stats[:-1]
        rate, error = slope(self.settled)
        used, used_error = used_slope(self.settled)
        parts = split(self.settled, 20)
        last = low_used(split(self.settled, 10)[-1])
        dropped: Counter[str] = Counter()
        for each in cameras:
            dropped.update(each.dropped)
        ages, times = self.check.ages, self.check.times
        rows = {
            "run": f"{limits.minutes:g} min, {len(cameras)} cameras of {limits.size[1]}x"
            f"{limits.size[0]} at {limits.fps} frames/s (RTSP by {limits.rtsp_by}), one more dead",
            "restarts of a camera, reconnects counted": f"{self.restarts}, {cameras[0].reconnects}",
            "frames captured": str(sum(each.captured for each in cameras)),
            "frames inferred": str(sum(each.processed for each in cameras)),
            "frames dropped": ", ".join(f"{n} {cause}" for cause, n in dropped.items()) or "0",
            "frames invented, repeated or out of order": str(sum(self.check.wrong.values())),
            "resident memory at the end": f"{self.samples[-1].rss_mib:.1f} MiB",
            "its growth": f"{rate:+.2f} ± {error:.2f} MiB/h",
            "memory in use, lower quartile at the end": f"{last:.1f} MiB",
            "growth of that": f"{used:+.2f} ± {used_error:.2f} MiB/h",
            "both in each half after the warm-up": ", ".join(self._halves()),
            "blocks of Python's allocator, growth": "{:+.0f} ± {:.0f} an hour".format(
                *fit(parts, [float(np.mean([x.blocks for x in part])) for part in parts])
            ),
            **{
                f"{name}, {which} in each half": "{}, {}".format(*self.most(name))
                for name, which in (
                    ("threads", "most"),
                    ("descriptors", "median"),
                    ("children", "most"),
                )
            },
            "frame age p50, p99": f"{ages.percentile(50):.1f}, {ages.percentile(99):.1f} ms",
            "pre + run + post p50, p99": f"{times.percentile(50):.1f}, "
            f"{times.percentile(99):.1f} ms",
            "frame interval + inference p99": f"{self.age_limit_ms:.1f} ms",
            "kept by three sinks": f"{self.kept_mib:.0f} MiB of {3 * KEEP_MIB}",
            "results lost by them": str(self.lost),
            "answers of the web view": str(self.looks),
            "visits of `/livez` among silent connections, failed": ", ".join(map(str, self.visits)),
        }
        lines = [f"| {name} | {value} |" for name, value in rows.items()]
        return "\n".join(["| what | figure |", "|---|---|", *lines])

"""Power, temperature and GPU load while models run, where `tegrastats` is installed."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from ghost_deploy.core.evidence.machine import PowerFigures
from ghost_deploy.judge.bench.tegrastats import TegraSample, parse_line

INTERVAL_S = 0.1
_STOP_LIMIT_S = 2.0

TimeSpan = tuple[float, float]
"""From when to when something ran, seconds of the monotonic clock."""


class Sampler:
    """Collects the lines of a running tegrastats with the time at which each came.

    Args:
        lines: of tegrastats; a thread of the sampler reads them to their end.
        clock: monotonic seconds.
    """

    def __init__(self, lines: Iterator[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._samples: list[tuple[float, TegraSample]] = []
        self._thread = threading.Thread(target=self._collect, args=(lines,), daemon=True)
        self._thread.start()

    def within(self, turns: Sequence[TimeSpan]) -> list[TegraSample]:
        """The samples of `turns`.

        A line covers the interval since the one before: within the first interval of a turn it
        may still cover another candidate.
        """
        return [
            sample
            for when, sample in tuple(self._samples)
            if any(start + INTERVAL_S <= when <= end for start, end in turns)
        ]

    def join(self) -> None:
        """Wait until the last line was read."""
        self._thread.join(_STOP_LIMIT_S)

    def _collect(self, lines: Iterator[str]) -> None:
        for line in lines:
            sample = parse_line(line)
            if sample is not None:
                self._samples.append((self._clock(), sample))


@contextlib.contextmanager
def sampling(command: str = "tegrastats") -> Iterator[Sampler | None]:
    """Run tegrastats while the block runs; yields None where it is not installed.

    Args:
        command: name or path of the program.
    """
    program = shutil.which(command)
    if program is None:
        yield None
        return
    child = subprocess.Popen(
        [program, "--interval", str(round(INTERVAL_S * 1000))],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        errors="replace",
    )
    assert child.stdout is not None  # a pipe was asked for
    sampler = Sampler(child.stdout)
    try:
        yield sampler
    finally:
        child.terminate()
        try:
            child.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        sampler.join()
        child.stdout.close()


def power_figures(samples: Sequence[TegraSample], images_per_second: float) -> PowerFigures | None:
    """The figures of one candidate; None without a sample.

    Args:
        samples: taken in its turns.
        images_per_second: its throughput in those turns.
    """
    if not samples:
        return None
    watts = [sample.total_watts for sample in samples if sample.total_watts is not None]
    loads = [sample.gpu_load for sample in samples if sample.gpu_load is not None]
    heat = [max(sample.temperatures.values()) for sample in samples if sample.temperatures]
    mean = sum(watts) / len(watts) if watts else None
    return PowerFigures(
        samples=len(samples),
        watts=mean,
        rails=tuple(rail.name for rail in samples[0].total_rails),
        joules_per_image=mean / images_per_second if mean and images_per_second else None,
        gpu_load=sum(loads) / len(loads) if loads else None,
        temperature_c=max(heat, default=None),
    )

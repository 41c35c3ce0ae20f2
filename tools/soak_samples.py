"""Samples of a process while it soaks: memory, threads, descriptors, children."""

from __future__ import annotations

import contextlib
import csv
import ctypes
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Sample:
    """The process at one moment: seconds since the start, MiB resident and in use, counts."""

    at_s: float
    rss_mib: float
    used_mib: float
    threads: int
    descriptors: int
    children: int
    blocks: int = 0  # that Python's own allocator has handed out


class SampleTable:
    """Samples in a table that is as large from the start: as objects they would be what grows.

    Args:
        most: samples, at least.
    """

    def __init__(self, most: int) -> None:
        self._rows = np.full((most, len(fields(Sample))), np.nan)
        self._count = 0

    @property
    def last_s(self) -> float:
        """When the last one was taken; before the first, minus infinity."""
        return float(self._rows[self._count - 1, 0]) if self._count else -np.inf

    def add(self, sample: Sample) -> None:
        if self._count < len(self._rows):
            self._rows[self._count] = [getattr(sample, each.name) for each in fields(Sample)]
            self._count += 1

    def samples(self) -> list[Sample]:
        """All, in order."""
        return [
            Sample(float(at), float(rss), float(used), *map(int, counts))
            for at, rss, used, *counts in self._rows[: self._count]
        ]


@contextlib.contextmanager
def sample_file(path: Path | None) -> Iterator[Callable[[Sample], None]]:
    """A function that writes samples to a CSV file line by line, or nowhere."""
    if path is None:
        yield lambda _sample: None
        return
    names = [field.name for field in fields(Sample)]
    with path.open("w", newline="", buffering=1) as file:
        lines = csv.writer(file)
        lines.writerow(names)

        def write(sample: Sample) -> None:
            lines.writerow([getattr(sample, name) for name in names])

        yield write


class _Mallinfo2(ctypes.Structure):
    """Of glibc's malloc.h; all in bytes but for two counts."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def used_mib() -> float:
    """What malloc has handed out and Python's own allocator, about 80 bytes a block, has."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _Mallinfo2
    facts = mallinfo2()
    return float(facts.uordblks + facts.hblkhd + 80 * sys.getallocatedblocks()) / 2**20


def take_sample(began: float) -> Sample:
    """From /proc: Linux only. Children are those of the main thread and of all others."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    tasks = list(Path("/proc/self/task").iterdir())
    children = 0
    for task in tasks:
        with contextlib.suppress(OSError):  # a thread that has ended
            children += len((task / "children").read_text().split())
    return Sample(
        at_s=time.monotonic() - began,
        rss_mib=pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        used_mib=used_mib(),
        threads=len(tasks),
        descriptors=len(os.listdir("/proc/self/fd")),
        children=children,
        blocks=sys.getallocatedblocks(),
    )

"""Which frames of a video came and which did not: every packet is a frame, or it is broken."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Came:
    """A frame in its place.

    Attributes:
        time: in units of the time base; None if unknown.
        is_broken: whether it did not decode.
    """

    time: int | None
    is_broken: bool


class FrameLedger:
    """Matches the frames that a decoder returns with the packets that it was given.

    Decoders return frames in the order of presentation, later than their packets. Of those that
    they cannot decode they tell by an error, later still, or not at all. A packet's time for which
    there is no frame when a later one comes is a broken frame. Where no packets are given, errors
    count.

    Args:
        by_time: match by time. False where packets have none, or not that of presentation (AVI with
            B-frames): each frame, and each error, then takes the earliest packet's time.

    Times may begin again, where a file is several ones in a row: `part` says from where on.
    """

    def __init__(self, *, by_time: bool) -> None:
        self._by_time = by_time
        self._due: list[tuple[int, int]] = []  # part and time
        self._unstamped = 0  # packets without a time
        self._is_used = False

    def sent(self, time: int | None, part: int = 0) -> None:
        """The decoder was given a packet of that time, in units of the time base."""
        self._is_used = True
        if time is None:
            self._unstamped += 1
        else:
            heapq.heappush(self._due, (part, time))

    def failed(self) -> Iterator[Came]:
        """The decoder told of an error; yields the broken frame, if a later one does not."""
        if not (self._by_time and self._is_used) or self._unstamped:
            yield Came(self._earliest(), True)

    def came(self, time: int | None) -> Iterator[Came]:
        """The decoder returned a frame of that time; yields it, behind broken ones before it."""
        if not self._by_time or time is None:
            yield Came(self._earliest(), False)
            return
        place = self._part_of(time), time
        while self._due and self._due[0] < place:
            yield Came(heapq.heappop(self._due)[1], True)
        if self._due and self._due[0] == place:
            heapq.heappop(self._due)
        yield Came(time, False)

    def ended(self) -> Iterator[Came]:
        """There are no more frames; yields those that did not come."""
        while self._due:
            yield Came(heapq.heappop(self._due)[1], True)
        for _ in range(self._unstamped):
            yield Came(None, True)
        self._unstamped = 0

    def _part_of(self, time: int) -> int:
        """The first part with a packet of that time, else the part that comes next."""
        if not self._due or self._due[0][1] == time:
            return self._due[0][0] if self._due else 0
        return min((part for part, due in self._due if due == time), default=self._due[0][0])

    def _earliest(self) -> int | None:
        if self._due:
            return heapq.heappop(self._due)[1]
        self._unstamped -= self._unstamped > 0
        return None

"""What a sink is, and what its parts share."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from urllib.parse import SplitResult, urlsplit

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import ExportError, InputError
from ghost_deploy.core.files import write_whole
from ghost_deploy.stream.result import Result

Annotate = Callable[[Result], NDArray[np.uint8]]
"""Returns the annotated image of a result: (H, W, 3) uint8 BGR, not to be changed."""


class Sink(Protocol):
    """Takes results. Called from one thread; `close` once, after the last `write`."""

    @property
    def held(self) -> int:
        """Results taken that are not in a file yet: they are written with later ones."""
        return 0

    @property
    def lost(self) -> int:
        """Results that were held and could not be written."""
        return 0

    def wants(self, result: Result) -> bool:
        """Whether `write` would do anything with this result; by default it does with all."""
        return True

    def write(self, result: Result) -> None:
        """Take one result. The frame's image is not changed and may be kept."""

    def close(self) -> None:
        """Flush and release what is held; by default there is nothing."""
        return


@dataclass(frozen=True)
class DeliveryStats:
    """The counters of a sink that may lose results, at one moment.

    Every result that the sink is to pass on is `sent`, `dropped` or `waiting`.

    Attributes:
        sent: accepted by the server, or written to the file.
        dropped: refused, removed from a full queue, not written, or left at the end.
        waiting: in the queue, under way, or held until more is written with it.
        retries: failed attempts that were repeated or will be.
        last_error: of the last failed attempt, without credentials.
        stuck: the delivery under way takes so long that other sinks no longer wait for it.
    """

    sent: int = 0
    dropped: int = 0
    waiting: int = 0
    retries: int = 0
    last_error: str = ""
    stuck: bool = False


class DeliveryCounter:
    """Counts deliveries; any thread may call its methods."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._error = ""

    def add(self, error: str = "", **changes: int) -> None:
        """Add `changes` to the counters of those names; `error` is the last one, if given."""
        with self._lock:
            for name, change in changes.items():
                self._counts[name] += change
            self._error = error or self._error

    def stats(self) -> DeliveryStats:
        """Return the counters now."""
        with self._lock:
            counts: dict[str, Any] = dict(self._counts)
            return DeliveryStats(**counts, last_error=self._error)


@runtime_checkable
class CountingSink(Sink, Protocol):
    """A sink that may lose results, and counts them."""

    def stats(self) -> DeliveryStats:
        """Return the counters now; any thread may call it."""


ReadDelivery = Callable[[], DeliveryStats]
"""As `CountingSink.stats`."""


def cannot_write(name: str, error: Exception) -> InputError:
    """The error of a file or folder that the system refuses to write."""
    return InputError(
        f"cannot write {name}",
        got=getattr(error, "strerror", None) or str(error),
        fix="Free some space or choose a place that you may write to",
    )


def server_url(text: str, schemes: Collection[str]) -> SplitResult | None:
    """Return the parts of the address of a server, or None if it is not valid.

    Args:
        text: the address.
        schemes: the accepted ones.
    """
    try:
        parts = urlsplit(text)
        ok = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if ok else None


def write_file(target: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        InputError: the system refuses; nothing is left behind, an older file is untouched.
    """
    try:
        write_whole(target, lambda file: file.write(data))
    except ExportError as error:
        raise InputError(error.what, got=error.got, fix=error.fix) from error

"""Progress reports of long operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with a description, the number of finished steps, and that of all steps (0: unknown)."""


def show_left(progress: Progress, seconds: float) -> None:
    """Tell a `progress` that has a method of this name how long all steps together still take."""
    show: Callable[[float], None] | None = getattr(progress, "show_left", None)
    if show is not None:
        show(seconds)


def silent(what: str, done: int, total: int) -> None:
    """A `Progress` that shows nothing; arguments as there."""

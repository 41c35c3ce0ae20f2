"""Progress reports of long operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with a description, the number of finished steps, and that of all steps (0: unknown)."""


def silent(what: str, done: int, total: int) -> None:
    """A `Progress` that shows nothing; arguments as there."""

"""Numbers, sizes and texts for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ghost_deploy.core.bundle import Artifact, Bundle


def by(size_hw: tuple[int, int]) -> str:
    """Height and width in pixels, e.g. `480 x 640`."""
    return f"{size_hw[0]} x {size_hw[1]}"


def mebibytes(count: int) -> str:
    """A number of bytes in MiB, a small one in KiB."""
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 / 10 else f"{count / 2**10:.1f} KiB"


def plural(count: int, noun: str) -> str:
    """The count and the noun, e.g. `1 image`, `2 images`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def size_of(bundle: Bundle, artifact: Artifact) -> int:
    """Bytes of all files of an artifact."""
    return sum((bundle.path / name).stat().st_size for name in artifact.files)


def clock(seconds: float) -> str:
    """Minutes and seconds, e.g. `1:20`, or `2:05:00` with hours."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

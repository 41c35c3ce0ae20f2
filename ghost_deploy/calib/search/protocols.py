"""What the search needs from outside: a judge of accuracy and a stopwatch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.evidence.int8 import FileAccuracy, Judged, SpeedRow


class AccuracyJudge(Protocol):
    """Measures the accuracy of int8 files."""

    @property
    def facts(self) -> Judged:
        """What accuracy is measured on, with the points of the float model."""

    @property
    def fingerprint(self) -> str:
        """sha256 of the images and their labels."""

    @property
    def default_max_drop(self) -> float:
        """Points that an int8 file may lose unless the user sets a limit."""

    @property
    def keep_limit(self) -> float:
        """Points: a file of another vendor's form that surely loses more is kept on request only,
        see `calib.search.left_out`."""

    def points(self, runtime: str, path: Path, label: str = "") -> float:
        """mAP50-95 of a file in points, 0 to 100.

        Args:
            runtime: name of the runtime; it runs the file whatever its form.
            path: of the file.
            label: for progress.

        Raises:
            BackendError: the runtime cannot run the file, or its results are not finite.
            UnavailableError: the runtime is not installed.
        """

    def accuracy(self, runtime: str, path: Path, max_drop: float, label: str = "") -> FileAccuracy:
        """Accuracy of a file, on as many images as decide whether it may be used.

        Args:
            runtime, path, label: as in `points`.
            max_drop: points that may be lost.

        Raises:
            BackendError, UnavailableError: as `points`.
        """

    def quiet(self, threads: int | None = None) -> AccuracyJudge:
        """Returns a picklable copy without progress reporting.

        Args:
            threads: of its runtimes; None for those of this judge.
        """


class Stopwatch(Protocol):
    """Measures times on this machine."""

    @property
    def machine(self) -> str:
        """Name of the processor."""

    def file_times_ms(self, files: Sequence[Path]) -> dict[Path, float]:
        """Milliseconds of one run of each file, measured in turns; files that fail are left out.

        Args:
            files: model files of one form.

        Raises:
            BackendError, UnavailableError: none of them can be timed.
        """

    def speed_rows(self, bundle: Bundle) -> tuple[tuple[SpeedRow, ...], tuple[str, ...]]:
        """Times of all artifacts of a bundle that run here, fastest first, and doubts of them."""

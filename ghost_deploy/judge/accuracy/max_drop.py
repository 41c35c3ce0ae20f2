"""How much mAP an artifact may lose: what the user says, what its calibration was held to, or the
default of the precision."""

from __future__ import annotations

from dataclasses import dataclass

from ghost_deploy.core.bundle import Artifact, Bundle
from ghost_deploy.core.errors import UsageError

__all__ = ["MAX_DROP", "Bar", "bar_of", "max_drop_for"]


@dataclass(frozen=True)
class Bar:
    """The largest loss of mAP50-95 that passes, points, and where it comes from if that must be
    said."""

    points: float
    note: str = ""


def bar_of(bundle: Bundle, artifact: Artifact, precision: str, asked: float | None) -> Bar:
    """The bar of an artifact, or of an engine that was built from it.

    A calibration that had no labels was held to points of agreement, which are no points of mAP.

    Args:
        bundle: that holds it.
        artifact: which.
        precision: that it is run in.
        asked: what the user says; None for nothing.

    Raises:
        UsageError: there is no bar for that precision.
    """
    if asked is not None:
        return Bar(asked)
    calibrated = _calibrated(bundle, artifact) if precision == "int8" else None
    if calibrated is None:
        return Bar(max_drop_for(precision))
    return Bar(calibrated, f"may lose {calibrated:g} points: the bar of its calibration")


def _calibrated(bundle: Bundle, artifact: Artifact) -> float | None:
    """The limit that calibration held it to; None where it was not judged on labels."""
    report = bundle.evidence.int8
    if report is None or report.judged.by != "labels":
        return None
    files = (artifact.files.get(artifact.path, ""), artifact.parent)
    return next((row.max_drop for row in report.rows if row.sha256 in files), None)


MAX_DROP: dict[str, float] = {"fp32": 0.1, "fp16": 0.1, "bf16": 0.3, "int8": 0.5}
"""Largest loss of mAP50-95 by the precision that a model runs in, in points (0.01).

bf16 has 3 bits of mantissa less than fp16: -0.03 and +0.10 points were measured on two trained
checkpoints with 87 images. That of int8 is the default of calibration too; an artifact whose
calibration was given another one is held to that, see `bars`.
"""


def max_drop_for(precision: str) -> float:
    """The largest loss of mAP50-95 that passes in that precision, points.

    Raises:
        UsageError: there is no gate for it.
    """
    try:
        return MAX_DROP[precision]
    except KeyError:
        raise UsageError(
            f"there is no accuracy gate for precision {precision!r}",
            expected=", ".join(MAX_DROP),
            fix="Name the largest loss yourself: --max-drop POINTS",
        ) from None

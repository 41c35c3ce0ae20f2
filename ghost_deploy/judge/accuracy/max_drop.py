"""How much mAP an artifact may lose: the user's limit, that of its calibration, or that of the
precision."""

from __future__ import annotations

from dataclasses import dataclass

from ghost_deploy.core.bundle import Artifact, Bundle
from ghost_deploy.core.lookup import entry_of


@dataclass(frozen=True)
class MaxDrop:
    """The largest loss of mAP50-95 that passes, in points (0.01), and a note on its origin."""

    points: float
    note: str = ""


def max_drop_of(bundle: Bundle, artifact: Artifact, precision: str, asked: float | None) -> MaxDrop:
    """The limit of an artifact, or of an engine that was built from it.

    The limit of a calibration without labels does not count: its points are of agreement with the
    float model, not of mAP.

    Args:
        bundle: that holds the artifact.
        artifact: one of its artifacts.
        precision: of the run.
        asked: limit that the user set, points.

    Raises:
        UsageError: there is no limit for that precision.
    """
    if asked is not None:
        return MaxDrop(asked)
    calibrated = _calibrated(bundle, artifact) if precision == "int8" else None
    if calibrated is None:
        return MaxDrop(default_max_drop(precision))
    return MaxDrop(calibrated, f"may lose {calibrated:g} points: the limit of its calibration")


def _calibrated(bundle: Bundle, artifact: Artifact) -> float | None:
    """The limit of its calibration; None if that was not judged on labels."""
    report = bundle.evidence.int8
    if report is None or report.judged.by != "labels":
        return None
    files = (artifact.files.get(artifact.path, ""), artifact.parent)
    return next((row.max_drop for row in report.rows if row.sha256 in files), None)


MAX_DROP: dict[str, float] = {"fp32": 0.1, "fp16": 0.1, "bf16": 0.3, "int8": 0.5}
"""Largest loss of mAP50-95 by the precision of the run, in points (0.01).

That of bf16 is three times the largest loss measured on OpenVINO 2026.4 on a CPU with AVX512-BF16:
-0.09, +0.05, -0.05 and -0.03 points on two trained checkpoints at 416 and 640 with 87 images,
+0.11 on the embedded detector with 100 scenes. That of int8 is the default of calibration too; the
limit of a calibration with labels takes its place, see `max_drop_of`.
"""


def default_max_drop(precision: str) -> float:
    """The largest loss of mAP50-95 that passes in that precision, points.

    Raises:
        UsageError: there is no gate for it.
    """
    fix = "Name the largest loss yourself: --max-drop POINTS"
    return entry_of(MAX_DROP, precision, "accuracy gate for precision", fix=fix)

"""How much mAP an artifact may lose: what the user says, what its calibration was held to, or the
default of the precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ghost_deploy.core.bundle import Artifact, Bundle
from ghost_deploy.core.evidence.accuracy import max_drop_for

__all__ = ["Bar", "bar_of"]


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
    """What the bundle's int8 evidence says; its types belong to a room above this one."""
    document: Any = bundle.document.evidence.get("int8")
    files = (artifact.files.get(artifact.path, ""), artifact.parent)
    try:
        if document["judged"]["by"] != "labels":
            return None
        for row in document["rows"]:
            if isinstance(row, Mapping) and row["sha256"] in files:
                return float(row["max_drop"])
    except (KeyError, TypeError, ValueError):
        return None  # evidence of another version
    return None

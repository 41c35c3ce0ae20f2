"""Select detections by class and by score limits for each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ghost_deploy.core.class_names import Classes, class_ids
from ghost_deploy.core.detections import Detections


class ClassFilter:
    """Keeps the detections of selected classes above their score limits.

    Args:
        class_names: of the model, by class id.
        classes: names or numbers of the classes to keep; all when empty. What is no name as a
            whole is split at its commas.
        conf: least score, 0 to 1, of all classes or of each.
        class_conf: least score for classes by name or number, instead of `conf`.

    Raises:
        UsageError: the model has no such class.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        conf: float | Sequence[float],
        classes: Classes = (),
        class_conf: Mapping[str, float] | None = None,
    ) -> None:
        limits = np.full(len(class_names), np.asarray(conf, np.float32), np.float32)
        for name, limit in (class_conf or {}).items():
            limits[class_ids([name], class_names)] = limit
        kept = class_ids(classes, class_names)
        if kept:
            others = np.setdiff1d(np.arange(len(class_names)), kept)
            limits[others] = np.inf
        self._limits = limits

    @property
    def limits(self) -> tuple[float, ...]:
        """The limit of each class; above 1 for a class that is not kept."""
        return tuple(self._limits.tolist())

    @property
    def least(self) -> float:
        """The lowest limit of any class, which the detector must be configured with."""
        finite = self._limits[np.isfinite(self._limits)]
        return float(finite.min())

    def __call__(self, found: Detections) -> Detections:
        """Return the detections of `found` that are kept."""
        keep = found.score > self._limits[found.class_id]
        return found if keep.all() else found[keep]

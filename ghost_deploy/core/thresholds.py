"""Thresholds of the post-processing, and those that were chosen for a model."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.head_spec import SpecStruct


class Thresholds(SpecStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Thresholds of the post-processing.

    Attributes:
        conf: score threshold, exclusive, 0 to 1.
        iou: NMS removes a box whose IoU with a better one is greater, 0 to 1.
        max_det: maximum number of detections per image.
        agnostic: NMS lets boxes of different classes suppress each other.
        class_conf: score threshold of each class by its id, in place of `conf`; empty for none.
    """

    conf: float = 0.25
    iou: float = 0.7
    max_det: int = 300
    agnostic: bool = False
    class_conf: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        self._require(0 <= self.conf < 1, "conf must be in [0, 1)", self.conf)
        self._require(0 <= self.iou <= 1, "iou must be in [0, 1]", self.iou)
        self._require(1 <= self.max_det <= 30_000, "max_det must be 1 to 30000", self.max_det)
        ok = all(0 <= conf < 1 for conf in self.class_conf)
        self._require(ok, "class_conf must be in [0, 1)", self.class_conf)

    @property
    def least_conf(self) -> float:
        """The lowest score threshold of any class."""
        return min(self.class_conf, default=self.conf)

    def conf_of(self, class_ids: NDArray[np.int32]) -> NDArray[np.float32]:
        """(N,) float32, the score threshold of each of (N,) class ids."""
        if not self.class_conf:
            return np.full(len(class_ids), self.conf, np.float32)
        return np.asarray(self.class_conf, np.float32)[class_ids]

    def changed(
        self,
        *,
        conf: float | None = None,
        iou: float | None = None,
        max_det: int | None = None,
        agnostic: bool | None = None,
    ) -> Thresholds:
        """These thresholds, with those that are not None in their place.

        `conf` takes the place of the scores of single classes too.

        Raises:
            SpecError: one is out of range.
        """
        given = {"conf": conf, "iou": iou, "max_det": max_det, "agnostic": agnostic}
        changes: dict[str, Any] = {name: v for name, v in given.items() if v is not None}
        if conf is not None:
            changes["class_conf"] = ()
        return msgspec.structs.replace(self, **changes)


class ChosenThresholds(SpecStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Score thresholds by class that were chosen on labelled images, and where they came from.

    Attributes:
        conf: of each class by its id, exclusive, 0 to 1.
        kept: ids of the classes for which nothing could be chosen: they have the default.
        metric: `f1`, `precision=P` or `recall=R`, at IoU 0.5.
        data: file name and split of the images.
        fingerprint: of these images and their labels, as in `DatasetFacts`.
        images, boxes: number of images, and of labelled objects that count.
        run: what was measured, e.g. `openvino-fp32 on openvino`.
        date: UTC, ISO 8601.
    """

    conf: tuple[float, ...]
    metric: str
    data: str
    fingerprint: str
    images: int
    boxes: int
    run: str
    date: str
    kept: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        ok = all(0 <= conf < 1 for conf in self.conf)
        self._require(ok, "conf must be in [0, 1)", self.conf)
        ok = all(0 <= class_id < len(self.conf) for class_id in self.kept)
        self._require(ok, "kept are ids of classes", self.kept)

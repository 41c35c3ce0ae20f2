"""The detections of one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import MissingExtraError, ShapeError


@dataclass(frozen=True, eq=False)
class Detections:
    """The detections of one image, as columns, best first.

    Sorted by descending score, then class, then x1; the constructor sorts unsorted columns. An
    image without detections is `Detections.empty()`, never None.

    Attributes:
        xyxy: (N, 4) float32, x1 y1 x2 y2 in source pixels; continuous, clipped, not rounded.
        score: (N,) float32 in 0 to 1.
        class_id: (N,) int32 from 0.
        class_names: names by class id; may be empty.

    Raises:
        ShapeError: a column has the wrong shape or length.

    Example:
        >>> found = Detections([[0, 0, 4, 2], [1, 1, 3, 3]], [0.5, 0.9], [0, 1], ("cat", "dog"))
        >>> found.names
        ['dog', 'cat']
        >>> len(found[found.score > 0.7])
        1
    """

    xyxy: NDArray[np.float32]
    score: NDArray[np.float32]
    class_id: NDArray[np.int32]
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        xyxy = np.asarray(self.xyxy, np.float32)
        if xyxy.size == 0:
            xyxy = xyxy.reshape(-1, 4)
        score = np.asarray(self.score, np.float32)
        class_id = np.asarray(self.class_id, np.int32)
        count = len(xyxy)
        if xyxy.shape != (count, 4) or score.shape != (count,) or class_id.shape != (count,):
            raise ShapeError(
                "the columns of Detections do not fit together",
                got=f"xyxy {xyxy.shape}, score {score.shape}, class_id {class_id.shape}",
                expected="(N, 4), (N,) and (N,)",
                fix="Pass three columns of one length",
            )
        order = np.lexsort((xyxy[:, 0], class_id, -score))
        if not np.array_equal(order, np.arange(count)):
            xyxy, score, class_id = xyxy[order], score[order], class_id[order]
        object.__setattr__(self, "xyxy", xyxy)
        object.__setattr__(self, "score", score)
        object.__setattr__(self, "class_id", class_id)
        object.__setattr__(self, "class_names", tuple(self.class_names))

    @classmethod
    def empty(cls, class_names: Sequence[str] = ()) -> Detections:
        """No detections: arrays of the usual dtypes, of length 0."""
        return cls(
            np.zeros((0, 4), np.float32),
            np.zeros(0, np.float32),
            np.zeros(0, np.int32),
            tuple(class_names),
        )

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, keep: NDArray[Any] | slice) -> Detections:
        """The rows selected by a (N,) boolean mask, an index array or a slice."""
        return Detections(self.xyxy[keep], self.score[keep], self.class_id[keep], self.class_names)

    def __repr__(self) -> str:
        counts: dict[str, int] = {}
        for name in self.names:
            counts[name] = counts.get(name, 0) + 1
        inside = ", ".join(f"{count} {name}" for name, count in counts.items())
        return f"Detections({len(self)}{': ' if inside else ''}{inside})"

    @property
    def names(self) -> list[str]:
        """The class name of each row; its class id without a name."""
        known = self.class_names
        return [known[i] if 0 <= i < len(known) else str(i) for i in self.class_id.tolist()]

    def to_dicts(self) -> list[dict[str, Any]]:
        """A JSON-ready dict for each row.

        Keys: `xyxy` (4 floats, source pixels), `score`, `class_id`, `class_name`.
        """
        columns = zip(
            self.xyxy.tolist(), self.score.tolist(), self.class_id.tolist(), self.names, strict=True
        )
        return [
            {"xyxy": box, "score": score, "class_id": class_id, "class_name": name}
            for box, score, class_id, name in columns
        ]

    def to_coco(
        self, image_id: int, category_ids: Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """A COCO result for each row: `bbox` is x, y, width, height in source pixels.

        Args:
            image_id: id of the image in the COCO data set.
            category_ids: COCO category of each class; default: class id + 1.
        """
        xywh = self.xyxy.copy()
        xywh[:, 2:] -= xywh[:, :2]
        columns = zip(xywh.tolist(), self.score.tolist(), self.class_id.tolist(), strict=True)
        return [
            {
                "image_id": image_id,
                "category_id": category_ids[class_id] if category_ids else class_id + 1,
                "bbox": box,
                "score": score,
            }
            for box, score, class_id in columns
        ]

    def to_supervision(self) -> Any:
        """Convert to `supervision.Detections`.

        Raises:
            MissingExtraError: the `supervision` package is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise MissingExtraError(
                "the Python package 'supervision' is not installed",
                fix="Install it with: pip install supervision",
            ) from error
        return supervision.Detections(
            xyxy=self.xyxy,
            confidence=self.score,
            class_id=self.class_id.astype(int),
            data={"class_name": np.asarray(self.names, dtype=object)},
        )

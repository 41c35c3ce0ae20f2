"""The detections of one image."""

from __future__ import annotations

import importlib
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ghost_deploy.core.errors import MissingExtraError, ShapeError
from ghost_deploy.core.image_input import ImageInput

Rows: TypeAlias = "NDArray[np.bool_ | np.integer[Any]] | slice | Sequence[bool] | Sequence[int]"
"""Several rows: a (N,) boolean mask, indices or a slice."""

_Draw: TypeAlias = "Callable[[ImageInput, Detections], NDArray[np.uint8]]"


@dataclass(frozen=True)
class Detection:
    """One object in an image, a row of `Detections`.

    Attributes:
        xyxy: x1, y1, x2, y2 in source pixels; continuous, clipped, not rounded.
        score: 0 to 1.
        class_id: from 0.
        name: of the class; its number where it has no name.
        track_id: of the object over the frames of a stream, from 1; 0 where it has none yet, None
            when objects are not tracked.
    """

    xyxy: tuple[float, float, float, float]
    score: float
    class_id: int
    name: str
    track_id: int | None = None

    @property
    def confidence(self) -> float:
        """`score`, under the name that supervision gives it."""
        return self.score


@dataclass(frozen=True, eq=False)
class Detections:
    """The detections of one image, as columns, best first.

    Sorted by descending score, then class, then x1; the constructor sorts unsorted columns. An
    image without detections is `Detections.empty()`, never None. `len`, `for each in detections`
    and `detections[0]` give its rows, each a `Detection`; a mask, indices or a slice select several
    rows.

    Attributes:
        xyxy: (N, 4) float32, x1 y1 x2 y2 in source pixels; continuous, clipped, not rounded.
        score: (N,) float32 in 0 to 1.
        class_id: (N,) int32 from 0.
        class_names: names by class id; may be empty.
        track_id: (N,) int32, the id from 1 of the object that each detection is, within its source,
            and 0 where it has none yet; None when objects are not tracked.

    Raises:
        ShapeError: a column has the wrong shape or length.

    Examples:
        >>> found = Detections([[0, 0, 4, 2], [1, 1, 3, 3]], [0.5, 0.9], [0, 1], ("cat", "dog"))
        >>> found.names
        ['dog', 'cat']
        >>> len(found[found.score > 0.7])
        1
        >>> [(each.name, round(each.score, 1)) for each in found]
        [('dog', 0.9), ('cat', 0.5)]
    """

    xyxy: NDArray[np.float32]
    score: NDArray[np.float32]
    class_id: NDArray[np.int32]
    class_names: tuple[str, ...] = ()
    track_id: NDArray[np.int32] | None = None

    if TYPE_CHECKING:  # lists are taken, too; the attributes are arrays

        def __init__(
            self,
            xyxy: ArrayLike,
            score: ArrayLike,
            class_id: ArrayLike,
            class_names: Sequence[str] = (),
            track_id: ArrayLike | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        xyxy = np.asarray(self.xyxy, np.float32)
        if xyxy.size == 0:
            xyxy = xyxy.reshape(-1, 4)
        score = np.asarray(self.score, np.float32)
        class_id = np.asarray(self.class_id, np.int32)
        columns = [score, class_id]
        if self.track_id is not None:
            columns.append(np.asarray(self.track_id, np.int32))
        count = len(xyxy)
        if xyxy.shape != (count, 4) or any(each.shape != (count,) for each in columns):
            names = ("score", "class_id", "track_id")
            shapes = zip(names, columns, strict=False)
            raise ShapeError(
                "the columns of Detections do not fit together",
                got=", ".join([f"xyxy {xyxy.shape}", *(f"{n} {c.shape}" for n, c in shapes)]),
                expected="(N, 4), (N,) and (N,)",
                fix="Pass columns of one length",
            )
        order = np.lexsort((xyxy[:, 0], class_id, -score))
        if not np.array_equal(order, np.arange(count)):
            xyxy, columns = xyxy[order], [each[order] for each in columns]
        object.__setattr__(self, "xyxy", xyxy)
        for name, column in zip(("score", "class_id", "track_id"), columns, strict=False):
            object.__setattr__(self, name, column)
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

    def __iter__(self) -> Iterator[Detection]:
        """The rows, best first."""
        ids = [None] * len(self) if self.track_id is None else self.track_id.tolist()
        boxes, scores, classes = self.xyxy.tolist(), self.score.tolist(), self.class_id.tolist()
        for box, score, class_id, name, track_id in zip(
            boxes, scores, classes, self.names, ids, strict=True
        ):
            yield Detection(tuple(box), score, class_id, name, track_id)

    @overload
    def __getitem__(self, rows: int | np.integer[Any]) -> Detection: ...
    @overload
    def __getitem__(self, rows: Rows) -> Detections: ...
    def __getitem__(self, rows: int | np.integer[Any] | Rows) -> Detection | Detections:
        """One row by its number, from the end where negative; or a selection of rows.

        Raises:
            IndexError: there is no such row, or a mask of another length.
        """
        if isinstance(rows, int | np.integer):
            index = operator.index(rows)
            count = len(self)
            if not -count <= index < count:
                raise IndexError(f"row {index} of {count} detections")
            index %= count
            return next(iter(self._select(slice(index, index + 1))))
        # A list without rows has no type of its own.
        return self._select(np.array([], np.intp) if isinstance(rows, list) and not rows else rows)

    def _select(self, rows: Any) -> Detections:
        track_id = None if self.track_id is None else self.track_id[rows]
        columns = self.xyxy[rows], self.score[rows], self.class_id[rows]
        return Detections(*columns, self.class_names, track_id)

    def __repr__(self) -> str:
        counts: dict[str, int] = {}
        for name in self.names:
            counts[name] = counts.get(name, 0) + 1
        inside = ", ".join(f"{count} {name}" for name, count in counts.items())
        return f"Detections({len(self)}{': ' if inside else ''}{inside})"

    @property
    def confidence(self) -> NDArray[np.float32]:
        """`score`, under the name that supervision gives it."""
        return self.score

    @property
    def area(self) -> NDArray[np.float32]:
        """(N,) float32, width times height of each box, square pixels of the source."""
        sides = self.xyxy[:, 2:] - self.xyxy[:, :2]
        return sides[:, 0] * sides[:, 1]

    @property
    def names(self) -> list[str]:
        """The class name of each row; its class id without a name."""
        known = self.class_names
        return [known[i] if 0 <= i < len(known) else str(i) for i in self.class_id.tolist()]

    def to_dicts(self) -> list[dict[str, Any]]:
        """A JSON-ready dict for each row.

        Keys: `xyxy` (4 floats, source pixels), `score`, `class_id`, `class_name`, and where
        objects are tracked `track_id`, None for an object that has none yet.
        """
        return [
            {
                "xyxy": list(each.xyxy),
                "score": each.score,
                "class_id": each.class_id,
                "class_name": each.name,
                **({} if each.track_id is None else {"track_id": each.track_id or None}),
            }
            for each in self
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
            tracker_id=self.track_id,
            data={"class_name": np.asarray(self.names, dtype=object)},
        )

    def draw(self, image: ImageInput) -> NDArray[np.uint8]:
        """A copy of the image with a box and a label for each detection.

        Args:
            image: the one that they were found in: an array in BGR order, a path, the bytes of an
                image file, a PIL image or a `Frame`.

        Returns:
            (H, W, 3) uint8 BGR, as `cv2.imwrite` takes it.

        Raises:
            ImageError: the image cannot be read or used.
        """
        # By name, as tables find their modules: this room knows nothing of pixels.
        module = importlib.import_module("ghost_deploy.stream.draw")
        return cast("_Draw", module.draw)(image, self)

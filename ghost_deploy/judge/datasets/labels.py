"""The objects of one image, and the checks of their labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import InputError

Box = tuple[float, float, float, float]

_TOLERANCE = 0.01
"""How far outside 0 to 1 a relative value may be; that of Ultralytics 8.4.190."""

_LISTED = 10


@dataclass(frozen=True, eq=False)
class Labels:
    """The objects of one image, in columns.

    Attributes:
        xyxy: (N, 4) float64, x1 y1 x2 y2; the unit follows from `LabelledImage.size_hw`.
        class_id: (N,) int32 from 0.
        crowd: (N,) bool; a region of many objects, where detections count neither as found nor as
            false.
    """

    xyxy: NDArray[np.float64]
    class_id: NDArray[np.int32]
    crowd: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        boxes: Sequence[Sequence[float]],
        class_ids: Sequence[int],
        crowd: Sequence[bool] | None = None,
    ) -> Labels:
        """Columns from rows.

        Args:
            boxes: x1 y1 x2 y2 each.
            class_ids: one a box.
            crowd: one a box; default: no crowd regions.
        """
        return cls(
            np.asarray(boxes, np.float64).reshape(-1, 4),
            np.asarray(class_ids, np.int32),
            np.zeros(len(class_ids), bool) if crowd is None else np.asarray(crowd, bool),
        )

    def __len__(self) -> int:
        return len(self.class_id)

    def renumbered(self, ids: Mapping[int, int]) -> Labels:
        """The same objects with class ids replaced."""
        class_id = np.array([ids[i] for i in self.class_id.tolist()], np.int32)
        return Labels(self.xyxy, class_id, self.crowd)


@dataclass(frozen=True)
class LabelProblem:
    """A label that cannot be used; `where` is file and line, or file and annotation."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def check_problems(problems: Sequence[LabelProblem], name: str, *, skip: bool) -> tuple[str, ...]:
    """Refuse broken labels, or list them in a note where they are left out.

    Args:
        problems: those that were found.
        name: of the data set.
        skip: leave them out.

    Raises:
        InputError: there are some and `skip` is not set; the first ten are listed.
    """
    if not problems:
        return ()
    count = f"{len(problems)} broken label{'s' if len(problems) > 1 else ''}"
    if skip:
        return (f"{count} left out: {listed(problems, joint='; ')}",)
    raise InputError(
        f"{count} in {name}",
        got=listed(problems, joint="\n    ", before="\n    "),
        fix="Correct them, or go on without them: --skip-broken-labels",
    )


def listed(items: Iterable[object], *, joint: str, before: str = "") -> str:
    """The first ten items, and the number of the others.

    Args:
        items: to list.
        joint: between two items.
        before: the first item.
    """
    texts = [str(item) for item in items]
    more = [f"and {len(texts) - _LISTED} more"] if len(texts) > _LISTED else []
    return before + joint.join(texts[:_LISTED] + more)


def number(value: object) -> float:
    """A finite number from a word or a JSON value.

    Raises:
        ValueError: it is not; the message has the value.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"{value!r} is not a number")
    try:
        result = float(value)
    except (ValueError, OverflowError):  # an integer beyond the largest float
        raise ValueError(f"{value!r:.40} is not a number in range") from None
    if not math.isfinite(result):
        raise ValueError(f"{value!r} is not a finite number")
    return result


def check_box(box: Box) -> None:
    """Check that a box, x1 y1 x2 y2 relative to its image, can be the place of an object.

    Its centre must be in the image and its sides no longer than the image's, within 1 %. It may
    reach over the edge, as boxes of objects that the edge cuts do (`is_cut`).

    Raises:
        ValueError: it cannot; the message has the reason.
    """
    x1, y1, x2, y2 = box
    if x2 <= x1 or y2 <= y1:
        raise ValueError("a box without area")
    centre_and_size = ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
    if not all(-_TOLERANCE <= value <= 1 + _TOLERANCE for value in centre_and_size):
        shown = " ".join(f"{value:.4g}" for value in centre_and_size)
        raise ValueError(f"a box outside the image: centre and size are {shown} of its sides")


def is_cut(box: Box) -> bool:
    """Whether a box, x1 y1 x2 y2 relative to its image, reaches out of it by more than 1 %."""
    return min(box) < -_TOLERANCE or max(box) > 1 + _TOLERANCE


def cut_note(places: Sequence[str]) -> list[str]:
    """A note on the boxes that reach out of their image, none if there are none."""
    if not places:
        return []
    what = f"{len(places)} boxes reach out of their image, detections end at its edge"
    return [f"{what}: {listed(places, joint=', ')}"]


def class_number(value: object, count: int) -> int:
    """A class id below `count`.

    Raises:
        ValueError: it is not; the message has the value.
    """
    result = number(value)
    if result != int(result):
        raise ValueError(f"class {value!r} is not a whole number")
    if not 0 <= result < count:
        raise ValueError(f"class {int(result)} is out of range, there are 0 to {count - 1}")
    return int(result)

"""Which detections of successive frames are the same object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.detections import Detections
from ghost_deploy.processing.boxes import iou_matrix
from ghost_deploy.stream.motion import BoxFilter

# The limits of Y. Zhang et al., ByteTrack: Multi-Object Tracking by Associating Every Detection
# Box, ECCV 2022, section 4.1, and of its code.
_HIGH_SCORE = 0.5
_NEW_SCORE = 0.6
_LEAST_IOU, _LEAST_IOU_LOW, _LEAST_IOU_NEW = 0.2, 0.5, 0.3
_FORGET_S = 1.0


@dataclass(eq=False)
class _Track:
    motion: BoxFilter
    class_id: int
    seen_s: float
    id: int = 0


class Tracker:
    """Assigns ids to the objects of one source, after ByteTrack; pairs are matched best first.

    Detections of a high score are matched with all known objects at their predicted boxes, then
    those of a low score with the remaining objects that were in the last frame: a half hidden
    object keeps its id, and clutter gets none. An object gets an id when it is seen the second
    time in a row, and loses it when it is not seen for a second.
    """

    def __init__(self) -> None:
        self._tracks: list[_Track] = []
        self._now_s: float | None = None
        self._last_id = 0

    def update(self, found: Detections, now_s: float) -> NDArray[np.int32]:
        """Process the next frame.

        Args:
            found: its detections, N rows.
            now_s: its time of capture, seconds; a time before the last counts as the last.

        Returns:
            (N,) int32, the id of each detection from 1; 0 if it has none.
        """
        before_s = now_s if self._now_s is None else self._now_s
        self._now_s = now_s = max(now_s, before_s)
        for track in self._tracks:
            track.motion.predict(now_s - before_s)
        known = [track for track in self._tracks if track.id]
        fresh = [track for track in self._tracks if not track.id]
        was_there = [track for track in known if track.seen_s == before_s]
        high = np.flatnonzero(found.score >= _HIGH_SCORE)
        low = np.flatnonzero(found.score < _HIGH_SCORE)

        pairs = _best_pairs(known, found, high, _LEAST_IOU)
        missed = [track for track in was_there if track not in pairs]
        pairs |= _best_pairs(missed, found, low, _LEAST_IOU_LOW)
        pairs |= _best_pairs(fresh, found, _without(high, pairs), _LEAST_IOU_NEW)
        ids = np.zeros(len(found), np.int32)
        for track, row in pairs.items():
            self._extend(track, found.xyxy[row], now_s)
            ids[row] = track.id
        self._tracks = [
            *(track for track in known if now_s - track.seen_s <= _FORGET_S),
            *(track for track in fresh if track.id),
            *(
                _Track(BoxFilter(found.xyxy[row]), int(found.class_id[row]), now_s)
                for row in _without(high, pairs)
                if found.score[row] >= _NEW_SCORE
            ),
        ]
        return ids

    def _extend(self, track: _Track, xyxy: NDArray[np.float32], now_s: float) -> None:
        track.motion.correct(xyxy)
        track.seen_s = now_s
        if not track.id:
            self._last_id += 1
            track.id = self._last_id


def _without(rows: NDArray[np.intp], pairs: Mapping[_Track, int]) -> NDArray[np.intp]:
    return np.setdiff1d(rows, list(pairs.values()))


def _best_pairs(
    tracks: Sequence[_Track], found: Detections, rows: NDArray[np.intp], limit: float
) -> dict[_Track, int]:
    """The row for each track that has one: of its class, overlapping by more than `limit`.

    The best pair is taken first; ties go to the older track, then to the better detection.
    """
    if not tracks or not len(rows):
        return {}
    expected = np.stack([track.motion.xyxy for track in tracks])
    classes = np.array([track.class_id for track in tracks])
    iou = iou_matrix(expected, found.xyxy[rows])
    iou[classes[:, None] != found.class_id[rows]] = 0
    pairs: dict[_Track, int] = {}
    while True:
        i, j = divmod(int(iou.argmax()), len(rows))
        if iou[i, j] <= limit:
            return pairs
        pairs[tracks[i]] = int(rows[j])
        iou[i, :] = iou[:, j] = 0

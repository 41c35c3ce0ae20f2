"""Images in, rows out: what a worker and `BatchDetector` have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.batch.result_rows import ResultRows
from ghost_deploy.batch.source_stamps import UNKNOWN, Stamp
from ghost_deploy.core.closing import Closing
from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import GhostDeployError
from ghost_deploy.detector import Detector


class OpenedModel(NamedTuple):
    """An open detector, the filter of its detections, and the hash of the model's files."""

    detector: Detector
    wanted: Callable[[Detections], Detections]
    sha256: str


class ModelOpener(Protocol):
    """Opens the model, in whichever process it is called; it can be pickled."""

    def open(self) -> OpenedModel:
        """Open it.

        Raises:
            GhostDeployError: as `ghost_deploy.load`.
        """


class FrameToDetect(NamedTuple):
    """An image, and what its row says of it."""

    image: NDArray[np.uint8]
    source: str
    frame: int = 0
    position_s: float | None = None
    stamp: Stamp = UNKNOWN


class RowDetector(Closing):
    """An open model that adds a row for each image.

    Args:
        model: opens it.

    Attributes:
        sha256: of the model's files.

    Raises:
        GhostDeployError: the model cannot be opened.
    """

    def __init__(self, model: ModelOpener) -> None:
        cv2.setNumThreads(1)  # each worker is one thread, and there are as many as cores
        self._has_worked = False
        self._detector, self._wanted, self.sha256 = model.open()

    @property
    def described(self) -> str:
        """What runs, e.g. `ort 1.32 cpu fp32`."""
        info = self._detector.runtime.info
        return f"{info.runtime} {info.version} {info.device} {info.precision}"

    def rows(self) -> ResultRows:
        """Rows to fill."""
        return ResultRows(self.sha256)

    def close(self) -> None:
        """Close the model."""
        self._detector.close()

    def detect(self, frames: Sequence[FrameToDetect], rows: ResultRows) -> None:
        """Add a row for each frame; of one on which the model fails a row with the error.

        Raises:
            BackendError: the model fails, and has not worked before.
        """
        if not frames:
            return
        try:
            found = self._detector.detect([frame.image for frame in frames])
        # Of vendors' libraries anything may come.
        except Exception as error:
            if len(frames) > 1:
                for frame in frames:
                    self.detect([frame], rows)
                return
            if not self._has_worked:
                raise
            reason = str(error) if isinstance(error, GhostDeployError) else repr(error)
            bad = frames[0]
            rows.add_error(bad.source, reason, bad.frame, bad.position_s, bad.stamp)
            return
        self._has_worked = True
        for frame, each in zip(frames, found, strict=True):
            size_hw = frame.image.shape[:2]
            where = (frame.frame, frame.position_s, frame.stamp)
            rows.add(frame.source, self._wanted(each), size_hw, *where)

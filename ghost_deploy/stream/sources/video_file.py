"""Video files, all frames of them."""

from __future__ import annotations

import cv2

from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources.opencv import CvReader
from ghost_deploy.stream.sources.source_table import SourceAddress


def open_reader(address: SourceAddress, policy: LivePolicy) -> CvReader:
    """See `SourceModule`."""
    return CvReader(
        address,
        cv2.CAP_FFMPEG,
        address.target,
        problem="it holds no video that OpenCV can read",
        fix="Check the file: ffprobe shows what it holds",
    )

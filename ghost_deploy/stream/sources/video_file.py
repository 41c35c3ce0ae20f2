"""Video files, all frames of them."""

from __future__ import annotations

import importlib.util
import os

from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources.reader import Reader
from ghost_deploy.stream.sources.source_table import SourceAddress


def open_reader(address: SourceAddress, policy: LivePolicy) -> Reader:
    """See `SourceModule`."""
    # An absolute path: FFmpeg takes what is before a colon as a protocol.
    path = os.path.abspath(address.target)
    if has_pyav():
        from ghost_deploy.stream.sources.video_av import AvVideoReader

        return AvVideoReader(address, path)
    from ghost_deploy.stream.sources.video_cv import CvVideoReader

    return CvVideoReader(address, path)


def read_by(address: SourceAddress, policy: LivePolicy) -> str:
    """See `SourceModule`."""
    return "PyAV" if has_pyav() else "FFmpeg in OpenCV; exact times and counts with PyAV (av)"


def has_pyav() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None

"""Video files, all frames of them."""

from __future__ import annotations

import importlib.util

from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources.reader import Reader
from ghost_deploy.stream.sources.source_table import SourceAddress


def open_reader(address: SourceAddress, policy: LivePolicy) -> Reader:
    """See `SourceModule`."""
    if has_pyav():
        from ghost_deploy.stream.sources.video_av import AvVideoReader

        return AvVideoReader(address, address.target)
    from ghost_deploy.stream.sources.video_cv import CvVideoReader

    return CvVideoReader(address)


def read_by(address: SourceAddress, policy: LivePolicy) -> str:
    """See `SourceModule`."""
    return "PyAV" if has_pyav() else "FFmpeg in OpenCV; exact times and counts with PyAV (av)"


def has_pyav() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None

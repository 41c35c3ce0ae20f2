"""Cameras that the operating system lists, by number or device file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import cv2

from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources.opencv import CvReader
from ghost_deploy.stream.sources.reader import lost
from ghost_deploy.stream.sources.source_table import SourceAddress

_ON_LINUX = sys.platform == "linux"
_FIX = "Check that it is connected and not in use; it is tried again automatically"


def open_reader(address: SourceAddress, policy: LivePolicy) -> CvReader:
    """See `SourceModule`."""
    number = address.target if address.target.isdecimal() else ""
    device = f"/dev/video{number}" if number else address.target
    if _ON_LINUX and not Path(device).exists():
        raise lost(address.label, f"there is no {device}", _FIX)
    readable = number or os.access(device, os.R_OK | os.W_OK)
    return CvReader(
        address,
        cv2.CAP_V4L2 if _ON_LINUX else cv2.CAP_ANY,
        int(number) if number else device,
        problem="it does not open" if readable else "no permission to read the device",
        fix=_FIX,
    )

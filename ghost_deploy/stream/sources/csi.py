"""CSI cameras of a Jetson, through GStreamer."""

from __future__ import annotations

from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources.gst_reader import GstReader
from ghost_deploy.stream.sources.gstreamer import (
    CSI_SOURCE,
    JETSON_CONVERTER,
    TO_BGR,
    open_pipeline,
    require_gstreamer,
)
from ghost_deploy.stream.sources.source_table import SourceAddress

__all__ = ["open_reader", "read_by"]

_PIPELINE = (
    f"{CSI_SOURCE} sensor-id={{}} ! video/x-raw(memory:NVMM),width=1920,height=1080,"
    f"framerate=30/1 ! {JETSON_CONVERTER} ! video/x-raw,format=BGRx ! {TO_BGR}"
)


def open_reader(address: SourceAddress, policy: LivePolicy) -> GstReader:
    """See `SourceModule`."""
    number = int(address.target[len("csi://") :])
    return open_pipeline(address, _PIPELINE.format(number), policy, needs=CSI_SOURCE)


def read_by(address: SourceAddress, policy: LivePolicy) -> str:
    """See `SourceModule`."""
    return require_gstreamer(address, CSI_SOURCE)

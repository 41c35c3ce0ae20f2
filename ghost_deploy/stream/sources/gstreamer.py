"""What GStreamer reads: cameras of a Jetson, RTSP, and pipelines that users write."""

from __future__ import annotations

import functools
import json
import subprocess
from dataclasses import dataclass

from ghost_deploy.core.errors import UnavailableError
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources.camera_address import split_address
from ghost_deploy.stream.sources.gst_child import HEADER, SINK
from ghost_deploy.stream.sources.gst_reader import GstReader, child_command, exit_reason
from ghost_deploy.stream.sources.source_table import SourceAddress

_CSI_SOURCE, _DECODER, _CONVERTER = "nvarguscamerasrc", "nvv4l2decoder", "nvvidconv"
_ELEMENTS = (_CSI_SOURCE, _DECODER, _CONVERTER, "rtspsrc", "decodebin", "videoconvert")

_TO_BGR = "videoconvert ! video/x-raw,format=BGR ! appsink sync=false"
_CSI = (
    f"{_CSI_SOURCE} sensor-id={{}} ! video/x-raw(memory:NVMM),width=1920,height=1080,"
    f"framerate=30/1 ! {_CONVERTER} ! video/x-raw,format=BGRx ! {_TO_BGR}"
)
# The caps exclude a sound track. `parsebin` and `decodebin` tell H.264 from H.265.
_RTSP = "rtspsrc name=camera latency=100 protocols=tcp ! application/x-rtp,media=video ! {} ! "
_ON_JETSON = (
    f"parsebin ! {_DECODER} enable-max-performance=1 ! {_CONVERTER} ! video/x-raw,format=BGRx"
)

_PROBE_LIMIT_S = 30.0  # the first scan of all plug-ins takes seconds on a small device
_INSTALL = (
    "Run: sudo apt install gstreamer1.0-plugins-base gstreamer1.0-plugins-good "
    "gstreamer1.0-plugins-bad gstreamer1.0-libav"
)


@dataclass(frozen=True)
class GStreamer:
    """The GStreamer of this machine.

    Attributes:
        version: empty when it cannot be used.
        elements: the installed ones of those that sources need.
        problem: why it cannot be used.
    """

    version: str = ""
    elements: frozenset[str] = frozenset()
    problem: str = ""

    @property
    def decodes_in_hardware(self) -> bool:
        """Whether it has the decoder of a Jetson."""
        return {_DECODER, _CONVERTER} <= self.elements


@functools.cache
def probe_gstreamer() -> GStreamer:
    """Look for GStreamer once, in a process of its own."""
    request = json.dumps({"find": _ELEMENTS}).encode() + b"\n"
    try:
        done = subprocess.run(
            child_command(), input=request, capture_output=True, timeout=_PROBE_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return GStreamer(problem=f"the probe failed ({type(error).__name__})")
    if done.returncode or not done.stdout:
        message = done.stdout[HEADER.size :].decode(errors="replace")
        return GStreamer(problem=message or f"the probe {exit_reason(done.returncode)}")
    answer = json.loads(done.stdout)
    return GStreamer(answer["version"], frozenset(answer["found"]))


def require_gstreamer(address: SourceAddress) -> None:
    """Check that GStreamer is installed, with the element that reads a source of that kind.

    Raises:
        UnavailableError: it, or the element, is not installed.
    """
    found = probe_gstreamer()
    if not found.version:
        raise UnavailableError(f"{address.label} needs GStreamer", got=found.problem, fix=_INSTALL)
    needed = {"csi": _CSI_SOURCE, "rtsp": "rtspsrc"}.get(address.kind, "videoconvert")
    if needed not in found.elements:
        raise UnavailableError(
            f"{address.label} needs GStreamer's {needed}",
            got=f"GStreamer {found.version} without it",
            fix="CSI cameras need a Jetson with NVIDIA's drivers (nvidia-l4t-gstreamer)"
            if needed == _CSI_SOURCE
            else _INSTALL,
        )


def open_reader(address: SourceAddress, policy: LivePolicy) -> GstReader:
    """See `SourceModule`; of the kinds `csi`, `gstreamer` and `rtsp`."""
    require_gstreamer(address)
    settings: dict[str, dict[str, str]] = {}
    if address.kind == "csi":
        pipeline = _CSI.format(int(address.target[len("csi://") :]))
    elif address.kind == "rtsp":
        # The address is set as a property: nothing in it can be parsed as elements.
        settings = {"camera": {"location": split_address(address.target).url}}
        in_hardware = probe_gstreamer().decodes_in_hardware
        pipeline = _RTSP.format(_ON_JETSON if in_hardware else "decodebin") + _TO_BGR
    else:
        pipeline = address.target
    # The last element is an appsink, which `source_labels` has checked.
    return GstReader(address, f"{pipeline} name={SINK}", policy, settings)


def read_by(address: SourceAddress, policy: LivePolicy) -> str:
    """See `SourceModule`."""
    require_gstreamer(address)
    found = probe_gstreamer()
    how = ", decoded in hardware" if address.kind == "rtsp" and found.decodes_in_hardware else ""
    return f"GStreamer {found.version}{how}, in a process of its own"

"""GStreamer: what is installed, and pipelines that users write."""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from ghost_deploy.core.errors import UnavailableError
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources.gst_child import HEADER, SINK
from ghost_deploy.stream.sources.gst_reader import GstReader, child_command, exit_reason
from ghost_deploy.stream.sources.source_table import SourceAddress

__all__ = [
    "CSI_SOURCE",
    "JETSON_CONVERTER",
    "JETSON_DECODER",
    "TO_BGR",
    "GStreamer",
    "open_pipeline",
    "open_reader",
    "probe_gstreamer",
    "read_by",
    "require_gstreamer",
]

CSI_SOURCE, JETSON_DECODER, JETSON_CONVERTER = "nvarguscamerasrc", "nvv4l2decoder", "nvvidconv"
TO_BGR = "videoconvert ! video/x-raw,format=BGR ! appsink sync=false"
_ELEMENTS = (CSI_SOURCE, JETSON_DECODER, JETSON_CONVERTER, "rtspsrc", "decodebin", "videoconvert")

_PROBE_LIMIT_S = 30.0  # the first scan of all plug-ins takes seconds on a small device
_INSTALL = (
    "Run: sudo apt install gstreamer1.0-plugins-base gstreamer1.0-plugins-good "
    "gstreamer1.0-plugins-bad gstreamer1.0-libav"
)
_INSTALL_CSI = "CSI cameras need a Jetson with NVIDIA's drivers (nvidia-l4t-gstreamer)"


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
        return {JETSON_DECODER, JETSON_CONVERTER} <= self.elements


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


def require_gstreamer(address: SourceAddress, element: str) -> str:
    """Check that GStreamer is installed, with `element`; returns what reads `address`.

    Raises:
        UnavailableError: it, or the element, is not installed.
    """
    found = probe_gstreamer()
    if not found.version:
        raise UnavailableError(f"{address.label} needs GStreamer", got=found.problem, fix=_INSTALL)
    if element not in found.elements:
        raise UnavailableError(
            f"{address.label} needs GStreamer's {element}",
            got=f"GStreamer {found.version} without it",
            fix=_INSTALL_CSI if element == CSI_SOURCE else _INSTALL,
        )
    return f"GStreamer {found.version}, in a process of its own"


def open_pipeline(
    address: SourceAddress,
    pipeline: str,
    policy: LivePolicy,
    *,
    needs: str = "videoconvert",
    settings: Mapping[str, Mapping[str, str]] | None = None,
) -> GstReader:
    """Run a pipeline.

    Args:
        address: what is read, for messages.
        pipeline: it ends in an appsink.
        policy: the timeouts.
        needs: the element that must be installed.
        settings: properties to set, by element and name.

    Raises:
        UnavailableError: GStreamer, or the element, is not installed.
        InputError: no frame came in `policy.open_timeout_s`.
    """
    require_gstreamer(address, needs)
    return GstReader(address, f"{pipeline} name={SINK}", policy, settings)


def open_reader(address: SourceAddress, policy: LivePolicy) -> GstReader:
    """See `SourceModule`."""
    return open_pipeline(address, address.target, policy)


def read_by(address: SourceAddress, policy: LivePolicy) -> str:
    """See `SourceModule`."""
    return require_gstreamer(address, "videoconvert")

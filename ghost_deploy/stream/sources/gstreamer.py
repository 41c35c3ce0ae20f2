"""Sources that GStreamer reads, in a process of its own: cameras of a Jetson, pipelines, RTSP."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import ImageError, UnavailableError
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources.gst_child import ERROR, HEADER, SINK
from ghost_deploy.stream.sources.reader import Loader, lost
from ghost_deploy.stream.sources.uri import Source, without_secrets

__all__ = ["GStreamer", "GstReader", "open_gstreamer", "probe_gstreamer", "require_gstreamer"]

CSI_SOURCE, JETSON_DECODER, JETSON_CONVERTER = "nvarguscamerasrc", "nvv4l2decoder", "nvvidconv"
_ELEMENTS = (CSI_SOURCE, JETSON_DECODER, JETSON_CONVERTER, "rtspsrc", "decodebin", "videoconvert")

_TO_BGR = "videoconvert ! video/x-raw,format=BGR ! appsink sync=false"
_CSI = (
    f"{CSI_SOURCE} sensor-id={{}} ! video/x-raw(memory:NVMM),width=1920,height=1080,"
    f"framerate=30/1 ! {JETSON_CONVERTER} ! video/x-raw,format=BGRx ! {_TO_BGR}"
)
# The caps keep a sound track out. `parsebin` and `decodebin` know H.264 from H.265.
_RTSP = "rtspsrc name=camera latency=100 protocols=tcp ! application/x-rtp,media=video ! {} ! "
_ON_JETSON = (
    f"parsebin ! {JETSON_DECODER} enable-max-performance=1 ! {JETSON_CONVERTER} ! "
    "video/x-raw,format=BGRx"
)

_CHILD = Path(__file__).with_name("gst_child.py")
_PROBE_LIMIT_S = 30.0  # the first look at all plug-ins takes seconds on a small box
_LEAVE_S = 1.8  # more than the child takes to end itself, less than a hanging read is left
_STDERR_BYTES = 2000
_PIPE_BYTES = 1 << 20
_MOST_BYTES = 1 << 28  # of a frame: 8K in BGR is 100 MB
_INSTALL = (
    "Run: sudo apt install gstreamer1.0-plugins-base gstreamer1.0-plugins-good "
    "gstreamer1.0-plugins-bad gstreamer1.0-libav"
)
_FIX = "Try the pipeline with gst-launch-1.0; it is tried again by itself"
_CSI_FIX = "Check the cable, and: systemctl restart nvargus-daemon; it is tried again by itself"


@dataclass(frozen=True)
class GStreamer:
    """What there is of GStreamer on this machine.

    Attributes:
        version: empty when it cannot be used.
        elements: those that matter here and are installed.
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
    """Look once what there is, in a process of its own."""
    request = json.dumps({"find": _ELEMENTS}).encode() + b"\n"
    try:
        done = subprocess.run(
            _words(), input=request, capture_output=True, timeout=_PROBE_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return GStreamer(problem=f"looking at it fails ({type(error).__name__})")
    if done.returncode or not done.stdout:
        told = done.stdout[HEADER.size :].decode(errors="replace")
        return GStreamer(problem=told or f"looking at it {_ending(done.returncode)}")
    answer = json.loads(done.stdout)
    return GStreamer(answer["version"], frozenset(answer["found"]))


def require_gstreamer(source: Source) -> None:
    """Raise if `source` cannot be read because a part of GStreamer is not on this machine.

    Raises:
        UnavailableError: it, or the element that reads the source, is not installed.
    """
    found = probe_gstreamer()
    if not found.version:
        raise UnavailableError(f"{source.label} needs GStreamer", got=found.problem, fix=_INSTALL)
    needed = {"csi": CSI_SOURCE, "rtsp": "rtspsrc"}.get(source.kind, "videoconvert")
    if needed not in found.elements:
        raise UnavailableError(
            f"{source.label} needs GStreamer's {needed}",
            got=f"GStreamer {found.version} without it",
            fix="CSI cameras need a Jetson with NVIDIA's drivers (nvidia-l4t-gstreamer)"
            if source.kind == "csi"
            else _INSTALL,
        )


def open_gstreamer(source: Source, policy: LivePolicy) -> GstReader:
    """A CSI camera, a pipeline, or an RTSP stream through GStreamer.

    Raises:
        UnavailableError: GStreamer, or an element, is not installed.
        InputError: no frame came in `policy.open_timeout_s`.
    """
    require_gstreamer(source)
    settings: dict[str, dict[str, str]] = {}
    if source.kind == "csi":
        pipeline = _CSI.format(int(source.target[len("csi://") :]))
    elif source.kind == "rtsp":
        # The address is set, not written into the text: nothing in it can be read as elements.
        settings = {"camera": {"location": source.target}}
        in_hardware = probe_gstreamer().decodes_in_hardware
        pipeline = _RTSP.format(_ON_JETSON if in_hardware else "decodebin") + _TO_BGR
    else:
        pipeline = source.target
    # The last element is an appsink, which the reading of the command line has made sure of.
    return GstReader(source, f"{pipeline} name={SINK}", policy, settings)


class GstReader:
    """Frames of a pipeline that runs in a child process, which ends with this reader.

    Args:
        source: what is read, for messages.
        pipeline: its last element is an appsink of the name `SINK`.
        policy: the timeouts: of the first frame, and of each after it.
        settings: properties to set, by element and name.

    Raises:
        InputError: no frame came.
    """

    rate: float | None = None

    def __init__(
        self,
        source: Source,
        pipeline: str,
        policy: LivePolicy,
        settings: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self._source = source
        self._timeout = policy.read_timeout_s
        self._said = b""
        self._hw = (0, 0)
        self._data: NDArray[np.uint8] = np.empty(0, np.uint8)
        # In a session of its own: Ctrl-C is for us, who end it in good order.
        self._child = subprocess.Popen(
            _words(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        try:
            self._start(pipeline, settings or {})
            self._first: int | None = self._next_frame(policy.open_timeout_s)
        except BaseException:
            self.close()
            raise

    def grab(self) -> int | None:
        first, self._first = self._first, None
        return self._next_frame(self._timeout) if first is None else first

    def load(self) -> Loader:
        (height, width), data = self._hw, self._data
        stride = -(-3 * width // 4) * 4
        if not (height and width) or len(data) != stride * height:
            return _not_a_picture
        rows = data.reshape(height, stride)[:, : 3 * width]
        return lambda: np.ascontiguousarray(rows).reshape(height, width, 3)

    def close(self) -> None:
        """Ask the child to leave, and kill it if it does not."""
        child = self._child
        stdin, stdout, stderr = self._pipes()
        # The end of its input tells it to leave; a closed output frees it from a write.
        for stream in (stdin, stdout):
            with contextlib.suppress(OSError):
                stream.close()
        try:
            child.wait(_LEAVE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        stderr.close()

    def _start(self, pipeline: str, settings: Mapping[str, Mapping[str, str]]) -> None:
        stdin, stdout, stderr = self._pipes()
        for stream in (stdout, stderr):
            os.set_blocking(stream.fileno(), False)
        with contextlib.suppress(OSError):  # fewer and larger steps; the user's limit may forbid
            fcntl.fcntl(stdout, getattr(fcntl, "F_SETPIPE_SZ", 1031), _PIPE_BYTES)
        request = {"pipeline": pipeline, "set": settings}
        try:
            stdin.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            raise self._gone() from None

    def _pipes(self) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
        pipes = self._child.stdin, self._child.stdout, self._child.stderr
        return cast("tuple[IO[bytes], IO[bytes], IO[bytes]]", pipes)

    def _next_frame(self, timeout_s: float) -> int:
        """Wait for a frame; the monotonic clock at its capture, at its arrival if unknown."""
        deadline = time.monotonic() + timeout_s
        head = bytearray(HEADER.size)
        self._fill(memoryview(head), deadline, timeout_s)
        kind, width, height, size, captured_ns = HEADER.unpack(head)
        if size > _MOST_BYTES:
            raise lost(self._source.label, f"a frame of {size} bytes")
        data = np.empty(size, np.uint8)
        self._fill(data.data, deadline, timeout_s)
        if kind == ERROR:
            raise lost(self._source.label, self._clean(bytes(data)), _FIX)
        self._hw, self._data = (height, width), data
        arrival_ns = time.monotonic_ns()
        return min(captured_ns, arrival_ns) if captured_ns > 0 else arrival_ns

    def _fill(self, view: memoryview, deadline: float, timeout_s: float) -> None:
        _, stdout, stderr = self._pipes()
        poll = select.poll()
        for stream in (stdout, stderr):
            poll.register(stream, select.POLLIN)
        while view:
            left_ms = (deadline - time.monotonic()) * 1e3
            ready = dict(poll.poll(max(0.0, left_ms)))
            if stderr.fileno() in ready:
                said = stderr.read(_STDERR_BYTES)
                self._said = (self._said + (said or b""))[-_STDERR_BYTES:]
                if not said:
                    poll.unregister(stderr)
            if stdout.fileno() in ready:
                count: int | None = stdout.readinto(view)  # type: ignore[attr-defined]
                if count == 0:
                    raise self._gone()
                view = view[count or 0 :]
            elif left_ms <= 0:
                raise lost(self._source.label, f"no frame came in {timeout_s:g} s", _FIX)

    def _gone(self) -> Exception:
        """The error of a child that ended without a word."""
        try:
            code = self._child.wait(_LEAVE_S)
        except subprocess.TimeoutExpired:
            return lost(self._source.label, "GStreamer closed its output", _FIX)
        last = self._clean(self._said).rpartition("\n")[2]
        return lost(self._source.label, f"GStreamer {_ending(code)}{last and f': {last}'}", _FIX)

    def _clean(self, text: bytes) -> str:
        return without_secrets(text.decode(errors="replace").strip(), self._source.target)


def _words() -> list[str]:
    """The child's command line: nothing in it is from the user."""
    return [sys.executable, "-I", "-S", str(_CHILD)]


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _not_a_picture() -> Any:
    raise ImageError("a frame of the pipeline is not a picture", fix="It is left out")

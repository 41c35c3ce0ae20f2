"""Frames of a GStreamer pipeline that runs in a child process."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources.gst_child import ERROR, HEADER
from ghost_deploy.stream.sources.masking import without_secrets
from ghost_deploy.stream.sources.reader import Loader, Reader, broken, lost
from ghost_deploy.stream.sources.source_table import SourceAddress

_CHILD = Path(__file__).with_name("gst_child.py")
_LEAVE_S = 1.8  # more than the child takes to end itself, less than a hanging read is left
_STDERR_BYTES = 2000
_PIPE_BYTES = 1 << 20
_MOST_BYTES = 1 << 28  # of a frame: 8K in BGR is 100 MB
_FIX = "Try the pipeline with gst-launch-1.0; it is tried again automatically"


class GstReader(Reader):
    """Frames of a pipeline that runs in a child process, which ends with this reader.

    Args:
        address: what is read, for messages.
        pipeline: its last element is an appsink of the name `SINK`.
        policy: the timeouts: of the first frame, and of each after it.
        settings: properties to set, by element and name.

    Raises:
        InputError: no frame came.
    """

    def __init__(
        self,
        address: SourceAddress,
        pipeline: str,
        policy: LivePolicy,
        settings: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self._label, self._target = address.label, address.target
        self._timeout = policy.read_timeout_s
        self._said = b""
        self._hw = (0, 0)
        self._data: NDArray[np.uint8] = np.empty(0, np.uint8)
        # In a session of its own: Ctrl-C reaches this process only, which ends the child in order.
        self._child = subprocess.Popen(
            child_command(),
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
            return broken("a frame of the pipeline is not an image")
        rows = data.reshape(height, stride)[:, : 3 * width]
        return lambda: np.ascontiguousarray(rows).reshape(height, width, 3)

    def close(self) -> None:
        """Ask the child to leave, and kill it if it does not."""
        child = self._child
        stdin, stdout, stderr = self._pipes()
        # The end of its input makes it leave; a closed output releases it from a write.
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
        with contextlib.suppress(OSError):  # fewer, larger reads; the user's limit may forbid it
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
            raise lost(self._label, f"a frame of {size} bytes")
        data = np.empty(size, np.uint8)
        self._fill(data.data, deadline, timeout_s)
        if kind == ERROR:
            raise lost(self._label, self._clean(bytes(data)), _FIX)
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
                raise lost(self._label, f"no frame came in {timeout_s:g} s", _FIX)

    def _gone(self) -> Exception:
        """The error of a child that ended without a report."""
        try:
            code = self._child.wait(_LEAVE_S)
        except subprocess.TimeoutExpired:
            return lost(self._label, "GStreamer closed its output", _FIX)
        last = self._clean(self._said).rpartition("\n")[2]
        return lost(self._label, f"GStreamer {exit_reason(code)}{last and f': {last}'}", _FIX)

    def _clean(self, text: bytes) -> str:
        return without_secrets(text.decode(errors="replace").strip(), self._target)


def child_command() -> list[str]:
    """The command line of the child process; nothing in it comes from the user."""
    return [sys.executable, "-I", "-S", str(_CHILD)]


def exit_reason(code: int) -> str:
    """How a child process ended, by its return code."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"

"""The parent's handle on the child that runs a fork's code."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.checkpoints.fork.child_settings import (
    child_environment,
    child_settings,
    ending,
    printable,
)
from ghost_deploy.checkpoints.fork.confine import READY, REFUSED
from ghost_deploy.checkpoints.fork.fork_folder import ForkFolder
from ghost_deploy.checkpoints.fork.messages import (
    ArrayReply,
    FailureReply,
    ForkRequest,
    GraphReply,
    LoadReply,
    LoadRequest,
    MessageError,
    RunRequest,
    TraceRequest,
    array_bytes,
    read_line,
    read_reply,
    write_message,
)
from ghost_deploy.core.closing import Closing
from ghost_deploy.core.errors import BackendError, CheckpointError, ExportError, UnavailableError
from ghost_deploy.core.spec import ModelSpec

START_S, LOAD_S, RUN_S, TRACE_S = 60.0, 300.0, 120.0, 600.0
"""Wall time of each step, seconds; a large network loads in 10."""

MAX_GRAPH_BYTES = 2 << 30
MAX_OUTPUT_BYTES = 1 << 30

_LOG_BYTES = 64 << 10
_END_S = 10.0

R = TypeVar("R")


class ForkProcess(Closing):
    """A child process that runs a fork's code; closing it ends it and all that it started.

    Args:
        fork: its files.
        confined: in namespaces of its own, see `confine`; else only limited, in the user's name.

    Raises:
        UnavailableError: the kernel does not allow the confinement.
    """

    def __init__(self, fork: ForkFolder, *, confined: bool = True) -> None:
        self.fork, self.confined = fork, confined
        self._log = bytearray()
        self._child: subprocess.Popen[bytes] | None = None
        package = str(Path(__file__).resolve().parents[3])
        boot = (
            f"import sys; sys.path.insert(0, {package!r}); "
            "from ghost_deploy.checkpoints.fork.confine import main; main()"
        )
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-c", boot, json.dumps(child_settings(fork, confined))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=child_environment(),
            cwd="/",
            start_new_session=True,  # Ctrl-C reaches the parent alone, which ends the child
        )
        self._reader = threading.Thread(target=self._drain, daemon=True)
        self._reader.start()
        try:
            self._wait_until_ready()
        except BaseException:
            self.close()
            raise

    def load(self, data: bytes, request: LoadRequest) -> LoadReply:
        """Load a checkpoint.

        Args:
            data: its bytes.
            request: how.

        Raises:
            CheckpointError: the fork's code cannot load it; the error has its reason.
        """
        reply, _ = self._ask(request, data, LoadReply, LOAD_S, 0, "load")
        return reply

    def run(self, image: NDArray[np.floating]) -> NDArray[np.floating]:
        """The raw output for images.

        Args:
            image: (B, 3, H, W) RGB from 0 to 1, float32 or float64; computed in that type.

        Returns:
            An array of three axes and the same type.

        Raises:
            BackendError: the fork's code fails on it.
        """
        batch, channels, height, width = image.shape
        shape, dtype = (batch, channels, height, width), image.dtype.name
        data = np.ascontiguousarray(image).tobytes()
        request = RunRequest(shape=shape, dtype=dtype)
        reply, result = self._ask(request, data, ArrayReply, RUN_S, MAX_OUTPUT_BYTES, "run")
        try:
            fits = len(reply.shape) == 3 and reply.shape[0] == batch and reply.dtype == dtype
            if not fits or array_bytes(reply.shape, reply.dtype) != len(result):
                raise MessageError(
                    f"its output is {reply.dtype:.20} {reply.shape!s:.80} of {len(result)} bytes"
                )
        except MessageError as error:
            raise self._broken("run", error) from error
        return np.frombuffer(bytearray(result), dtype).reshape(reply.shape)

    def trace(self, spec: ModelSpec) -> bytes:
        """The ONNX file that torch makes of the network there; it is not checked yet.

        Args:
            spec: of the export.

        Raises:
            ExportError: torch cannot export it.
        """
        request = TraceRequest(spec=spec.to_json().decode())
        _, data = self._ask(request, b"", GraphReply, TRACE_S, MAX_GRAPH_BYTES, "export")
        return data

    def close(self) -> None:
        """End the child and everything that it has started; calling it again does nothing."""
        child, self._child = self._child, None
        if child is None:
            return
        if not self.confined:  # it ends what the code has started, before itself
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_END_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            with contextlib.suppress(OSError):
                if pipe:
                    pipe.close()
        # Unconfined code may have handed the pipe on to a process that outlives it.
        self._reader.join(_END_S)
        if child.stderr and not self._reader.is_alive():
            child.stderr.close()

    def _wait_until_ready(self) -> None:
        child = self._opened()
        assert child.stdout is not None
        try:
            line = read_line(child.stdout.fileno(), START_S)
        except MessageError as error:
            raise self._broken("start", error) from error
        if line == READY:
            return
        reason = line.removeprefix(REFUSED).decode(errors="replace").strip()
        raise UnavailableError(
            "the fork's code cannot be confined here: the kernel does not allow it",
            got=printable(reason),
            fix="Allow user namespaces (in a container: --security-opt seccomp=unconfined; on "
            "Ubuntu: sysctl kernel.apparmor_restrict_unprivileged_userns=0), or, if you trust "
            "checkpoint and folder with this account, pass --fork-unconfined",
        )

    def _ask(
        self,
        request: ForkRequest,
        data: bytes,
        expected: type[R],
        limit_s: float,
        most_bytes: int,
        step: str,
    ) -> tuple[R, bytes]:
        child = self._opened()
        assert child.stdin is not None
        assert child.stdout is not None
        writer = threading.Thread(
            target=_write, args=(child.stdin.fileno(), request, data), daemon=True
        )
        writer.start()  # a child that reads nothing must not hold up the time limit
        try:
            reply, result = read_reply(child.stdout.fileno(), most_bytes, limit_s)
            if isinstance(reply, FailureReply):
                raise self._failed(step, reply)
            if not isinstance(reply, expected):
                raise MessageError("its answer is not of the known form")
        except MessageError as error:
            raise self._broken(step, error) from error
        except BaseException:
            if not isinstance(sys.exc_info()[1], CheckpointError | ExportError | BackendError):
                self.close()
            raise
        writer.join()
        return reply, result

    def _opened(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            raise BackendError("the process of the fork's code has ended", fix="Start it again")
        return self._child

    def _failed(self, step: str, reply: FailureReply) -> Exception:
        kind = _KINDS[step]
        return kind(
            f"{_SENTENCES[step]} {self.fork.path}",
            got=printable(reply.what),
            fix=printable(reply.fix) or "Correct the fork's code, or give another folder",
        )

    def _broken(self, step: str, error: MessageError) -> Exception:
        """The error for a child that gave no usable answer; it is ended."""
        child = self._opened()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(1.0)
        code = child.returncode
        self.close()
        last = printable(bytes(self._log[-500:]).decode(errors="replace"))
        facts = [str(error)] if code is None or "time" in str(error) else [ending(code)]
        if last:
            facts.append(f"it printed: {last}")
        return _KINDS[step](
            f"{_SENTENCES[step]} {self.fork.path}",
            got="; ".join(facts),
            fix="The process was ended; see what the fork's code does there",
        )

    def _drain(self) -> None:
        """Keep the end of what the code prints; a full pipe would stop it."""
        child = self._child
        if child is None or child.stderr is None:
            return
        file = child.stderr.fileno()
        with contextlib.suppress(OSError):
            while piece := os.read(file, 1 << 16):
                self._log += piece
                del self._log[:-_LOG_BYTES]


_SENTENCES = {
    "start": "cannot start a process for the code in",
    "load": "the checkpoint cannot be loaded with the code in",
    "run": "the network cannot be run with the code in",
    "export": "the network cannot be exported to ONNX with the code in",
}
_KINDS: dict[str, Callable[..., Exception]] = {
    "start": BackendError,
    "load": CheckpointError,
    "run": BackendError,
    "export": ExportError,
}


def _write(file: int, request: ForkRequest, data: bytes) -> None:
    with contextlib.suppress(OSError):  # it has ended; reading says how
        write_message(file, request, data)

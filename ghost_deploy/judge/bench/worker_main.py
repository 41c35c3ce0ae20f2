"""A process that measures one candidate, controlled by JSON lines on its standard input.

Candidates in one process would disturb each other: worker threads of ONNX Runtime that spin take
the cores from the next candidate (54 ms instead of 21 were measured with two sessions on two
cores), and memory, processor time and loading could not be measured for each.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import msgspec

from ghost_deploy.core import errors
from ghost_deploy.core.errors import BackendError, GhostDeployError
from ghost_deploy.core.evidence.latency import RunConfig
from ghost_deploy.core.parent_death import end_with_parent
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.judge.bench.memory import peak_memory_bytes
from ghost_deploy.judge.bench.timer import RUN_ALONE, CandidateTimer, Phase, Stream, Turn
from ghost_deploy.runtimes.base import Runtime, RuntimeInfo, RuntimeOptions
from ghost_deploy.runtimes.inference_server import InferenceServer
from ghost_deploy.runtimes.table import open_file


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """The model that a worker opens: its first line of input.

    Attributes:
        path: of the file that the runtime opens.
        config: how it is run.
        images: files to measure on.
        size_hw: (height, width) for a model that has no description.
        spec: the description; when None, the one inside the file, if any.
        device, allow_fallback, server: as in `RuntimeOptions`.
    """

    path: str
    config: RunConfig
    images: tuple[str, ...]
    size_hw: tuple[int, int]
    spec: ModelSpec | None = None
    device: str = "cpu"
    allow_fallback: bool = False
    server: InferenceServer | None = None


class MeasureRequest(msgspec.Struct, frozen=True):
    """One measurement: each further line of a worker's input."""

    phase: Phase
    seconds: float


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The answer to a task.

    Attributes:
        info: of the open runtime.
        phases: what can be timed.
        load_ms: from a fresh process to an open model: importing the vendor's package, reading
            and compiling the file. Compiled models are not kept.
        first_run_ms: the first run of the model.
        start_bytes: memory before that.
    """

    info: RuntimeInfo
    phases: tuple[Phase, ...]
    load_ms: float
    first_run_ms: float
    start_bytes: int


class Done(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The answer to a request; `peak_bytes` is the largest memory use of the process so far."""

    turn: Turn
    peak_bytes: int


class Failure(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An error in place of an answer; `kind` is the name of its class in `errors`."""

    kind: str
    what: str
    fix: str
    got: str | None = None
    expected: str | None = None

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """From any exception; one that is not ours becomes a BackendError."""
        if not isinstance(error, GhostDeployError):
            error = BackendError(
                f"unexpected {type(error).__name__}: {error}", fix="This is a bug: report it"
            )
        got, expected = (
            None if value is None else str(value) for value in (error.got, error.expected)
        )
        kind = type(error).__name__
        return cls(kind=kind, what=error.what, fix=error.fix, got=got, expected=expected)

    def error(self) -> GhostDeployError:
        """The error, of its own class where that is ours."""
        kind: type[GhostDeployError] = getattr(errors, self.kind, BackendError)
        return kind(self.what, fix=self.fix, got=self.got, expected=self.expected)


Reply = Ready | Done | Failure


def open_timer(task: Task) -> tuple[CandidateTimer, Ready]:
    """Open a model for each stream and run it once.

    Raises:
        UnavailableError: this machine lacks the package, the device or the precision.
        BackendError: the backend refused the file or failed.
        InputError: the file does not fit its description, or an image cannot be read.
    """
    config = task.config
    start_bytes = peak_memory_bytes()
    options = RuntimeOptions(
        device=task.device,
        precision=config.precision,
        threads=config.threads,
        hint=config.hint,
        allow_fallback=task.allow_fallback,
        server=task.server,
    )
    with ExitStack() as stack:
        streams, load_ms = [], 0.0
        for _ in range(config.streams):
            start = time.perf_counter()
            runtime = stack.enter_context(open_file(config.runtime, Path(task.path), options))
            load_ms = load_ms or (time.perf_counter() - start) * 1e3
            streams.append(_stream(task, runtime))
        first_ms = streams[0].run_alone()[RUN_ALONE] / 1e6
        stack.pop_all()
    ready = Ready(
        info=streams[0].runtime.info,
        phases=streams[0].phases,
        load_ms=load_ms,
        first_run_ms=first_ms,
        start_bytes=start_bytes,
    )
    return CandidateTimer(streams), ready


def main() -> None:
    """Serve one task, then requests one by one until the input ends."""
    end_with_parent()
    # An interrupt reaches the whole group; the parent ends this process when it has cleaned up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with _own_output() as out:
        lines = iter(sys.stdin.buffer)
        try:
            timer, ready = open_timer(msgspec.convert(json.loads(next(lines)), type=Task))
            _send(out, ready)
            for line in lines:
                request = msgspec.json.decode(line, type=MeasureRequest)
                turn = timer.turn(request.phase, request.seconds)
                _send(out, Done(turn=turn, peak_bytes=peak_memory_bytes()))
            timer.close()
        except StopIteration:
            return
        # The parent process raises any error again.
        except Exception as error:
            _send(out, Failure.of(error))


def _stream(task: Task, runtime: Runtime) -> Stream:
    spec = task.spec
    if spec is None and (text := runtime.metadata().get(ModelSpec.Json)):
        spec = ModelSpec.from_json(text, where=f"{ModelSpec.Json} in {Path(task.path).name}")
    images = [Path(name) for name in task.images]
    return Stream(runtime, spec, images, batch=task.config.batch, size_hw=task.size_hw)


def _own_output() -> IO[bytes]:
    """Standard output, for answers only: vendors' libraries then print to standard error."""
    own = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return own


def _send(out: IO[bytes], reply: Any) -> None:
    out.write(msgspec.json.encode(reply) + b"\n")
    out.flush()


if __name__ == "__main__":
    main()

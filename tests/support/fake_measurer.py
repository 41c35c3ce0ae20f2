"""A measurer of a bench that runs in this process, on a fake runtime with a clock of its own."""

from __future__ import annotations

from pathlib import Path

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import GhostDeployError
from ghost_deploy.judge.bench.timer import CandidateTimer, Phase, Stream, Turn
from ghost_deploy.judge.bench.worker_main import Ready, Task
from ghost_deploy.runtimes.base import RuntimeInfo
from ghost_deploy.runtimes.fake import FakeRuntime
from tests.support.clocks import ManualClock
from tests.support.constant_model import one_class_spec

MS = 1_000_000


def fake_runtime(
    clock: ManualClock, run_ms: float = 10.0, batch: tuple[int, int] = (1, 1)
) -> FakeRuntime:
    """A runtime whose runs take `run_ms` on `clock`."""
    canned = FakeRuntime.for_spec(one_class_spec(batch), Detections.empty())

    def function(feeds):  # type: ignore[no-untyped-def]
        clock.now += round(run_ms * MS)
        return canned.run(feeds)

    return FakeRuntime.for_spec(one_class_spec(batch), function)


class FakeMeasurer:
    """A `Measurer` in this process; its n-th turn breaks if `error` is given."""

    def __init__(
        self,
        task: Task,
        clock: ManualClock,
        run_ms: float,
        log: list[tuple[str, Phase]],
        error: GhostDeployError | None = None,
    ) -> None:
        runtime = fake_runtime(clock, run_ms, (1, 16))
        stream = Stream(
            runtime,
            task.spec,
            [Path(name) for name in task.images],
            batch=task.config.batch,
            size_hw=task.size_hw,
            clock=clock,
        )
        self._name, self._log, self._error = Path(task.path).name, log, error
        self._timer = CandidateTimer([stream], clock=clock, cpu_clock=lambda: 2 * clock.now)
        self.closed = False
        self.peak_bytes = 3_000_000
        info = RuntimeInfo("fake", "1", "cpu", "fp32", notes=("a note",))
        self.ready = Ready(
            info=info,
            phases=self._timer.phases,
            load_ms=5.0,
            first_run_ms=20.0,
            start_bytes=1_000_000,
        )

    def turn(self, phase: Phase, seconds: float) -> Turn:
        self._log.append((self._name, phase))
        if self._error and len(self._log) > 5:
            raise self._error
        return self._timer.turn(phase, seconds)

    def close(self) -> None:
        self.closed = True
        self._timer.close()

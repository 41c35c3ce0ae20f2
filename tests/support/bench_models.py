"""Small real models, and a bench that runs in this process on fakes with a clock of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ghost_deploy.core.bundle import Bundle, BundleWriter, Source
from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import GhostDeployError
from ghost_deploy.core.spec import HeadSpec, InputSpec, ModelSpec
from ghost_deploy.judge.bench.timer import CandidateTimer, Phase, Stream, Turn
from ghost_deploy.judge.bench.worker_main import Ready, Task
from ghost_deploy.runtimes.base import RuntimeInfo
from ghost_deploy.runtimes.fake import FakeRuntime

MS = 1_000_000


def small_spec(batch: tuple[int, int] = (1, 1), name: str = "small") -> ModelSpec:
    return ModelSpec(
        name=name,
        family="test",
        class_names=("cell",),
        input=InputSpec(size_hw=(64, 64), batch=batch),
        head=HeadSpec(decoder="dfl", strides=(8, 16, 32)),
    )


def write_onnx(path: Path, side: int = 64) -> Path:
    """A model whose output never changes: no score reaches a threshold."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    anchors = sum((side // stride) ** 2 for stride in (8, 16, 32))
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
            helper.make_node("Add", ["nothing", "canned"], ["output0"]),
        ],
        "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, side, side])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 5, anchors])],
        [
            numpy_helper.from_array(np.zeros((1, 1, 1), np.float32), "zero"),
            numpy_helper.from_array(np.zeros((1, 5, anchors), np.float32), "canned"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


def write_bundle(folder: Path, precisions: Sequence[str] = ("fp32",), **spec: object) -> Bundle:
    """A bundle of ONNX artifacts, all the same model."""
    with BundleWriter(folder) as writer:
        for precision in precisions:
            path = write_onnx(writer.folder / f"model.{precision}.onnx")
            writer.add(format="onnx", precision=precision, path=path, parent="0", tools={})
        writer.draft(small_spec(**spec), Source(file="best.pt", sha256="0"), "a test")
        return writer.finish()


class Clock:
    """Nanoseconds that pass only when something says that it took them."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def seconds(self) -> float:
        return self.now / 1e9


def fake_runtime(
    clock: Clock, run_ms: float = 10.0, batch: tuple[int, int] = (1, 1)
) -> FakeRuntime:
    """A runtime whose runs take `run_ms` on `clock`."""
    canned = FakeRuntime.for_spec(small_spec(batch), Detections.empty())

    def function(feeds):  # type: ignore[no-untyped-def]
        clock.now += round(run_ms * MS)
        return canned.run(feeds)

    return FakeRuntime.for_spec(small_spec(batch), function)


class FakeMeasurer:
    """A `Measurer` in this process; its n-th turn breaks if `error` is given."""

    def __init__(
        self,
        task: Task,
        clock: Clock,
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
        self._station = CandidateTimer([stream], clock=clock, cpu_clock=lambda: 2 * clock.now)
        self.closed = False
        self.peak_bytes = 3_000_000
        info = RuntimeInfo("fake", "1", "cpu", "fp32", notes=("a note",))
        self.ready = Ready(
            info=info,
            phases=self._station.phases,
            load_ms=5.0,
            first_run_ms=20.0,
            start_bytes=1_000_000,
        )

    def turn(self, phase: Phase, seconds: float) -> Turn:
        self._log.append((self._name, phase))
        if self._error and len(self._log) > 5:
            raise self._error
        return self._station.turn(phase, seconds)

    def close(self) -> None:
        self.closed = True
        self._station.close()

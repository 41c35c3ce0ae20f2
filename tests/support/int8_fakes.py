"""A calibration set and an accuracy judge for the graphs of `tests.support.small_graphs`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto

from ghost_deploy.calib.quantize.int8_files import write_model
from ghost_deploy.calib.search.int8_builder import Int8Builder
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.evidence.int8 import FileAccuracy, Judged, SpeedRow
from ghost_deploy.core.spec import HeadSpec, InputSpec, ModelSpec
from tests.support.int8_reports import judged
from tests.support.small_graphs import SIZE, ghost_net, random_inputs, statistics_of

SPEC = ModelSpec(
    name="small",
    family="small",
    class_names=("a",),
    input=InputSpec(size_hw=(SIZE, SIZE), stride=8),
    head=HeadSpec(decoder="dfl", strides=(8,)),
)


@dataclass(frozen=True)
class FewImages:
    """The part of a `CalibrationSet` that the builder needs."""

    count: int = 4
    fingerprint: str = "f" * 64

    def __len__(self) -> int:
        return self.count

    def subset(self, count: int) -> FewImages:
        return replace(self, count=min(self.count, count))

    def batches(self, input_spec: InputSpec) -> Iterator[NDArray[np.float32]]:
        return iter(random_inputs(self.count))


@dataclass(frozen=True)
class FakeJudge:
    """Points by a function of the model in the file; the float model has those of `reports`."""

    points_of: Callable[[ModelProto], float]
    asked: list[str] = field(default_factory=list)
    facts: Judged = field(default_factory=judged)
    fingerprint: str = "of the labels"
    default_max_drop: float = 0.5
    keep_limit: float = 1.0

    def points(self, runtime: str, path: Path, label: str = "") -> float:
        self.asked.append(label)
        return self.points_of(onnx.load(path))

    def accuracy(self, runtime: str, path: Path, max_drop: float, label: str = "") -> FileAccuracy:
        return FileAccuracy(points=self.points(runtime, path, label), images=self.facts.images)

    def quiet(self, threads: int | None = None) -> FakeJudge:
        return self


@dataclass(frozen=True)
class FakeStopwatch:
    """Times by a function of the files."""

    times_of: Callable[[Sequence[Path]], dict[Path, float]] = lambda files: {}
    machine: str = "a processor"

    def file_times_ms(self, files: Sequence[Path]) -> dict[Path, float]:
        return self.times_of(files)

    def speed_rows(self, bundle: Bundle) -> tuple[tuple[SpeedRow, ...], tuple[str, ...]]:
        return (), ()


def rounded(model: ModelProto, conv: str) -> bool:
    """Whether a convolution of a Q/DQ graph has int8 weights."""
    (node,) = (node for node in model.graph.node if node.name == conv)
    return node.input[1].endswith("/rounded")


def small_builder(folder: Path) -> Int8Builder:
    model = ghost_net()
    feeds = random_inputs()
    return Int8Builder(
        write_model(model, folder / "float.onnx"),
        model,
        SPEC,
        FewImages(),  # type: ignore[arg-type] # all that is used of a set
        statistics_of(model, feeds),
        folder,
        threads=1,
    )

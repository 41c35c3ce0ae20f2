"""Stands for `runtimes.trt` where there is no GPU: runs the ONNX file that a fake plan names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.bundle import sha256_of
from ghost_deploy.runtimes import ort
from ghost_deploy.runtimes.base import Runtime, RuntimeOptions
from ghost_deploy.runtimes.tensorrt.plan_file import read_plan
from tests.support.fake_tensorrt_builder import MAGIC

spoil: float = 0.0
"""Added to every score: an engine that computes something else."""

opened: list[RuntimeOptions] = []
"""The options of every opening."""


graphs: Path | None = None
"""Folder of the graphs, where a plan lies elsewhere."""

times: dict[str, float] = {}
"""Milliseconds of a run on the device, by the name of the graph's file."""


class StandIn(Runtime):
    """An ONNX Runtime session that says it is TensorRT."""

    def __init__(self, inner: Runtime, options: RuntimeOptions, graph: str) -> None:
        self._inner, self._graph = inner, graph
        self.inputs, self.outputs = inner.inputs, inner.outputs
        self.info = replace(
            inner.info, runtime="trt", device=options.device, precision=options.precision
        )

    def _run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        found = {name: array.copy() for name, array in self._inner.run(feeds).items()}
        for array in found.values():
            # An anchor is a column, or of a head with anchors a row.
            scores = array[:, 4:] if array.shape[1] < array.shape[2] else array[..., 4:]
            scores[...] = np.clip(scores + spoil, 0, 1)
        return found

    def device_ms(self, count: int = 100) -> list[float]:
        return [times[self._graph]] * count

    def _close(self) -> None:
        self._inner.close()


def open_model(path: Path, options: RuntimeOptions) -> Runtime:
    """Open the ONNX file beside the plan that the fake builder parsed."""
    opened.append(options)
    source = json.loads(read_plan(path).data[len(MAGIC) :])["source"]
    files = (graphs or path.parent).glob("*.onnx")
    onnx = next(file for file in files if sha256_of(file) == source)
    precision = onnx.name.split(".")[1]
    return StandIn(
        ort.open_model(onnx, RuntimeOptions(precision=precision, any_form=True)), options, onnx.name
    )

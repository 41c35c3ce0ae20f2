"""A float model and its Q/DQ model run side by side, stage by stage, on the same images.

A correction needs two tensors of each convolution: its input in the quantized model, with all
earlier layers corrected, and its output in the float model. Each model is run once in total.
Tensors that later stages read are kept: at most about 10 MB for each image at 416, 24 MB at 640.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from ghost_deploy.calib.graph.intermediates import Intermediates
from ghost_deploy.calib.graph.parameters import set_parameters
from ghost_deploy.core.errors import InputError
from ghost_deploy.export.onnx_index import live_nodes

Feeds: TypeAlias = Sequence[NDArray[np.float32]]
"""Preprocessed calibration images, (1, 3, H, W) each; 2 MB each at 416, 5 MB at 640."""

Parameters: TypeAlias = Mapping[str, NDArray[np.float32]]
"""Weights or biases by name of the convolution."""

_Values: TypeAlias = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class ConvSamples:
    """Inputs and outputs of a convolution on the calibration images.

    Attributes:
        node: of the float model.
        inputs: one (1, C, H, W) float32 for each image, of the quantized model, after rounding.
        outputs: one (1, C, h, w) float32 for each image, of the float model, before the
            activation.
    """

    node: NodeProto
    inputs: Sequence[NDArray[np.float32]] = field(repr=False)
    outputs: Sequence[NDArray[np.float32]] = field(repr=False)


class PairedRun:
    """Runs the convolutions from the input to the outputs: `sample`, then `advance` each stage.

    Args:
        float_model: the reference.
        quantized: its Q/DQ model; its rounding of activations is used, its parameters are not.
        feeds: calibration images.
        threads: of ONNX Runtime; 0 for its default.

    Attributes:
        stages: names of the convolutions by depth; those of one stage do not depend on each
            other.

    Raises:
        InputError: no images.
    """

    def __init__(
        self, float_model: ModelProto, quantized: ModelProto, feeds: Feeds, *, threads: int = 0
    ) -> None:
        if not feeds:
            raise InputError("no calibration image", fix="Give at least one")
        self._float_model, self._quantized, self._threads = float_model, quantized, threads
        name = float_model.graph.input[0].name
        self._float: list[_Values] = [{name: batch} for batch in feeds]
        self._rounded: list[_Values] = [{name: batch} for batch in feeds]
        self.stages = _stages(float_model)
        self._last = _last_stages(float_model, self.stages)

    def sample(self, stage: int) -> dict[str, ConvSamples]:
        """Inputs and reference outputs of the convolutions of a stage, by node name."""
        names = self.stages[stage]
        reference, rounded = _convs(self._float_model, names), _convs(self._quantized, names)
        self._compute(self._float_model, self._float, [reference[name].output[0] for name in names])
        self._compute(self._quantized, self._rounded, [rounded[name].input[0] for name in names])
        return {
            name: ConvSamples(
                reference[name],
                [values[rounded[name].input[0]] for values in self._rounded],
                [values[reference[name].output[0]] for values in self._float],
            )
            for name in names
        }

    def run(
        self, samples: Mapping[str, ConvSamples], weights: Parameters, biases: Parameters
    ) -> dict[str, list[NDArray[np.float32]]]:
        """Outputs of a stage's convolutions on their rounded inputs, one (1, C, h, w) an image.

        Args:
            samples: of `sample`.
            weights, biases: as the int8 kernels use them, by node name; those of the float model
                for others.
        """
        found = {}
        model = set_parameters(self._float_model, weights, biases)
        for name, tensors in samples.items():
            source, result = tensors.node.input[0], tensors.node.output[0]
            layer = Intermediates(model, [result], known=[source], threads=self._threads)
            found[name] = [layer({source: x})[result] for x in tensors.inputs]
        return found

    def advance(self, stage: int, outputs: Mapping[str, Sequence[NDArray[np.float32]]]) -> None:
        """Continue behind `stage` with `outputs` as the results of the quantized model there.

        Args:
            stage: index into `stages`.
            outputs: one (1, C, h, w) float32 for each image, by node name.
        """
        for name, node in _convs(self._quantized, self.stages[stage]).items():
            for values, output in zip(self._rounded, outputs[name], strict=True):
                values[node.output[0]] = output
        for values in (*self._float, *self._rounded):
            for name in [name for name in values if self._last.get(name, -1) <= stage]:
                del values[name]

    def _compute(self, model: ModelProto, images: list[_Values], wanted: Sequence[str]) -> None:
        missing = [name for name in dict.fromkeys(wanted) if name not in images[0]]
        if missing:
            part = Intermediates(model, missing, known=images[0], threads=self._threads)
            for values in images:
                values.update(part(values))


def _convs(model: ModelProto, names: Sequence[str]) -> dict[str, NodeProto]:
    found = {node.name: node for node in model.graph.node if node.name in set(names)}
    return {name: found[name] for name in names}


def _stages(model: ModelProto) -> tuple[tuple[str, ...], ...]:
    depth: dict[str, int] = {}
    stages: dict[int, list[str]] = {}
    for node in model.graph.node:
        before = max((depth.get(name, 0) for name in node.input), default=0)
        if node.op_type == "Conv":
            stages.setdefault(before, []).append(node.name)
        own = before + (node.op_type == "Conv")
        depth.update(dict.fromkeys(node.output, own))
    return tuple(tuple(stages[key]) for key in sorted(stages))


def _last_stages(model: ModelProto, stages: Sequence[Sequence[str]]) -> dict[str, int]:
    """The last stage that reads a convolution's output (or the image), directly or through
    other operators."""
    outputs = {node.output[0] for node in model.graph.node if node.op_type == "Conv"}
    known = frozenset(outputs | {value.name for value in model.graph.input})
    last: dict[str, int] = {}
    for stage, names in enumerate(stages):
        own = {node.output[0] for node in _convs(model, names).values()}
        between = live_nodes(model.graph.node, own, known - own)
        read = {name for node in between for name in node.input}
        last.update(dict.fromkeys(known & read, stage))
    return last

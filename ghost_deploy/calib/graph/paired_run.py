"""A float model and its quantized form, convolution by convolution, on the same images.

What a repair needs at each convolution: the input as the quantized model sees it, with everything
before it repaired, and the output as the float model has it. Both models are computed once in all,
a stage at a time. Kept between stages is what later stages read: for each image at 416 at most
about 10 MB, at 640 24 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper

from ghost_deploy.calib.graph.intermediates import Part, upstream_of
from ghost_deploy.calib.graph.parameters import set_parameters
from ghost_deploy.core.errors import InputError

__all__ = ["Feeds", "Parameters", "Progress", "Seen", "Walk"]

Feeds: TypeAlias = Sequence[NDArray[np.float32]]
"""Preprocessed calibration images, (1, 3, H, W) each; 2 MB each at 416, 5 MB at 640."""

Parameters: TypeAlias = Mapping[str, NDArray[np.float32]]
"""Weights or biases by name of the convolution."""

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, how many steps are done, and how many there are."""

_Values: TypeAlias = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Seen:
    """A convolution on the calibration images.

    Attributes:
        node: of the float model.
        inputs: (1, C, H, W) an image, as the quantized model has it after rounding.
        outputs: (1, C, h, w) an image, as the float model has it, without the activation.
    """

    node: NodeProto
    inputs: Sequence[NDArray[np.float32]] = field(repr=False)
    outputs: Sequence[NDArray[np.float32]] = field(repr=False)


class Walk:
    """Goes through the convolutions from the input to the outputs; `see` and `settle` each stage.

    Args:
        truth: the float model.
        quantized: its Q/DQ form; how it rounds activations is used, its parameters are not.
        feeds: calibration images.
        threads: of ONNX Runtime; 0 for its choice.

    Attributes:
        stages: names of the convolutions, by how many convolutions lie before them. Those of one
            stage do not depend on each other.

    Raises:
        InputError: no images.
    """

    def __init__(
        self, truth: ModelProto, quantized: ModelProto, feeds: Feeds, *, threads: int = 0
    ) -> None:
        if not feeds:
            raise InputError("no calibration image", fix="Give at least one")
        self._truth, self._quantized, self._threads = truth, quantized, threads
        name = truth.graph.input[0].name
        self._float: list[_Values] = [{name: batch} for batch in feeds]
        self._rounded: list[_Values] = [{name: batch} for batch in feeds]
        self.stages = _stages(truth)
        self._last = _last_stages(truth, self.stages)

    def see(self, stage: int) -> dict[str, Seen]:
        """What the convolutions of a stage read and should give, by node name."""
        names = self.stages[stage]
        truth, rounded = _convs(self._truth, names), _convs(self._quantized, names)
        self._compute(self._truth, self._float, [truth[name].output[0] for name in names])
        self._compute(self._quantized, self._rounded, [rounded[name].input[0] for name in names])
        return {
            name: Seen(
                truth[name],
                [values[rounded[name].input[0]] for values in self._rounded],
                [values[truth[name].output[0]] for values in self._float],
            )
            for name in names
        }

    def run(
        self, seen: Mapping[str, Seen], weights: Parameters, biases: Parameters
    ) -> dict[str, list[NDArray[np.float32]]]:
        """The outputs of a stage's convolutions on their rounded inputs, an image each.

        Args:
            seen: the stage.
            weights, biases: as the int8 kernels will use them; the float model's where one is
                missing.
        """
        found = {}
        for name, tensors in seen.items():
            layer = set_parameters(_layer(self._truth, tensors.node), weights, biases)
            source, result = layer.graph.input[0].name, layer.graph.output[0].name
            part = Part(layer, [result], threads=self._threads)
            found[name] = [part({source: x})[result] for x in tensors.inputs]
        return found

    def settle(self, stage: int, outputs: Mapping[str, Sequence[NDArray[np.float32]]]) -> None:
        """Go on to the next stage; `outputs` of this one are what the quantized model has."""
        for name, node in _convs(self._quantized, self.stages[stage]).items():
            for values, output in zip(self._rounded, outputs[name], strict=True):
                values[node.output[0]] = output
        for values in (*self._float, *self._rounded):
            for name in [name for name in values if self._last.get(name, -1) <= stage]:
                del values[name]

    def _compute(self, model: ModelProto, images: list[_Values], wanted: Sequence[str]) -> None:
        missing = [name for name in dict.fromkeys(wanted) if name not in images[0]]
        if missing:
            part = Part(model, missing, known=images[0], threads=self._threads)
            for values in images:
                values.update(part(values))


def _layer(model: ModelProto, node: NodeProto) -> ModelProto:
    """A model of one convolution, from its input to its output."""
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info(node.input[0], TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)],
        [tensor for tensor in model.graph.initializer if tensor.name in node.input],
    )
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


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
        between = upstream_of(model, own, known - own)
        read = {name for node in between for name in node.input}
        last.update(dict.fromkeys(known & read, stage))
    return last

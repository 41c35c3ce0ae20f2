"""The Q/DQ graph of a float model, with the Q/DQ pairs of a placement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ghost_deploy.calib.graph.index import index_float
from ghost_deploy.calib.graph.replace_nodes import replace_nodes, require_valid
from ghost_deploy.calib.graph.structure import find_structure
from ghost_deploy.calib.quantize.conventions import Convention, PlacementOptions
from ghost_deploy.calib.quantize.conversions import Conversions, count_conversions
from ghost_deploy.calib.quantize.overflow import overflow_free_scales
from ghost_deploy.calib.quantize.placement import Placement, place
from ghost_deploy.calib.quantize.scales import QuantParams, activation_scales
from ghost_deploy.calib.quantize.weights import round_weight, weight_scales
from ghost_deploy.calib.ranges.histogram import TensorStatistics
from ghost_deploy.calib.ranges.methods import Method, Range
from ghost_deploy.core.bundle import FORM_KEY, GUARD, GUARD_KEY
from ghost_deploy.export.onnx_index import OnnxIndex, live_nodes

DEFAULT_METHOD: Method = "minmax"

_BIAS_LIMIT = 2.0**30
"""Largest level of a bias: half of what int32 holds, the other half is for the products."""


@dataclass(frozen=True)
class QdqGraph:
    """A Q/DQ model and its parameters.

    Attributes:
        model: with Q/DQ pairs, the float model's metadata and the name of its form.
        placement: which tensors are quantized.
        scales: of the quantized tensors, by name.
        weight_scales: (out,) float32 by name of the convolution. `quantize` with these and a float
            model whose weights are multiples of them reproduces exactly those weights.
        macs_planned: share of the multiply-adds, 0 to 1, in int8 convolutions of the placement;
            what a runtime executes in int8 is measured by `calib.executed`.
        source: the file of the float model, where the builder names it.
    """

    model: ModelProto
    placement: Placement
    scales: Mapping[str, QuantParams] = field(repr=False)
    weight_scales: Mapping[str, NDArray[np.float32]] = field(repr=False)
    macs_planned: float
    conversions: Conversions
    source: Path | None = None


def quantize(
    model: ModelProto,
    statistics: Mapping[str, TensorStatistics],
    convention: Convention,
    options: PlacementOptions,
    *,
    method: Method = DEFAULT_METHOD,
    ranges: Mapping[str, Range] | None = None,
    weight_scales: Mapping[str, NDArray[np.float32]] | None = None,
) -> QdqGraph:
    """The Q/DQ graph of a float model; equal arguments give equal bytes.

    Args:
        model: fp32, as `ghost-deploy export` writes it; not changed.
        statistics: of its activations, by tensor.
        convention: of the form.
        options: of the placement.
        method: how ranges of activations are chosen.
        ranges: (low, high) by tensor, instead of the range from the statistics.
        weight_scales: (out,) float32 by name of the convolution, instead of those from its
            weights.

    Raises:
        InputError: the model is quantized already or the statistics are of another model.
        UsageError: `float_nodes` of the options names an unknown node.
        ExportError: the result is not valid ONNX.
    """
    graph = index_float(model)
    structure = find_structure(graph)
    placement = place(structure, convention, options)
    scales = activation_scales(structure, placement, statistics, method=method, ranges=ranges)
    by_conv = _all_weight_scales(graph, placement, scales, options, weight_scales or {})
    result = _Writer(graph, placement, scales, by_conv).write()
    return QdqGraph(
        model=result,
        placement=placement,
        scales=scales,
        weight_scales=by_conv,
        macs_planned=_share(graph, placement.weights),
        conversions=count_conversions(structure, placement),
    )


def _all_weight_scales(
    graph: OnnxIndex,
    placement: Placement,
    scales: Mapping[str, QuantParams],
    options: PlacementOptions,
    known: Mapping[str, NDArray[np.float32]],
) -> dict[str, NDArray[np.float32]]:
    found = {}
    for name in placement.weights:
        node = graph.node[name]
        if name in known:
            chosen = np.asarray(known[name], np.float32)
        else:
            chosen = weight_scales(graph.weight(node), per_channel=options.per_channel)
        bias = graph.bias(node)
        if bias is not None and placement.convention.int32_bias:
            # The bias levels of a channel with tiny weights would exceed int32.
            needed = np.abs(bias) / (scales[node.input[0]].scale * _BIAS_LIMIT)
            chosen = np.maximum(chosen, needed.astype(np.float32))
        if placement.convention.overflow_guard and name not in known:
            groups = int(graph.attribute(node, "group", 1))
            safe = overflow_free_scales(graph.weight(node), chosen, groups)
            chosen = safe if options.per_channel else np.full_like(safe, safe.max())
        found[name] = chosen
    return found


def _share(graph: OnnxIndex, names: Iterable[str]) -> float:
    everything = sum(map(graph.macs, graph.nodes))
    return sum(graph.macs(graph.node[name]) for name in names) / everything if everything else 0.0


@dataclass(frozen=True)
class _Writer:
    """Builds the nodes and constants of one Q/DQ graph."""

    graph: OnnxIndex
    placement: Placement
    scales: Mapping[str, QuantParams]
    weights: Mapping[str, NDArray[np.float32]]
    constants: dict[str, TensorProto] = field(default_factory=dict)

    @property
    def convention(self) -> Convention:
        return self.placement.convention

    def write(self) -> ModelProto:
        """The finished model, checked."""
        result = ModelProto()
        result.CopyFrom(self.graph.model)
        nodes = live_nodes(self._nodes(), self.graph.outputs)
        replace_nodes(result, nodes, self.constants.values())
        result.metadata_props.add(key=FORM_KEY, value=self.convention.form)
        if self.convention.overflow_guard:
            result.metadata_props.add(key=GUARD_KEY, value=GUARD)
        require_valid(result)
        return result

    def _nodes(self) -> Iterator[NodeProto]:
        for name in self.graph.inputs:
            yield from self._pair(name)
        for node in self.graph.nodes:
            copy = NodeProto()
            copy.CopyFrom(node)
            for index, name in enumerate(node.input):
                if node.name in self.placement.reads.get(name, ()):
                    copy.input[index] = _rounded(name)
            if node.name in self.weights:
                yield from self._weights(node, copy)
            elif node.op_type == "Conv" and self.convention.rounds == "outputs":
                yield from self._guard(node, copy)
            yield copy
            for name in node.output:
                yield from self._pair(name)

    def _pair(self, name: str) -> Iterator[NodeProto]:
        """Q and DQ of an activation; nothing if it is not quantized."""
        if name not in self.scales:
            return
        found = self.scales[name]
        group = self.placement.groups[name]
        dtype = np.int8 if found.signed else np.uint8
        parameters = [
            self._constant(f"{group}/scale", np.array(found.scale, np.float32)),
            self._constant(f"{group}/zero_point", np.array(found.zero_point, dtype)),
        ]
        yield _q(name, parameters)
        yield _dq(f"{name}/quantized", _rounded(name), parameters)

    def _weights(self, node: NodeProto, copy: NodeProto) -> Iterator[NodeProto]:
        """Q and DQ of a convolution's weights, DQ of its bias; `copy` is changed to read them."""
        scales = self.weights[node.name]
        name = f"{node.name}/weight"
        parameters = [
            self._constant(f"{name}/scale", scales),
            self._constant(f"{name}/zero_point", np.zeros(len(scales), np.int8)),
        ]
        if self.convention.stored_weights:
            levels = round_weight(self.graph.weight(node), scales)
            source = self._constant(f"{name}/quantized", levels)
            yield _dq(source, _rounded(name), parameters, axis=0)
        else:
            yield _q(node.input[1], parameters, axis=0, name=name)
            yield _dq(f"{name}/quantized", _rounded(name), parameters, axis=0)
        copy.input[1] = _rounded(name)
        bias = self.graph.bias(node)
        if bias is not None and self.convention.int32_bias:
            step = (scales * np.float32(self.scales[node.input[0]].scale)).astype(np.float32)
            levels = np.rint(bias.astype(np.float64) / step).astype(np.int32)
            name = f"{node.name}/bias"
            source = self._constant(f"{name}/quantized", levels)
            yield _dq(source, _rounded(name), [self._constant(f"{name}/scale", step)], axis=0)
            copy.input[2] = _rounded(name)

    def _guard(self, node: NodeProto, copy: NodeProto) -> Iterator[NodeProto]:
        """A separate DQ for a float convolution, with the scale repeated for every channel.

        Between a DQ with one scale and a Q, ONNX Runtime (1.22 to 1.32, WeightBiasQuantization)
        turns a float convolution into int8, with one weight scale for all channels. It does not
        change a convolution that reads a DQ with several scales.
        """
        source = node.input[0]
        if node.name not in self.placement.reads.get(source, ()):
            return
        per_group = self.graph.weight(node).shape[1]
        channels = int(per_group * self.graph.attribute(node, "group", 1))
        found = self.scales[source]
        dtype = np.int8 if found.signed else np.uint8
        name = f"{node.name}/input"
        parameters = [
            self._constant(f"{name}/scale", np.full(channels, found.scale, np.float32)),
            self._constant(f"{name}/zero_point", np.full(channels, found.zero_point, dtype)),
        ]
        yield _dq(f"{source}/quantized", _rounded(name), parameters, axis=1)
        copy.input[0] = _rounded(name)

    def _constant(self, name: str, value: NDArray[np.generic]) -> str:
        self.constants[name] = numpy_helper.from_array(value, name)
        return name


def _rounded(name: str) -> str:
    return f"{name}/rounded"


def _q(source: str, parameters: list[str], *, axis: int | None = None, name: str = "") -> NodeProto:
    name = name or source
    node = helper.make_node(
        "QuantizeLinear",
        [source, *parameters],
        [f"{name}/quantized"],
        name=f"{name}/QuantizeLinear",
    )
    return _along(node, axis)


def _dq(source: str, result: str, parameters: list[str], *, axis: int | None = None) -> NodeProto:
    name = f"{result.removesuffix('/rounded')}/DequantizeLinear"
    node = helper.make_node("DequantizeLinear", [source, *parameters], [result], name=name)
    return _along(node, axis)


def _along(node: NodeProto, axis: int | None) -> NodeProto:
    """`node`, whose scales run along `axis`."""
    if axis is not None:
        node.attribute.append(helper.make_attribute("axis", axis))
    return node

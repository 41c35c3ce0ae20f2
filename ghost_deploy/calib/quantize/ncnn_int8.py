"""Int8 networks for NCNN, written by us: its own tools for this are in no package.

NCNN quantizes the input of an int8 convolution with one scale and its weights with one scale for
each output channel, all symmetric; what it gives is float32. Sums are exact on every processor, so
that one file serves all.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto

from ghost_deploy.calib.graph.index import index_float
from ghost_deploy.calib.quantize.int8_files import BuiltFile, file_info
from ghost_deploy.calib.quantize.qdq import QdqGraph
from ghost_deploy.calib.quantize.weights import round_weight
from ghost_deploy.core.errors import ExportError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.export.ncnn import converted, write_ncnn
from ghost_deploy.export.ncnn_net import NcnnLayer, NcnnNet
from ghost_deploy.export.onnx_index import OnnxIndex
from ghost_deploy.runtimes.ncnn_description import NcnnDescription

_SCALES = {"Convolution": 2, "ConvolutionDepthWise": 1}
"""Value of the parameter `int8_scale_term`: a scale for each output channel, and for each group."""

_INT8_SCALE_TERM = "8"


def write_ncnn_file(graph: QdqGraph, folder: Path, spec: ModelSpec) -> BuiltFile:
    """Write the int8 convolutions of a Q/DQ graph into the NCNN network of its float model.

    The network is converted once for all files below one scratch folder.

    Args:
        graph: to write, with its `source`.
        folder: an empty one, in the scratch folder.
        spec: of the model.

    Raises:
        ExportError: the float model cannot be converted, or has no convolution in common with it.
        MissingExtraError: a converter is not installed.
    """
    assert graph.source is not None, "the builder names the float model"
    net, own = _float_net(graph.source, spec, folder.parent)
    float_index = index_float(onnx.load(graph.source))
    quantized = OnnxIndex(graph.model)
    pairs = list(_pairs(net, float_index))
    for layer, node in pairs:
        bias = quantized.bias(quantized.node[node.name])
        if bias is not None and len(layer.weights) > 1:
            layer.weights[1] = bias  # which may be corrected
        if node.name in graph.weight_scales and _fits(layer):
            _to_int8(layer, node, graph, float_index)
    if not any(layer.params.get(_INT8_SCALE_TERM) for layer, _ in pairs):
        raise ExportError(
            "no convolution of the NCNN network could be put into int8",
            got=f"{len(pairs)} of {len(net.convolutions)} found in the ONNX graph",
            fix="Leave out NCNN in int8, or report this with the checkpoint's architecture",
        )
    info = file_info(graph.placement.convention)
    path, *extra = write_ncnn(net, folder / "model_ncnn_model", own, info=info)
    return BuiltFile(path, tuple(extra), graph, own)


def _float_net(source: Path, spec: ModelSpec, scratch: Path) -> tuple[NcnnNet, ModelSpec]:
    """The network in float32 and its description; kept in the scratch folder."""
    kept = scratch / "ncnn-float"
    if not kept.is_dir():
        draft = Path(tempfile.mkdtemp(dir=scratch))
        cut, net = converted(source, spec, draft)
        write_ncnn(net, draft / "net", cut.spec)
        (draft / "net").replace(kept)
    param = kept / "model.param"
    text = NcnnDescription.read(param).metadata[ModelSpec.Json]
    net = NcnnNet.read(param, param.with_suffix(".bin"))
    return net, ModelSpec.from_json(text)


def _pairs(net: NcnnNet, graph: OnnxIndex) -> Iterator[tuple[NcnnLayer, NodeProto]]:
    """Convolutions of the network with their nodes in the ONNX graph, found by their weights.

    Equal weights are paired in the order of execution; a layer that the converter changed has no
    node and stays float.
    """
    nodes: defaultdict[bytes, list[NodeProto]] = defaultdict(list)
    for node in graph.nodes:
        if node.op_type == "Conv":
            nodes[graph.weight(node).astype("<f4").tobytes()].append(node)
    for layer in net.convolutions:
        if found := nodes.get(layer.weights[0].tobytes()):
            yield layer, found.pop(0)


def _fits(layer: NcnnLayer) -> bool:
    """Whether NCNN has one scale for each output channel of a layer."""
    return layer.type == "Convolution" or layer.number(7) == layer.number(0)


def _to_int8(layer: NcnnLayer, node: NodeProto, graph: QdqGraph, float_index: OnnxIndex) -> None:
    """Replace the weights of a layer by levels, and append its scales."""
    scales = graph.weight_scales[node.name]
    levels = round_weight(float_index.weight(node), scales)
    layer.params[_INT8_SCALE_TERM] = str(_SCALES[layer.type])
    layer.weights = [levels.ravel(), *layer.weights[1:]]
    source = np.float32(graph.scales[node.input[0]].scale)
    # NCNN multiplies: level = value * scale.
    layer.weights += [(1 / scales).astype(np.float32), np.array([1 / source], np.float32)]
    layer.tagged = [*layer.tagged, False, False]

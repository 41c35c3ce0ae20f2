"""A graph that ends in the raw maps of its head, cut from our fp32 ONNX, for vendors' converters.

In int8 the decoding of boxes loses everything: on one scale with boxes of 640 pixels all scores
are rounded to zero. So it stays on the host, in float32, see `HeadSpec.maps`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper

from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.spec import InputSpec, ModelSpec
from ghost_deploy.export.cut_comparison import cut_difference, cut_failed
from ghost_deploy.export.head_maps import RAW_DECODERS, find_maps, map_heads
from ghost_deploy.export.onnx_index import OnnxIndex, live_nodes
from ghost_deploy.export.simplify import TOLERANCE, simplify

Layout = Literal["logits", "rockchip"]
"""Class maps as logits; or as probabilities, with their clipped sum, as Rockchip's examples read
them. A head with anchors has logits always."""


@dataclass(frozen=True)
class CutGraph:
    """A cut graph.

    Attributes:
        model: fp32 ONNX, one float32 image (1, 3, H, W) in, the maps out.
        spec: its description, whose `head` and `input` differ from those of the bundle.
    """

    model: ModelProto
    spec: ModelSpec


def cut_graph(whole: ModelProto, spec: ModelSpec, layout: Layout = "logits") -> CutGraph:
    """Cut a graph before its decoding, at `spec.input.size_hw`, and compare the two.

    Args:
        whole: our fp32 ONNX; not changed.
        spec: its description.
        layout: of the class maps.

    Raises:
        UsageError: the graph contains NMS.
        ExportError: its head is not found, or the decoded maps are not the output of `whole`.
    """
    if spec.head.decoder not in RAW_DECODERS:
        raise UsageError(
            "a graph with NMS inside cannot be cut before its decoding",
            got=f"decoder {spec.head.decoder}",
            fix="Export the model without --nms",
        )
    body = _with_fixed_input(whole, spec)
    index = OnnxIndex(body)
    maps = find_maps(index, spec)
    for head, names in map_heads(maps, spec):
        own = msgspec.structs.replace(spec, head=head, input=fixed_input(spec.input))
        cut = _cut(body, own, names)
        if layout == "rockchip" and not head.anchor_sizes:
            cut, own = _with_score_maps(cut, own)
        worst = cut_difference(whole, spec, cut, own)
        if worst <= TOLERANCE["fp32"]:
            return CutGraph(cut, own)
    raise cut_failed(f"the decoded maps differ from the output by {worst:.2g} of its range")


def fixed_input(spec: InputSpec) -> InputSpec:
    """The input of a cut graph: one float32 image of the usual size."""
    size, float_input = spec.size_hw, {"layout": "nchw", "dtype": "float32"}
    return msgspec.structs.replace(spec, batch=(1, 1), min_hw=size, max_hw=size, **float_input)


def _with_fixed_input(whole: ModelProto, spec: ModelSpec) -> ModelProto:
    """A copy whose input is float32 (1, 3, H, W), without a preprocessing inside."""
    model = ModelProto()
    model.CopyFrom(whole)
    graph, (name,) = model.graph, OnnxIndex(whole).inputs
    if spec.input.embedded:
        _strip_preprocessing(model, spec.input)
    shape = fixed_input(spec.input).shape(1, spec.input.size_hw)
    own = helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    next(each for each in graph.input if each.name == name).CopyFrom(own)
    del graph.value_info[:]
    del model.metadata_props[:]
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    return model


def _strip_preprocessing(model: ModelProto, spec: InputSpec) -> None:
    """Let the readers of what `export.rewrite.Pixels` computes read the input."""
    index = OnnxIndex(model)
    (name,) = index.inputs
    steps = ["Cast", "Div", "Transpose"]
    steps += ["Gather"] * (spec.color == "rgb") + ["Sub"] * any(spec.mean)
    steps += ["Div"] * (set(spec.std) != {1.0})
    end = name
    while steps:
        readers = index.readers(end)
        if len(readers) != 1 or readers[0].op_type not in steps:
            raise cut_failed(f"its preprocessing is not found behind {end!r}")
        steps.remove(readers[0].op_type)
        end = readers[0].output[0]
    for node in model.graph.node:
        node.input[:] = [name if each == end else each for each in node.input]


def _cut(body: ModelProto, spec: ModelSpec, names: list[str]) -> ModelProto:
    """The part of `body` that gives `names`, under the names of the maps of `spec`."""
    shapes = spec.output_shapes()
    ours = dict(zip(names, shapes, strict=True))
    nodes = []
    for node in live_nodes(body.graph.node, names):
        own = NodeProto()
        own.CopyFrom(node)
        own.input[:] = [ours.get(each, each) for each in node.input]
        own.output[:] = [ours.get(each, each) for each in node.output]
        nodes.append(own)
    used = {name for node in nodes for name in node.input}
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
    graph = helper.make_graph(
        nodes,
        spec.name,
        [each for each in body.graph.input if each.name in used],
        outputs,
        [each for each in body.graph.initializer if each.name in used],
    )
    return _finished(graph, body, spec)


def _with_score_maps(cut: ModelProto, spec: ModelSpec) -> tuple[ModelProto, ModelSpec]:
    """The cut graph with probabilities and their clipped sum in place of class logits."""
    graph, old = cut.graph, spec.head
    names = tuple((f"box{s}", f"score{s}", f"sum{s}") for s in old.strides)
    own = msgspec.structs.replace(spec, head=msgspec.structs.replace(old, maps=names))
    axes = helper.make_tensor("sum/axes", TensorProto.INT64, (1,), (1,))
    limits = [helper.make_tensor(f"sum/{v}", TensorProto.FLOAT, (), (v,)) for v in (0.0, 1.0)]
    graph.initializer.extend([axes, *limits])
    axes_input = OnnxIndex(cut).opset >= 13
    for (_, logits), (_, score, total) in zip(old.maps, names, strict=True):
        whole = f"{total}/all"
        if axes_input:
            summed = helper.make_node("ReduceSum", [score, "sum/axes"], [whole])
        else:
            summed = helper.make_node("ReduceSum", [score], [whole], axes=[1])
        clipped = helper.make_node("Clip", [whole, "sum/0.0", "sum/1.0"], [total])
        nodes = (helper.make_node("Sigmoid", [logits], [score]), summed, clipped)
        for node in nodes:
            node.name = f"{node.output[0]}/{node.op_type}"
        graph.node.extend(nodes)
    del graph.output[:]
    graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in own.output_shapes().items()
    )
    return _finished(graph, cut, own), own


def _finished(graph: onnx.GraphProto, like: ModelProto, spec: ModelSpec) -> ModelProto:
    model = helper.make_model(graph, opset_imports=like.opset_import, ir_version=like.ir_version)
    model.producer_name, model.producer_version = like.producer_name, like.producer_version
    if spec.head.scores_in_maps:
        used = {name for node in graph.node for name in node.input}
        for tensor in [each for each in graph.initializer if each.name not in used]:
            model.graph.initializer.remove(tensor)
    helper.set_model_props(model, {ModelSpec.Json: spec.to_json().decode()})
    # Of a graph of any size: the sizes of its own maps become constants.
    return simplify(model) if any(node.op_type == "Shape" for node in graph.node) else model

"""NMS at the end of a graph, by TensorRT's EfficientNMS plugin; only TensorRT runs the result.

The plugin takes every class of an anchor for a candidate of its own, while a detector of ours
takes the best one, so all other scores are set to 0 before. Its four outputs are joined into one
tensor of the form that a one2one head gives. The field `class_agnostic` came with TensorRT 8.6 and
is there only where it is set; `releases.KNOWN_PROBLEMS` refuses it before. Other fields that 8.5
lacks are not used.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ghost_deploy.core.bundle import NMS_FORM, Bundle, BundleWriter
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.spec import EMBEDDED_NMS_SCORE, ModelSpec
from ghost_deploy.export.metadata import onnx_properties

OPERATOR = "EfficientNMS_TRT"
DOMAIN = "TRT"
"""The parser finds the plugin by the operator's name; the domain keeps other tools away from it."""

_RAW = "raw"


def with_nms(spec: ModelSpec) -> ModelSpec:
    """The description of the model with the plugin.

    Raises:
        UsageError: the model needs no NMS, or takes several sizes, which the plugin cannot.
    """
    if spec.head.decoder not in ("dfl", "anchors"):
        raise UsageError(
            f"NMS cannot be added behind the decoder {spec.head.decoder!r}",
            expected="dfl or anchors",
            fix="Leave out --nms",
        )
    if spec.input.min_hw != spec.input.max_hw:
        raise UsageError(
            "NMS inside an engine needs one input size",
            got=f"sizes {spec.input.min_hw} to {spec.input.max_hw}",
            fix="Leave out --nms or --dynamic",
        )
    return msgspec.structs.replace(
        spec, head=msgspec.structs.replace(spec.head, decoder="efficient-nms")
    )


def append_nms(model: ModelProto, spec: ModelSpec) -> ModelProto:
    """A copy of a graph of the decoder `dfl` or `anchors` that ends in the plugin.

    Args:
        model: output float32, as its decoder gives it.
        spec: of `with_nms`.
    """
    result = ModelProto()
    result.CopyFrom(model)
    graph, name = result.graph, spec.head.output
    for node in graph.node:
        for index, output in enumerate(node.output):
            if output == name:
                node.output[index] = _RAW
    graph.node.extend(_nodes(spec))
    parts = [4, 1, spec.num_classes] if spec.head.anchor_sizes else [4, spec.num_classes]
    for constant, value in (("nms/sizes", np.array(parts, np.int64)),
                            ("nms/axis", np.array([2], np.int64)),
                            ("nms/zero", np.float32(0))):  # fmt: skip
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), constant))
    batch = graph.output[0].type.tensor_type.shape.dim[0]
    rows = batch.dim_param or batch.dim_value
    shape = [rows, spec.thresholds.max_det, 6]
    graph.output[0].CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    result.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    del result.metadata_props[:]
    helper.set_model_props(result, onnx_properties(spec))
    return result


def append_nms_to_bundle(writer: BundleWriter, bundle: Bundle) -> Bundle:
    """Replace the ONNX graphs of a bundle that is being written by graphs that end in the plugin.

    What was compared with the checkpoint is the graph before it: ONNX Runtime cannot run the
    plugin. The engine that is built next is compared as a whole.

    Args:
        writer: of the bundle.
        bundle: its draft, with ONNX graphs of the decoder `dfl` or `anchors` alone.

    Returns:
        The draft with the new graphs, unsaved.

    Raises:
        UsageError: as `with_nms`.
    """
    spec = with_nms(bundle.spec)
    writer.forget()
    for artifact in bundle.artifacts:
        plain = bundle.path / artifact.path
        model = append_nms(onnx.load(plain), spec)
        path = plain.with_name(f"model.{artifact.precision}.{NMS_FORM}.onnx")
        path.write_bytes(model.SerializeToString(deterministic=True))
        plain.unlink()
        writer.add(
            format=artifact.format,
            precision=artifact.precision,
            path=path,
            parent=artifact.parent,
            tools=artifact.tools,
            options={**artifact.options, "decoder": spec.head.decoder},
            form=NMS_FORM,
        )
    document = bundle.document
    return writer.draft(spec, document.source, document.created_with, bundle.evidence)


def _nodes(spec: ModelSpec) -> list[NodeProto]:
    make = helper.make_node
    limits = spec.thresholds
    # The plugin drops at an equal overlap, we at a greater one: the next float32 makes it one.
    overlap = float(np.nextafter(np.float32(limits.iou), np.float32(2)))
    agnostic: dict[str, Any] = {"class_agnostic": 1} if limits.agnostic else {}
    return [
        *_boxes_and_scores(spec),
        make("ReduceMax", ["nms/all"], ["nms/max"], name="nms/Best", axes=[2], keepdims=1),
        make("Equal", ["nms/all", "nms/max"], ["nms/is_best"], name="nms/Equal"),
        make("Where", ["nms/is_best", "nms/all", "nms/zero"], ["nms/scores"], name="nms/Where"),
        make(
            OPERATOR,
            ["nms/boxes", "nms/scores"],
            ["nms/count", "nms/xyxy", "nms/score", "nms/class"],
            name="nms/EfficientNMS",
            domain=DOMAIN,
            plugin_version="1",
            background_class=-1,
            box_coding=1,
            score_activation=0,
            max_output_boxes=limits.max_det,
            score_threshold=EMBEDDED_NMS_SCORE,
            iou_threshold=overlap,
            **agnostic,
        ),
        make("Unsqueeze", ["nms/score", "nms/axis"], ["nms/score_column"], name="nms/Score"),
        make("Cast", ["nms/class"], ["nms/label"], name="nms/Cast", to=TensorProto.FLOAT),
        make("Unsqueeze", ["nms/label", "nms/axis"], ["nms/label_column"], name="nms/Label"),
        make(
            "Concat",
            ["nms/xyxy", "nms/score_column", "nms/label_column"],
            [spec.head.output],
            name="nms/Concat",
            axis=2,
        ),
    ]


def _boxes_and_scores(spec: ModelSpec) -> list[NodeProto]:
    """From the output to `nms/boxes` (B, A, 4) and `nms/all` (B, A, classes)."""
    make = helper.make_node
    if spec.head.anchor_sizes:
        parts = ["nms/boxes", "nms/objectness", "nms/classes"]
        return [
            make("Split", [_RAW, "nms/sizes"], parts, name="nms/Split", axis=2),
            make("Mul", parts[1:], ["nms/all"], name="nms/Product"),
        ]
    return [
        make("Split", [_RAW, "nms/sizes"], ["nms/b", "nms/s"], name="nms/Split", axis=1),
        make("Transpose", ["nms/b"], ["nms/boxes"], name="nms/Boxes", perm=[0, 2, 1]),
        make("Transpose", ["nms/s"], ["nms/all"], name="nms/Scores", perm=[0, 2, 1]),
    ]

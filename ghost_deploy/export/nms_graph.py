"""NMS at the end of a graph, by the standard operator NonMaxSuppression; every runtime has it.

The operator takes each class by itself and gives a list as long as what it kept. A detector of ours
takes the best class of each anchor and, of what NMS keeps, the best: so the scores of all other
classes are 0, what was kept is scattered over the anchors, and TopK makes a tensor of a fixed
length out of it, best first, of the form that a one2one head gives. Equal scores are in the order
of anchors, as on the host. Boxes keep their places, where the host moves classes apart: nothing is
rounded, whatever the arithmetic.

Only operators that are the same from opset 12 to 20 are used.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ghost_deploy._version import __version__
from ghost_deploy.core.bundle import Artifact, Bundle, BundleWriter
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.spec import EMBEDDED_NMS_SCORE, ModelSpec
from ghost_deploy.export.metadata import onnx_properties

_RAW = "nms/raw"


def with_graph_nms(spec: ModelSpec) -> ModelSpec:
    """The description of the model with NMS in its graph.

    Raises:
        UsageError: the output is not that of the decoder `dfl` or `anchors`.
    """
    if spec.head.decoder not in ("dfl", "anchors"):
        raise UsageError(
            f"NMS cannot be added behind the decoder {spec.head.decoder!r}",
            expected="dfl or anchors",
            fix="Leave out --nms",
        )
    head = msgspec.structs.replace(spec.head, decoder="nms")
    return msgspec.structs.replace(spec, head=head)


def nms_tail(spec: ModelSpec, opset: int, *, drops_equal: bool = False) -> ModelProto:
    """The graph behind the output of the decoder `dfl` or `anchors`.

    Args:
        spec: of `with_graph_nms`.
        opset: of the graph, from 12 on.
        drops_equal: the runtime removes a box at an overlap equal to the limit, as OpenVINO does,
            where ONNX and our host remove it above: the limit becomes the next float32.

    Returns:
        A model from `nms/raw`, as that decoder describes it, to the output (B, `max_det`, 6),
        float32.
    """
    head = msgspec.structs.replace(spec.head, decoder=spec.head.plain)
    plain = msgspec.structs.replace(spec, head=head)
    names = ("batch", "anchors", "values") if head.per_row else ("batch", "values", "anchors")
    shape = [n if size < 0 else size for size, n in zip(plain.output_shape(), names, strict=True)]
    constants = _constants(spec)
    if drops_equal:
        above = np.nextafter(constants["iou"], np.float32(2))
        constants["iou"] = np.maximum(above, np.finfo(np.float32).tiny)  # OpenVINO has no smaller
    graph = helper.make_graph(
        list(_nodes(spec)),
        "nms",
        [helper.make_tensor_value_info(_RAW, TensorProto.FLOAT, shape)],
        [_output(spec)],
        [numpy_helper.from_array(np.asarray(v), f"nms/{name}") for name, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)


def append_graph_nms(model: ModelProto, spec: ModelSpec) -> ModelProto:
    """A copy of an ONNX graph that ends in NMS; its metadata stays.

    Args:
        model: output float32, of the decoder `dfl` or `anchors`.
        spec: of `with_graph_nms`.
    """
    result = ModelProto()
    result.CopyFrom(model)
    graph, name = result.graph, spec.head.output
    for node in graph.node:
        for names in (node.input, node.output):
            for index, each in enumerate(names):
                if each == name:
                    names[index] = _RAW
    opset = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    tail = nms_tail(spec, opset).graph
    graph.node.extend(tail.node)
    graph.initializer.extend(tail.initializer)
    graph.output[0].CopyFrom(tail.output[0])
    kept = {item.key: item.value for item in model.metadata_props}
    del result.metadata_props[:]
    helper.set_model_props(result, dict(sorted({**kept, **onnx_properties(spec)}.items())))
    onnx.checker.check_model(result)
    return result


def append_graph_nms_to_bundle(writer: BundleWriter, bundle: Bundle) -> Bundle:
    """Replace the graphs of a bundle that is being written by graphs that end in NMS.

    Int8 graphs stay as they are before it: NMS is float.

    Args:
        writer: of the bundle.
        bundle: its draft, with ONNX and OpenVINO graphs of the decoder `dfl` or `anchors`.

    Returns:
        The draft with the new graphs, unsaved; its evidence is that of the old ones.

    Raises:
        UsageError: as `with_graph_nms`.
        ExportError: OpenVINO refuses a graph.
    """
    spec = with_graph_nms(bundle.spec)
    writer.forget()
    hashes: dict[str, str] = {}
    for artifact in bundle.artifacts:
        path = bundle.path / artifact.path
        extra = [bundle.path / name for name in artifact.files if name != artifact.path]
        if artifact.format == "onnx":
            model = append_graph_nms(onnx.load(path), spec)
            path.write_bytes(model.SerializeToString(deterministic=True))
        else:
            from ghost_deploy.export.openvino import append_to_openvino

            path, *extra = append_to_openvino(path, nms_tail(spec, 17, drops_equal=True), spec)
        new = _record(writer, artifact, path, extra, hashes)
        hashes[artifact.files[artifact.path]] = new.files[new.path]
    document, evidence = bundle.document, bundle.evidence
    draft = writer.draft(spec, document.source, document.created_with, evidence)
    if evidence.int8 is None:
        return draft
    rows = (
        msgspec.structs.replace(r, sha256=hashes.get(r.sha256, r.sha256))
        for r in evidence.int8.rows
    )
    return draft.with_evidence(msgspec.structs.replace(evidence.int8, rows=tuple(rows)))


def _record(
    writer: BundleWriter, old: Artifact, path: Path, extra: list[Path], hashes: dict[str, str]
) -> Artifact:
    """Record a file in the place of `old`; `hashes` are those of new files by their old ones."""
    return writer.add(
        format=old.format,
        precision=old.precision,
        path=path,
        parent=hashes.get(old.parent, old.parent),
        tools={**old.tools, "ghost-deploy": __version__},
        options={**old.options, "decoder": "nms"},
        extra_files=tuple(extra),
        form=old.form,
    )


def _output(spec: ModelSpec) -> onnx.ValueInfoProto:
    batch, rows, columns = spec.output_shape()
    shape = ["batch" if batch < 0 else batch, rows, columns]
    return helper.make_tensor_value_info(spec.head.output, TensorProto.FLOAT, shape)


def _constants(spec: ModelSpec) -> dict[str, Any]:
    """The constants of `_nodes` by name; integers are int64."""
    limits, classes = spec.thresholds, spec.num_classes
    first = 5 if spec.head.anchor_sizes else 4
    integers: dict[str, Any] = {
        "0": [0], "1": [1], "2": [2], "4": [4], "end": [first + classes], "ends": [0, 2],
        "ids": np.arange(classes)[:, None], "k": [limits.max_det], "flat": [0, -1],
        "column": [0, -1, 1], "most": limits.max_det,
    }  # fmt: skip
    if _missing(spec):
        integers["pad"] = [0, 0, 0, _missing(spec)]
        integers["pads"] = [0, 0, 0, 0, _missing(spec), 0]
    if spec.head.anchor_sizes:
        integers["5"] = [5]
    floats = {"none": 0, "half": 0.5, "iou": [limits.iou], "floor": [EMBEDDED_NMS_SCORE]}
    return {
        **{name: np.array(value, np.int64) for name, value in integers.items()},
        **{name: np.array(value, np.float32) for name, value in floats.items()},
    }


def _missing(spec: ModelSpec) -> int:
    """Rows that the smallest input has too few for `max_det`."""
    return max(0, spec.thresholds.max_det - spec.head.anchors(spec.input.min_hw))


def _nodes(spec: ModelSpec) -> Iterator[NodeProto]:
    yield from _parts(spec)
    yield _node("Mul", ["size", "half"], "reach")
    yield _node("Sub", ["centre", "reach"], "low")
    yield _node("Add", ["centre", "reach"], "high")
    yield _node("ArgMax", ["all"], "id", axis=1, keepdims=1)
    yield _node("GatherElements", ["all", "id"], "score", axis=1)
    yield _node("Cast", ["id"], "label", to=TensorProto.FLOAT)
    yield _node("Concat", ["low", "high"], "xyxy", axis=1)
    yield _node("Concat", ["xyxy", "score", "label"], "columns", axis=1)
    yield from _selection(spec)
    yield from _best_rows(spec)


def _parts(spec: ModelSpec) -> Iterator[NodeProto]:
    """`centre` and `size` (B, 2, A), and `all` (B, classes, A), the scores."""
    values = "raw"
    if spec.head.anchor_sizes:
        values = "values"
        yield _node("Transpose", ["raw"], values, perm=[0, 2, 1])
        yield _node("Slice", [values, "4", "5", "1"], "objectness")
        yield _node("Slice", [values, "5", "end", "1"], "classes")
        yield _node("Mul", ["objectness", "classes"], "all")
    else:
        yield _node("Slice", [values, "4", "end", "1"], "all")
    yield _node("Slice", [values, "0", "2", "1"], "centre")
    yield _node("Slice", [values, "2", "4", "1"], "size")


def _selection(spec: ModelSpec) -> Iterator[NodeProto]:
    """`kept`: (B, A), the score of each anchor that NMS keeps, 0 of the others."""
    yield _node("Transpose", ["xyxy"], "boxes", perm=[0, 2, 1])
    scores = "score"
    if not spec.thresholds.agnostic:
        scores = "scores"
        yield _node("Equal", ["id", "ids"], "is_best")
        yield _node("Where", ["is_best", "score", "none"], scores)
    # Corners in any order: x and y may change places.
    yield _node("NonMaxSuppression", ["boxes", scores, "most", "iou", "floor"], "selected")
    yield _node("Gather", ["selected", "ends"], "places", axis=1)
    yield _node("Reshape", ["score", "flat"], "flat_score")
    yield _node("GatherND", ["flat_score", "places"], "updates")
    yield _node("Mul", ["flat_score", "none"], "nothing")
    yield _node("ScatterND", ["nothing", "places", "updates"], "kept")


def _best_rows(spec: ModelSpec) -> Iterator[NodeProto]:
    """The output: rows of the best anchors, zeros where fewer were kept."""
    yield _node("Transpose", ["columns"], "rows", perm=[0, 2, 1])
    kept, rows = "kept", "rows"
    if _missing(spec):
        kept, rows = "kept_and_more", "rows_and_more"
        yield _node("Pad", ["kept", "pad"], kept)
        yield _node("Pad", ["rows", "pads"], rows)
    top = ["nms/top", "nms/index"]
    yield helper.make_node("TopK", [f"nms/{kept}", "nms/k"], top, name="nms/TopK", axis=1)
    yield _node("Reshape", ["index", "column"], "index_column")
    yield _node("GatherND", [rows, "index_column"], "best", batch_dims=1)
    yield _node("Greater", ["top", "none"], "is_used")
    yield _node("Cast", ["is_used"], "used", to=TensorProto.FLOAT)
    yield _node("Reshape", ["used", "column"], "used_column")
    product = ["nms/best", "nms/used_column"]
    yield helper.make_node("Mul", product, [spec.head.output], name="nms/Output")


def _node(operator: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:
    """A node between tensors whose names begin with `nms/`."""
    names = [f"nms/{name}" for name in inputs]
    result = f"nms/{output}"
    return helper.make_node(operator, names, [result], name=f"{result}/{operator}", **attributes)

"""ONNX from a network: traced, simplified, described and checked."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

import onnx
import torch
from onnx import ModelProto, TensorProto, helper
from torch.jit._trace import TracerWarning

from ghost_deploy._version import __version__
from ghost_deploy.core.errors import ExportError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.export.metadata import onnx_properties
from ghost_deploy.export.precision import to_half
from ghost_deploy.export.rewrite import ExportGraph
from ghost_deploy.export.simplify import require_same_results, simplify
from ghost_deploy.export.upsample import convolve_before_upsampling
from ghost_deploy.models.fuse import fuse
from ghost_deploy.models.network import DetectionNet

OPSET = 17
"""The newest that TensorRT 8.5 (JetPack 5) parses."""

IR_VERSION = 8
"""The one that belongs to opset 17."""


def onnx_from_net(net: DetectionNet, spec: ModelSpec, precision: str) -> ModelProto:
    """The graph of `spec` in `precision` (`fp32` or `fp16`); `net` stays as it is.

    The output is float32 in every precision, and so is the input unless it is uint8 pixels. Equal
    networks give equal bytes.

    Raises:
        UsageError: the head lacks the branch that the spec names.
        ExportError: the network cannot be traced, does not fit the precision, or the result does
            not compute what was traced.
    """
    fused = fuse(net)
    if precision == "fp16":
        fused = to_half(fused)
    traced = _trace(ExportGraph(fused, spec).eval(), spec)
    model = simplify(traced)
    convolve_before_upsampling(model)
    _describe(model, spec)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            "the exported graph is not valid ONNX", got=str(error), fix="Report this"
        ) from error
    require_same_results(traced, model, spec, precision)
    return model


def _trace(graph: ExportGraph, spec: ModelSpec) -> ModelProto:
    size = spec.input
    dtype = torch.uint8 if size.embedded else torch.float32
    image = torch.zeros(size.shape(size.batch[0], size.size_hw), dtype=dtype)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The TorchScript exporter is used on purpose: it writes opset 17 itself. It announces its
        # own end, and warns of functions that torch itself calls.
        warnings.simplefilter("ignore", DeprecationWarning)
        # It cannot fold a strided Slice (YOLO's HGStem has one); onnxsim can, and is checked.
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)
        # A tracer warning means that a value of this one run would be frozen into the graph.
        warnings.simplefilter("error", TracerWarning)
        try:
            with torch.inference_mode():
                torch.onnx.export(
                    graph,
                    (image,),
                    buffer,  # type: ignore[arg-type] # this exporter writes to a buffer too
                    opset_version=OPSET,
                    input_names=[size.name],
                    output_names=[spec.head.output],
                    dynamic_axes=_dynamic_axes(spec),
                    dynamo=False,
                )
        # The exporter raises whatever torch raises for the operator that it cannot take.
        except Exception as error:
            raise ExportError(
                "the network could not be traced to ONNX",
                got=f"{type(error).__name__}: {error}",
                fix="A module given with --modules must not branch on tensor values",
            ) from error
    return onnx.load_model_from_string(buffer.getvalue())


def _describe(model: ModelProto, spec: ModelSpec) -> None:
    """Set what the file says of itself and remove what it says of the machine that made it."""
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "ghost-deploy", __version__
    model.domain = model.doc_string = ""
    model.graph.name = spec.name
    model.graph.doc_string = ""
    del model.graph.value_info[:]
    for item in (*model.graph.node, *model.graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]
    del model.metadata_props[:]
    helper.set_model_props(model, onnx_properties(spec))
    input_shape, output_shape = _shapes(spec)
    taken = TensorProto.UINT8 if spec.input.embedded else TensorProto.FLOAT
    for value, kind, shape in (
        (model.graph.input[0], taken, input_shape),
        (model.graph.output[0], TensorProto.FLOAT, output_shape),
    ):
        value.CopyFrom(helper.make_tensor_value_info(value.name, kind, shape))


def _dynamic_axes(spec: ModelSpec) -> dict[str, dict[int, str]]:
    input_shape, output_shape = _shapes(spec)
    return {
        name: {axis: length for axis, length in enumerate(shape) if isinstance(length, str)}
        for name, shape in ((spec.input.name, input_shape), (spec.head.output, output_shape))
    }


def _shapes(spec: ModelSpec) -> tuple[list[int | str], list[int | str]]:
    """Shapes of input and output: a number, or a name where it may vary."""
    names = ["batch", "height", "width"]
    names.insert(3 if spec.input.embedded else 1, "channels")
    return (
        _named(spec.input.graph_shape(), names),
        _named(spec.output_shape(), ["batch", "values", "anchors"]),
    )


def _named(shape: Sequence[int], names: Sequence[str]) -> list[int | str]:
    return [name if length < 0 else length for length, name in zip(shape, names, strict=True)]

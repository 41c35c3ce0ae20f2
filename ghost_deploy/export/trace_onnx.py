"""ONNX from a network: traced, simplified, described and checked."""

from __future__ import annotations

import onnx
from onnx import ModelProto, TensorProto, helper

from ghost_deploy._version import __version__
from ghost_deploy.core.errors import ExportError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.export.metadata import onnx_properties
from ghost_deploy.export.opset import IR_VERSIONS, OPSET
from ghost_deploy.export.precision import to_half
from ghost_deploy.export.rewrite import ExportGraph
from ghost_deploy.export.simplify import require_same_results, simplify
from ghost_deploy.export.trace import graph_shapes, trace
from ghost_deploy.export.upsample import convolve_before_upsampling
from ghost_deploy.models.fuse import fuse
from ghost_deploy.models.network import DetectionNet


def onnx_from_net(
    net: DetectionNet, spec: ModelSpec, precision: str, opset: int = OPSET
) -> ModelProto:
    """The graph of `spec` in `precision` (`fp32` or `fp16`) and an opset of `IR_VERSIONS`; `net`
    stays as it is.

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
    traced = trace(ExportGraph(fused, spec).eval(), spec, opset=opset)
    return finish_onnx(onnx.load_model_from_string(traced), spec, precision)


def finish_onnx(traced: ModelProto, spec: ModelSpec, precision: str) -> ModelProto:
    """A traced graph, simplified, described and checked.

    Raises:
        ExportError: the result is not valid, or does not compute what was traced.
    """
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


def _describe(model: ModelProto, spec: ModelSpec) -> None:
    """Set what the file says of itself and remove what it says of the machine that made it."""
    own = {each.domain: each.version for each in model.opset_import}
    model.ir_version = IR_VERSIONS.get(own.get("", OPSET), IR_VERSIONS[OPSET])
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
    input_shape, output_shape = graph_shapes(spec)
    taken = TensorProto.UINT8 if spec.input.embedded else TensorProto.FLOAT
    for value, kind, shape in (
        (model.graph.input[0], taken, input_shape),
        (model.graph.output[0], TensorProto.FLOAT, output_shape),
    ):
        value.CopyFrom(helper.make_tensor_value_info(value.name, kind, shape))

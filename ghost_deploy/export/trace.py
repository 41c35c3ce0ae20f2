"""Tracing a torch module to ONNX; needs torch alone, as the child that runs a fork's code does."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

import torch
from torch import nn
from torch.jit._trace import TracerWarning

from ghost_deploy.core.errors import ExportError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.export.opset import OPSET


def trace(graph: nn.Module, spec: ModelSpec, *, strict: bool = True, opset: int = OPSET) -> bytes:
    """The ONNX file of a module, not simplified.

    Args:
        graph: from the image tensor of `spec` to its output.
        spec: of the export; it says which axes vary.
        strict: refuse a module in which a value of this one run would become a constant.
        opset: of the file.

    Raises:
        ExportError: torch cannot trace it.
    """
    size = spec.input
    dtype = torch.uint8 if size.embedded else torch.float32
    image = torch.zeros(size.shape(size.batch[0], size.size_hw), dtype=dtype)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The TorchScript exporter is used on purpose: it writes all opsets itself. It announces
        # its own end, and warns of functions that torch itself calls.
        warnings.simplefilter("ignore", DeprecationWarning)
        # It cannot fold a strided Slice (YOLO's HGStem has one); onnxsim can, and is checked.
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)
        # A tracer warning means that a value of this one run would be frozen into the graph.
        warnings.simplefilter("error" if strict else "ignore", TracerWarning)
        # torch's own checks of sizes before a normalization; they have no result.
        warnings.filterwarnings(
            "ignore", "Converting a tensor to a Python", TracerWarning, r"torch\.nn\.functional"
        )
        try:
            with torch.inference_mode():
                torch.onnx.export(
                    graph,
                    (image,),
                    buffer,  # type: ignore[arg-type] # this exporter writes to a buffer too
                    opset_version=opset,
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
    return buffer.getvalue()


def _dynamic_axes(spec: ModelSpec) -> dict[str, dict[int, str]]:
    input_shape, output_shape = graph_shapes(spec)
    return {
        name: {axis: length for axis, length in enumerate(shape) if isinstance(length, str)}
        for name, shape in ((spec.input.name, input_shape), (spec.head.output, output_shape))
    }


def graph_shapes(spec: ModelSpec) -> tuple[list[int | str], list[int | str]]:
    """Shapes of input and output: a number, or a name where it may vary."""
    names = ["batch", "height", "width"]
    names.insert(3 if spec.input.embedded else 1, "channels")
    return (
        _named(spec.input.graph_shape(), names),
        _named(
            spec.output_shape(),
            ["batch", *(("anchors", "values") if spec.head.per_row else ("values", "anchors"))],
        ),
    )


def _named(shape: Sequence[int], names: Sequence[str]) -> list[int | str]:
    return [name if length < 0 else length for length, name in zip(shape, names, strict=True)]

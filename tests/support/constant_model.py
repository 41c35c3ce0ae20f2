"""A model of one class whose output never changes: its spec, its ONNX file, bundles of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ghost_deploy.core.bundle import Bundle, BundleWriter, Source
from ghost_deploy.core.spec import ModelSpec
from tests.support.model_specs import STRIDES, make_spec


def one_class_spec(batch: tuple[int, int] = (1, 1), name: str = "small") -> ModelSpec:
    """One class at 64 x 64, decoder `dfl`."""
    return make_spec(names=("cell",), batch=batch, name=name, family="test")


def write_constant_onnx(path: Path, side: int = 64) -> Path:
    """Boxes and scores are zeros: no score reaches a threshold."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    anchors = sum((side // stride) ** 2 for stride in STRIDES)
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
            helper.make_node("Add", ["nothing", "canned"], ["output0"]),
        ],
        "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, side, side])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 5, anchors])],
        [
            numpy_helper.from_array(np.zeros((1, 1, 1), np.float32), "zero"),
            numpy_helper.from_array(np.zeros((1, 5, anchors), np.float32), "canned"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


def write_constant_bundle(
    folder: Path, precisions: Sequence[str] = ("fp32",), **spec: object
) -> Bundle:
    """A bundle of ONNX artifacts, all the same model."""
    with BundleWriter(folder) as writer:
        for precision in precisions:
            path = write_constant_onnx(writer.folder / f"model.{precision}.onnx")
            writer.add(format="onnx", precision=precision, path=path, parent="0", tools={})
        writer.draft(one_class_spec(**spec), Source(file="best.pt", sha256="0"), "a test")
        return writer.finish()

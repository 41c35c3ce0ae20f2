"""Bundles of tiny files: integrations copy most of them unopened."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
from onnx import TensorProto, helper, numpy_helper

from ghost_deploy.core.bundle import Bundle, BundleWriter, Source
from ghost_deploy.core.spec import HeadSpec, InputSpec, ModelSpec
from ghost_deploy.runtimes.tensorrt.calibration_cache import CalibrationCache

SPEC = ModelSpec(
    name='best "of" all',
    family="yolov8-ghost",
    class_names=("RBC", "WBC", "Plättchen"),
    input=InputSpec(size_hw=(64, 96), stride=32),
    head=HeadSpec(decoder="dfl", strides=(8, 16, 32)),
)
DYNAMIC = msgspec.structs.replace(
    SPEC,
    input=msgspec.structs.replace(SPEC.input, batch=(1, 16), min_hw=(32, 64), max_hw=(128, 192)),
)
ALL = (
    ("onnx", "fp32", ""),
    ("onnx", "fp16", ""),
    ("openvino", "fp32", ""),
    ("tensorrt", "fp16", ""),
    ("onnx", "int8", "ort-x86"),
    ("onnx", "int8", "tensorrt"),
)

CACHE_BYTES = CalibrationCache({"images": 1 / 127, "features": 0.25}).to_bytes("8.5.2")
"""A calibration cache with two tensors."""


def _tailed() -> bytes:
    """A convolution, two layers of decoding, and the arithmetic of a shape beside them."""
    nodes = [
        helper.make_node("Conv", ["images", "weight"], ["features"], "/conv/Conv"),
        helper.make_node("Shape", ["features"], ["sizes"], "/tail/Shape"),
        helper.make_node("Cast", ["sizes"], ["size"], "/tail/Cast", to=TensorProto.INT64),
        helper.make_node("Exp", ["features"], ["boxes"], "/tail/Exp"),
        helper.make_node("Reshape", ["boxes", "size"], ["output0"], "/tail/Reshape"),
    ]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 64, 96])
        for name in ("images", "output0")
    ]
    weight = numpy_helper.from_array(np.ones((3, 3, 1, 1), np.float32), "weight")
    graph = helper.make_graph(nodes, "tiny", values[:1], values[1:], [weight])
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


TAILED = _tailed()


def write_placeholder_bundle(
    folder: Path, spec: ModelSpec = SPEC, kinds: tuple[tuple[str, str, str], ...] = ALL
) -> Bundle:
    with BundleWriter(folder) as writer:
        for format, precision, form in kinds:
            stem = "-".join(filter(None, ("model", precision, form)))
            path = writer.folder / {"onnx": f"{stem}.onnx", "tensorrt": f"{stem}.plan"}.get(
                format, f"{stem}.xml"
            )
            plain = (format, precision, form) == ("onnx", "fp32", "")
            path.write_bytes(TAILED if plain else f"{format} {precision} {form}".encode())
            extra = []
            if format == "openvino":
                extra.append(path.with_suffix(".bin"))
            if form == "tensorrt":
                extra.append(writer.folder / "model.int8.trtcache")
            for other in extra:
                cache = other.suffix == ".trtcache"
                other.write_bytes(CACHE_BYTES if cache else b"more")
            writer.add(
                format=format,
                precision=precision,
                path=path,
                parent="0",
                tools={},
                extra_files=tuple(extra),
                form=form,
            )
        writer.draft(spec, Source(file="best.pt", sha256="0" * 64), "test")
        return writer.finish()

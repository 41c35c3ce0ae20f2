"""The comparison of a cut graph with the whole one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto

from ghost_deploy.core.errors import ExportError
from ghost_deploy.core.spec import InputSpec, ModelSpec
from ghost_deploy.processing.plain_output import plain_output


def cut_difference(whole: ModelProto, spec: ModelSpec, cut: ModelProto, own: ModelSpec) -> float:
    """Largest difference of the decoded maps from the output, relative to the range of a channel.

    Of final detections the sorted scores are compared: equal ones may change places.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (*spec.input.size_hw, 3), np.uint8)
    tensor = preprocessed(pixels, own.input)
    feed = pixels[None] if spec.input.embedded else tensor
    expected = run_graph(whole, np.repeat(feed, spec.input.batch[0], axis=0))[spec.head.output][0]
    maps = run_graph(cut, tensor)
    got = plain_output(maps, own, spec.input.size_hw)
    if spec.head.decoder.endswith("-raw"):
        raise cut_failed("a graph without decoding and without maps has nothing to compare with")
    if own.head.end_to_end:
        fewest = min(len(expected), len(got))  # a graph of any size ends with what its smallest has
        expected, got = expected[:fewest, 4:5], got[:fewest, 4:5]
    return _relative(expected, got, axis=0 if own.head.per_row or own.head.end_to_end else 1)


def decoded_difference(
    expected: Mapping[str, NDArray[Any]], got: Mapping[str, NDArray[Any]], spec: ModelSpec
) -> float:
    """Largest difference of what two sets of maps decode to, relative to the range of a channel.

    Args:
        expected, got: maps of one image, (1, C, h, w) by name.
        spec: of both.
    """
    head = spec.head
    if head.end_to_end:  # all anchors, not the best ones alone
        head = msgspec.structs.replace(head, decoder="dfl-raw")
    dense = msgspec.structs.replace(spec, head=head)
    size_hw = spec.input.size_hw
    one, other = (plain_output(maps, dense, size_hw) for maps in (expected, got))
    return _relative(one, other, axis=0 if head.per_row else 1)


def _relative(expected: NDArray[Any], got: NDArray[Any], *, axis: int) -> float:
    if expected.shape != got.shape or not np.isfinite(got).all():
        return float("inf")
    scale = np.maximum(1.0, np.abs(expected).max(axis=axis))
    return float((np.abs(expected - got).max(axis=axis) / scale).max())


def preprocessed(pixels: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    """(H, W, 3) BGR as the input of a cut graph."""
    ordered = pixels[:, :, ::-1] if spec.color == "rgb" else pixels
    scaled = ordered.astype(np.float32) / np.float32(spec.divisor)
    planes = (scaled - np.array(spec.mean, np.float32)) / np.array(spec.std, np.float32)
    return np.ascontiguousarray(planes.transpose(2, 0, 1)[None])


def run_graph(model: ModelProto, tensor: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The outputs of a graph with one input, by name, computed by ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        values = session.run(None, {session.get_inputs()[0].name: tensor})
    # ONNX Runtime's errors have no common base but Exception.
    except Exception as error:
        raise cut_failed(f"ONNX Runtime refuses it: {error}") from error
    return dict(zip((each.name for each in session.get_outputs()), values, strict=True))


def cut_failed(got: str) -> ExportError:
    """The error of a graph that cannot be cut."""
    return ExportError(
        "the graph could not be cut before its decoding",
        got=got,
        fix="Report this with the checkpoint's architecture; nothing was written",
    )

"""Opsets that ONNX graphs can have."""

from __future__ import annotations

from collections.abc import Sequence

from ghost_deploy.core.errors import UsageError

OPSET = 17
"""The newest that TensorRT 8.5 (JetPack 5) parses."""

IR_VERSIONS = {12: 7, 13: 7, 17: 8, 20: 9}
"""Opsets that ONNX graphs can have, and the version of the file format that belongs to each: older
converters of other tools stop at 12 or 13, and the exporter writes none newer than 20."""

_INT8_OPSETS = (13, 17)


def check_opset(opset: int, formats: Sequence[str], *, int8: bool = False) -> None:
    """Require that the ONNX graphs of an export can have an opset.

    Args:
        opset: of the graphs.
        formats: that are asked for; ONNX and OpenVINO when none is named.
        int8: int8 graphs are made, too.

    Raises:
        UsageError: they cannot; the message says why.
    """
    if opset == OPSET:
        return
    older, newer = opset < min(IR_VERSIONS), opset > max(IR_VERSIONS)
    reason, expected = "", ", ".join(map(str, IR_VERSIONS))
    if opset not in IR_VERSIONS:
        reason = "graphs are proved in these opsets alone"
        if older:
            reason = "older ones lack operators that the graphs use"
        if newer:
            reason = "the exporter writes none newer"
    elif formats and "onnx" not in formats and "tensorrt" not in formats:
        reason, expected = "an opset is that of ONNX graphs, and none is asked for", "with --onnx"
    elif "tensorrt" in formats and opset > OPSET:
        reason, expected = f"TensorRT 8.5 reads opsets up to {OPSET}", f"at most {OPSET} with --trt"
    elif int8 and opset not in _INT8_OPSETS:
        reason, expected = f"int8 graphs for TensorRT 8.5 need {OPSET} or less", "13, 17 with int8"
        if opset < min(_INT8_OPSETS):
            reason = "before 13, QuantizeLinear has no scale for each channel, as int8 weights need"
    if reason:
        raise UsageError(
            f"the graphs cannot have opset {opset}: {reason}",
            expected=expected,
            fix="Choose another --opset, or leave it out",
        )

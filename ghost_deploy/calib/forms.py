"""The forms of an int8 graph: where its Q/DQ pairs stand decides which runtime computes in int8.

No single file serves all runtimes. TensorRT wants symmetric signed activations and one pair in
front of a convolution, after the activation that it fuses; ONNX Runtime on x86 computes in int8
only unsigned activations with a pair on the convolution's own output; OpenVINO 2026.4 computes
signed activations wrongly behind a concatenation and unsigned ones rightly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from ghost_deploy.core.errors import UsageError

__all__ = ["FORMS", "Convention", "Form", "convention"]

Form: TypeAlias = Literal["tensorrt", "openvino", "ort-x86", "ort-arm"]

FORMS: tuple[Form, ...] = get_args(Form)


@dataclass(frozen=True)
class Convention:
    """What the kernels of a form take.

    Attributes:
        signed: activations are s8, else u8.
        symmetric: their zero point is 0, so that a range is widened to (-a, a).
        rounds: where activations are rounded: at the `inputs` of int8 nodes; at their `sources`,
            before anything that only moves or joins them; or at the `outputs` of int8 nodes, the
            input of the first one included.
        int32_bias: biases are stored as int32 behind a DequantizeLinear.
        stored_weights: weights are stored as int8 behind a DequantizeLinear, else as float32
            in front of Q and DQ.
    """

    signed: bool
    symmetric: bool
    rounds: Literal["inputs", "sources", "outputs"]
    int32_bias: bool
    stored_weights: bool


_CONVENTIONS: dict[Form, Convention] = {
    "tensorrt": Convention(
        signed=True, symmetric=True, rounds="inputs", int32_bias=False, stored_weights=False
    ),
    "openvino": Convention(
        signed=False, symmetric=False, rounds="sources", int32_bias=False, stored_weights=True
    ),
    "ort-x86": Convention(
        signed=False, symmetric=False, rounds="outputs", int32_bias=True, stored_weights=True
    ),
    "ort-arm": Convention(
        signed=True, symmetric=False, rounds="outputs", int32_bias=True, stored_weights=True
    ),
}


def convention(form: str) -> Convention:
    """What the kernels of `form` take.

    Raises:
        UsageError: there is no such form.
    """
    for name, found in _CONVENTIONS.items():
        if name == form:
            return found
    raise UsageError(
        f"there is no int8 form {form!r}",
        expected=", ".join(FORMS),
        fix="Name one of those",
    )

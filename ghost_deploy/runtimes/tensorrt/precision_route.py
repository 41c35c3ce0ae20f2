"""How a precision is reached: by the types in the graph, or by flags where a version has them.

| route           | graph                       | versions | flags                             |
|-----------------|-----------------------------|----------|-----------------------------------|
| fp32            | fp32                        | all      | TF32 off                          |
| fp16-weak       | fp32 (or fp16)              | to 10    | FP16, tail pinned to FP32         |
| fp16-strong     | fp16                        | from 10  | none; the only way on 11          |
| int8-qdq-weak   | int8, form tensorrt         | to 10    | INT8, FP16, tail pinned           |
| int8-qdq-strong | int8, form tensorrt-fp16    | from 10  | none; the only way on 11          |
| int8-calibrator | fp32 and a calibration cache| to 10    | INT8, FP16, tail and last convs   |

A DLA takes no Q/DQ nodes: its INT8 is int8-calibrator.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from ghost_deploy.core.errors import UnavailableError, UsageError
from ghost_deploy.runtimes.tensorrt import compat
from ghost_deploy.runtimes.tensorrt.compat import Api

GraphKind = tuple[str, str]
"""Precision and form of an ONNX artifact."""


@dataclass(frozen=True)
class PrecisionRoute:
    """A way to a precision.

    Attributes:
        name: short, recorded in the sidecar.
        precision: of the engine.
        sources: the graphs that it can be built from, best first.
        strongly_typed: the types in the graph decide.
        flags: builder flags that are set.
        cleared: builder flags that are on by default and are cleared.
        pinned: whether layers of the decode tail are held in float32.
        calibrated: ranges come from a calibration cache.
    """

    name: str
    precision: str
    sources: tuple[GraphKind, ...]
    strongly_typed: bool = False
    flags: tuple[str, ...] = ()
    cleared: tuple[str, ...] = ()
    pinned: bool = False
    calibrated: bool = False


# PREFER and not OBEY: the result is the same where a float32 kernel exists, and where none does
# the layer is reported instead of the build failing.
_PIN = "PREFER_PRECISION_CONSTRAINTS"
# TF32 has the mantissa of FP16; a build that is called fp32 computes in float32.
_FP32 = PrecisionRoute("fp32", "fp32", (("fp32", ""),), cleared=("TF32",))

ROUTES: dict[str, PrecisionRoute] = {
    route.name: route
    for route in (
        _FP32,
        PrecisionRoute(
            "fp16-weak", "fp16", (("fp32", ""), ("fp16", "")), flags=("FP16", _PIN), pinned=True
        ),
        PrecisionRoute("fp16-strong", "fp16", (("fp16", ""),), strongly_typed=True),
        PrecisionRoute(
            "int8-qdq-weak",
            "int8",
            (("int8", "tensorrt"),),
            # Without FP16 everything that is not quantized runs in float32 (pytorch/TensorRT#93).
            flags=("INT8", "FP16", _PIN),
            pinned=True,
        ),
        PrecisionRoute(
            "int8-qdq-strong", "int8", (("int8", "tensorrt-fp16"),), strongly_typed=True
        ),
        PrecisionRoute(
            "int8-calibrator",
            "int8",
            (("fp32", ""),),
            flags=("INT8", "FP16", _PIN),
            pinned=True,
            calibrated=True,
        ),
    )
}


def choose_route(
    api: Api,
    precision: str,
    have: Collection[GraphKind],
    *,
    strongly_typed: bool = False,
    scales: bool = False,
    prefer_scales: bool = False,
    dla: bool = False,
) -> tuple[PrecisionRoute, GraphKind]:
    """The route to a precision and the graph to build from.

    Args:
        api: the TensorRT at hand.
        precision: `fp32`, `fp16` or `int8`.
        have: the ONNX artifacts of the bundle.
        strongly_typed: was asked for; from 11 on it is the only way.
        scales: whether there is a calibration cache.
        prefer_scales: whether that cache was named, so that it goes before Q/DQ nodes.
        dla: for a DLA core, which takes INT8 by a calibration cache alone.

    Raises:
        UnavailableError: this version knows no such way.
        UsageError: the bundle lacks the graph for it; the message says what makes it.
    """
    strong = strongly_typed or not api.weak_typing
    if strong and not api.strong_typing:
        raise UnavailableError(
            f"TensorRT {api.text} has no strongly typed networks",
            expected="TensorRT 10 or newer",
            fix="Leave out --strongly-typed",
        )
    if prefer_scales and strong:
        raise UnavailableError(
            f"TensorRT {api.text} takes no calibration cache in a strongly typed network",
            fix="Make INT8 by Q/DQ nodes: ghost-deploy calibrate BUNDLE --calib FOLDER",
        )
    if dla and precision == "int8":
        _require_cache(api, scales, strong)
        prefer_scales = True
    tried = [ROUTES[name] for name in _names(precision, strong, scales, prefer_scales)]
    for route in tried:
        for source in route.sources:
            if source in have:
                return route, source
    wanted = " or ".join(dict.fromkeys(_title(s) for route in tried for s in route.sources))
    raise UsageError(
        f"the bundle has no graph for {precision} on TensorRT {api.text}",
        got=", ".join(map(_title, have)) or "no ONNX",
        expected=wanted,
        fix="Make it on the workstation: ghost-deploy "
        + (
            "calibrate BUNDLE --calib FOLDER"
            if precision == "int8"
            else f"export CHECKPOINT -o BUNDLE --onnx --{tried[0].sources[0][0]}"
        ),
    )


def _require_cache(api: Api, scales: bool, strong: bool) -> None:
    what = "a DLA takes no Q/DQ nodes: INT8 on it needs a calibration cache"
    if strong:
        raise UnavailableError(
            what,
            got=f"a strongly typed network on TensorRT {api.text}, which takes none",
            fix="Build --fp16 for the DLA, or INT8 for the GPU: leave out --dla",
        )
    if not scales:
        raise UsageError(
            what,
            got="no cache in the bundle",
            fix="Make it on the workstation: ghost-deploy calibrate BUNDLE --calib FOLDER; or "
            "name one: --int8-cache FILE",
        )


def apply(api: Api, route: PrecisionRoute, config: Any, network: Any) -> int:
    """Set the flags of a route and hold the layers that need it; the number of layers held."""
    for name in route.flags:
        compat.set_flag(api, config, name)
    for name in route.cleared:
        compat.set_flag(api, config, name, on=False)
    if not route.pinned:
        return 0
    compat.release_quantization_types(api, map(network.get_layer, range(network.num_layers)))
    tail, last = decode_tail(network)
    for index in tail:
        compat.pin_layer(api, network.get_layer(index), "FLOAT")
    if route.calibrated:
        # With a cache, only this keeps the head's last convolutions out of INT8.
        for index in last:
            compat.pin_layer(api, network.get_layer(index), "HALF")
    return len(tail) + (len(last) if route.calibrated else 0)


_STOPS = ("CONVOLUTION", "DEQUANTIZE", "SHAPE")
_LAST = ("CONVOLUTION", "DEQUANTIZE")
_NOT_ARITHMETIC = ("CONSTANT", "SHAPE", "CAST", "IDENTITY", "QUANTIZE")
_FLOATS = ("FLOAT", "HALF")


def decode_tail(network: Any) -> tuple[list[int], list[int]]:
    """Layers between the last convolutions and the outputs, and those last convolutions.

    There boxes are in pixels, and the spacing of float16 at 512 is half a pixel; a weakly typed
    build would choose it. The tail is found by structure, from the outputs backwards, because the
    names in forks differ. Tensors are told by their names: the bindings wrap one anew each time.

    Returns:
        Indices of the layers of the tail that compute floats, and of the last convolutions.
    """
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    maker = {
        layer.get_output(number).name: index
        for index, layer in enumerate(layers)
        for number in range(layer.num_outputs)
    }
    waiting = [network.get_output(number).name for number in range(network.num_outputs)]
    tail, last, seen = [], [], set()
    while waiting:
        index = maker.get(waiting.pop())
        if index is None or index in seen:
            continue
        seen.add(index)
        layer, kind = layers[index], layers[index].type.name
        if kind == "CONVOLUTION":
            last.append(index)
        if kind in _STOPS:
            continue
        if kind not in _NOT_ARITHMETIC and _gives_floats(layer):
            tail.append(index)
        waiting += _inputs(layer)
    return sorted(tail), sorted(last)


def _inputs(layer: Any) -> Iterator[str]:
    for number in range(layer.num_inputs):
        tensor = layer.get_input(number)
        if tensor is not None:  # an optional input that is not there
            yield tensor.name


def _gives_floats(layer: Any) -> bool:
    return all(layer.get_output(n).dtype.name in _FLOATS for n in range(layer.num_outputs))


def _names(precision: str, strong: bool, scales: bool, prefer_scales: bool) -> tuple[str, ...]:
    if precision == "fp32":
        return ("fp32",)
    if precision == "fp16":
        return ("fp16-strong",) if strong else ("fp16-weak",)
    if strong:
        return ("int8-qdq-strong",)
    if prefer_scales:
        return ("int8-calibrator",)
    return ("int8-qdq-weak", "int8-calibrator") if scales else ("int8-qdq-weak",)


def _title(source: GraphKind) -> str:
    precision, form = source
    return f"onnx-{precision}" + (f"-{form}" if form else "")

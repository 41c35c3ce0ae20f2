"""Routes to a precision: by the types in the graph, or by builder flags where they exist.

| route           | graph                       | versions | flags                             |
|-----------------|-----------------------------|----------|-----------------------------------|
| fp32            | fp32                        | all      | TF32 off                          |
| fp16-weak       | fp32 (or fp16)              | to 10    | FP16, tail pinned to FP32         |
| fp16-strong     | fp16                        | from 10  | none; the only way on 11          |
| int8-qdq-weak   | int8, form tensorrt         | to 10    | INT8, FP16, tail pinned           |
| int8-qdq-strong | int8, form tensorrt-fp16    | from 10  | none; the only way on 11          |
| int8-calibrator | fp32 and a calibration cache| to 10    | INT8, FP16, tail and last convs   |

A DLA cannot run Q/DQ nodes: INT8 on it uses int8-calibrator.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from ghost_deploy.core.errors import UnavailableError, UsageError
from ghost_deploy.runtimes.tensorrt import compat
from ghost_deploy.runtimes.tensorrt.compat import TensorrtApi

GraphKind = tuple[str, str]
"""Precision and form of an ONNX artifact."""


@dataclass(frozen=True)
class PrecisionRoute:
    """A way to build an engine of a precision.

    Attributes:
        name: recorded in the sidecar.
        precision: of the engine.
        sources: graphs that it can be built from, in order of preference.
        strongly_typed: types are taken from the graph.
        flags: builder flags that are set.
        cleared: default builder flags that are cleared.
        pinned: whether layers of the decode tail are fixed to float32.
        calibrated: ranges are read from a calibration cache.
    """

    name: str
    precision: str
    sources: tuple[GraphKind, ...]
    strongly_typed: bool = False
    flags: tuple[str, ...] = ()
    cleared: tuple[str, ...] = ()
    pinned: bool = False
    calibrated: bool = False


# PREFER instead of OBEY: the result is the same if a float32 kernel exists; otherwise the layer is
# reported and the build does not fail.
_PIN = "PREFER_PRECISION_CONSTRAINTS"
# TF32 has the mantissa of FP16; an fp32 engine computes in float32.
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
            # Without FP16, layers that are not quantized run in float32 (pytorch/TensorRT#93).
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
    api: TensorrtApi,
    precision: str,
    have: Collection[GraphKind],
    *,
    strongly_typed: bool = False,
    scales: bool = False,
    prefer_scales: bool = False,
    dla: bool = False,
) -> tuple[PrecisionRoute, GraphKind]:
    """Choose the route to a precision and the graph to build from.

    Args:
        api: of TensorRT.
        precision: `fp32`, `fp16` or `int8`.
        have: the ONNX graphs of the bundle.
        strongly_typed: required by the user; always so from 11 on.
        scales: whether a calibration cache is available.
        prefer_scales: whether the user named the cache, which is then used instead of Q/DQ nodes.
        dla: for a DLA core, which runs INT8 with a calibration cache only.

    Raises:
        UnavailableError: this version has no such route.
        UsageError: the bundle does not have the graph; the message has the command for it.
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


def _require_cache(api: TensorrtApi, scales: bool, strong: bool) -> None:
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


def apply(api: TensorrtApi, route: PrecisionRoute, config: Any, network: Any) -> int:
    """Set the flags of a route and fix the types of layers that need it; returns their number."""
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
        # With a cache that lists them, only this keeps the head's last convolutions out of INT8.
        for index in last:
            compat.pin_layer(api, network.get_layer(index), "HALF")
    return len(tail) + (len(last) if route.calibrated else 0)


_STOPS = ("CONVOLUTION", "DEQUANTIZE", "SHAPE")
_LAST = ("CONVOLUTION", "DEQUANTIZE")
_NOT_ARITHMETIC = ("CONSTANT", "SHAPE", "CAST", "IDENTITY", "QUANTIZE")
_FLOATS = ("FLOAT", "HALF")


def decode_tail(network: Any) -> tuple[list[int], list[int]]:
    """Layers between the last convolutions and the outputs, and those last convolutions.

    Boxes there are in pixels, and the spacing of float16 at 512 is half a pixel; a weakly typed
    build would use it. The tail is found by structure, from the outputs backwards, because names
    differ between forks. Tensors are identified by name: the bindings wrap them anew each time.

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

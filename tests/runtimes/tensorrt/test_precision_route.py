"""Every route to a precision, call by call, on every version."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import pytest

from ghost_deploy.core.errors import ExportError, UnavailableError, UsageError
from ghost_deploy.runtimes.tensorrt import compat
from ghost_deploy.runtimes.tensorrt.calibration_cache import cache_header
from ghost_deploy.runtimes.tensorrt.logger import TensorrtLog
from ghost_deploy.runtimes.tensorrt.precision_route import ROUTES, choose_route, decode_tail
from tests.support.engine_builds import CACHE, DYNAMIC, build, install, make_settings
from tests.support.fake_tensorrt import VERSIONS, Layer

WEAK = ("8.5.3", "8.6.1", "10.3", "10.13")
STRONG = ("10.3", "10.13", "11.4")
ALL = {("fp32", ""), ("fp16", ""), ("int8", "tensorrt"), ("int8", "tensorrt-fp16")}
PIN = "PREFER_PRECISION_CONSTRAINTS"
QUANTIZED = Layer("/q", "QUANTIZE", ("c",), ("z",), "INT8")

# The tail of the fake's network: what is arithmetic on floats behind the last convolutions.
TAIL = ("/Concat", "/Exp", "/Reshape", "/Sigmoid")
LAST = ("/box/Conv", "/class/Conv")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("precision", "strong", "weak_route", "strong_route"),
    [
        ("fp32", False, "fp32", "fp32"),
        ("fp16", False, "fp16-weak", "fp16-strong"),
        ("fp16", True, "", "fp16-strong"),
        ("int8", False, "int8-qdq-weak", "int8-qdq-strong"),
        ("int8", True, "", "int8-qdq-strong"),
    ],
)
def test_the_route_of_a_version(
    version: str,
    precision: str,
    strong: bool,
    weak_route: str,
    strong_route: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(version, monkeypatch)
    api = compat.load()
    strongly = version == "11.4" or (strong and version in STRONG)
    wanted = strong_route if strongly else weak_route
    if not wanted:
        with pytest.raises(UnavailableError, match="strongly typed"):
            choose_route(api, precision, ALL, strongly_typed=strong)
        return
    route, source = choose_route(api, precision, ALL, strongly_typed=strong)
    assert route.name == wanted
    assert source == route.sources[0]


@pytest.mark.parametrize(
    ("version", "precision", "have", "route"),
    [
        ("8.5.3", "fp16", {("fp16", "")}, "fp16-weak"),
        ("8.5.3", "int8", {("fp32", "")}, "int8-calibrator"),
        ("10.3", "int8", {("fp32", ""), ("int8", "tensorrt")}, "int8-qdq-weak"),
    ],
)
def test_second_choices(
    version: str,
    precision: str,
    have: set[tuple[str, str]],
    route: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(version, monkeypatch)
    assert choose_route(compat.load(), precision, have, scales=True)[0].name == route


def test_a_named_cache_goes_before_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    install("10.3", monkeypatch)
    route, _ = choose_route(compat.load(), "int8", ALL, scales=True, prefer_scales=True)
    assert route.name == "int8-calibrator"


@pytest.mark.parametrize("version", WEAK)
def test_int8_on_a_dla_comes_by_the_cache(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    install(version, monkeypatch)
    api = compat.load()
    assert choose_route(api, "int8", ALL, scales=True, dla=True)[0].name == "int8-calibrator"
    assert choose_route(api, "fp16", ALL, dla=True)[0].name == "fp16-weak"
    with pytest.raises(UsageError, match=r"takes no Q/DQ nodes.*--int8-cache"):
        choose_route(api, "int8", ALL, dla=True)


def test_no_int8_on_a_dla_with_11(monkeypatch: pytest.MonkeyPatch) -> None:
    install("11.4", monkeypatch)
    with pytest.raises(UnavailableError, match=r"takes no Q/DQ nodes.*--fp16"):
        choose_route(compat.load(), "int8", ALL, scales=True, dla=True)


@pytest.mark.parametrize(
    ("version", "precision", "have", "words"),
    [
        ("8.5.3", "fp32", set(), "no ONNX"),
        ("8.5.3", "fp32", {("fp16", "")}, "onnx-fp32"),
        ("11.4", "fp16", {("fp32", "")}, "onnx-fp16"),
        ("8.5.3", "int8", {("fp32", "")}, "onnx-int8-tensorrt"),
        ("11.4", "int8", {("int8", "tensorrt")}, "onnx-int8-tensorrt-fp16"),
        ("10.3", "int8", {("int8", "ort-x86")}, "calibrate"),
    ],
)
def test_a_bundle_without_the_graph(
    version: str,
    precision: str,
    have: set[tuple[str, str]],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(version, monkeypatch)
    with pytest.raises(UsageError, match=words):
        choose_route(compat.load(), precision, have)


def test_a_cache_on_11(monkeypatch: pytest.MonkeyPatch) -> None:
    install("11.4", monkeypatch)
    with pytest.raises(UnavailableError, match="Q/DQ"):
        choose_route(compat.load(), "int8", ALL, scales=True, prefer_scales=True)


ROUTE_CASES = [
    # version, route, built with these flags, strongly typed, held in FP32, held in FP16
    *((v, "fp32", (), v == "11.4", (), ()) for v in VERSIONS),
    *((v, "fp16-weak", ("FP16", PIN, "TF32"), False, TAIL, ()) for v in WEAK),
    *((v, "fp16-strong", ("TF32",), True, (), ()) for v in STRONG),
    *((v, "int8-qdq-weak", ("FP16", "INT8", PIN, "TF32"), False, TAIL, ()) for v in WEAK),
    *((v, "int8-qdq-strong", ("TF32",), True, (), ()) for v in STRONG),
    *((v, "int8-calibrator", ("FP16", "INT8", PIN, "TF32"), False, TAIL, LAST) for v in WEAK),
]


@pytest.mark.parametrize(("version", "route", "flags", "strong", "float32", "float16"), ROUTE_CASES)
def test_a_build_call_by_call(
    version: str,
    route: str,
    flags: tuple[str, ...],
    strong: bool,
    float32: tuple[str, ...],
    float16: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, control = install(version, monkeypatch)
    if "qdq" in route:
        control.layers.append(QUANTIZED)
    calibrated = route == "int8-calibrator"
    built = build(make_settings(route, scales=CACHE if calibrated else None))
    assert control.called("IBuilderConfig.set_flag") == [(name,) for name in ROUTES[route].flags]
    cleared = [("TF32",)] if route == "fp32" else []
    assert control.called("IBuilderConfig.clear_flag") == cleared
    assert control.called("Builder.build_serialized_network") == [(sorted(flags), strong)]
    held = control.called("ILayer.set_output_type")
    assert sorted(name for name, _, kind in held if kind == "FLOAT") == sorted(float32)
    assert sorted(name for name, _, kind in held if kind == "HALF") == sorted(float16)
    assert len(control.called("ILayer.precision=")) == built.pinned == len(float32 + float16)
    algorithm = [(cache_header(compat.load().text),)] if calibrated else []
    assert control.called("IBuilderConfig.calibrated_with") == []
    assert control.called("Builder.calibrated_with") == algorithm
    assert bool(control.called("IBuilderConfig.int8_calibrator=")) == calibrated


@pytest.mark.parametrize("version", WEAK)
def test_only_our_layers_are_held_in_a_type(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The importer of 10 asks for types on Q and DQ; the flag that we need makes them binding."""
    _, control = install(version, monkeypatch)
    control.layers += [QUANTIZED, Layer("/dq", "DEQUANTIZE", ("z",), ("y",))]
    build(make_settings("int8-qdq-weak"))
    precisions, outputs = control.built_with
    assert set(precisions) == {name for name, _ in outputs} == set(TAIL)


@pytest.mark.parametrize("version", ["8.5.3", "8.6.1", "10.3", "10.13"])
def test_a_calibration_profile_only_below_10(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, control = install(version, monkeypatch)
    control.tensors[0].shape, control.tensors[1].shape = (-1, 3, -1, -1), (-1, 7, -1)
    control.output_shape = lambda shapes: (shapes["images"][0], 7, 84)
    build(make_settings("int8-calibrator", DYNAMIC, scales=CACHE))
    called = control.called("IBuilderConfig.set_calibration_profile")
    assert len(called) == (1 if version.startswith("8") else 0)


def test_the_cache_of_the_other_algorithm_is_relabelled(monkeypatch: pytest.MonkeyPatch) -> None:
    _, control = install("10.3", monkeypatch)
    build(make_settings("int8-calibrator", scales=CACHE, algorithm="minmax"))
    assert control.called("Builder.calibrated_with") == [("TRT-100300-MinMaxCalibration",)]


def test_weak_flags_on_11_cannot_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    install("11.4", monkeypatch)
    with pytest.raises(UnavailableError, match="FP16"):
        build(make_settings("fp16-weak"))


def test_flags_in_a_strongly_typed_network_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    install("10.3", monkeypatch)
    wrong = replace(ROUTES["fp16-strong"], flags=("FP16",))
    with pytest.raises(ExportError, match="exclude each other"):
        build(replace(make_settings(), route=wrong))


class TestTail:
    def network(self, fake: ModuleType, layers: list[Layer]) -> object:
        control = fake.__fake__
        control.layers = layers
        api = compat.load()
        logger = TensorrtLog().listen(api)
        builder = compat.new_builder(api, logger)
        network = compat.new_network(api, builder, strongly_typed=False)
        assert fake.OnnxParser(network, logger).parse(b"x")
        return network

    def test_an_empty_network(self, fake_trt: ModuleType) -> None:
        assert decode_tail(self.network(fake_trt, [])) == ([], [])

    def test_a_network_without_convolutions(self, fake_trt: ModuleType) -> None:
        layers = [Layer("a", "UNARY", ("images",), ("output0",))]
        assert decode_tail(self.network(fake_trt, layers)) == ([0], [])

    def test_it_stops_at_convolutions_and_shapes(self, fake_trt: ModuleType) -> None:
        layers = [
            Layer("stem", "CONVOLUTION", ("images",), ("a",)),
            Layer("neck", "CONCATENATION", ("a",), ("b",)),
            Layer("size", "SHAPE", ("b",), ("s",), "INT32"),
            Layer("last", "CONVOLUTION", ("b",), ("c",)),
            Layer("const", "CONSTANT", (), ("k",)),
            Layer("scale", "ELEMENTWISE", ("c", "k"), ("d",)),
            Layer("flat", "SHUFFLE", ("d", "s"), ("output0",)),
        ]
        assert decode_tail(self.network(fake_trt, layers)) == ([5, 6], [3])

    def test_indices_stay_integers(self, fake_trt: ModuleType) -> None:
        layers = [
            Layer("last", "CONVOLUTION", ("images",), ("c",)),
            Layer("top", "TOPK", ("c",), ("v", "i"), "INT32"),
            Layer("pick", "GATHER", ("c", "i"), ("output0",)),
        ]
        assert decode_tail(self.network(fake_trt, layers)) == ([2], [0])

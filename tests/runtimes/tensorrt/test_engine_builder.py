"""A build: what is set, what is looked at afterwards, and what becomes of failures."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ghost_deploy.core.errors import (
    DeviceError,
    ExportError,
    UnavailableError,
    UsageError,
)
from ghost_deploy.core.spec import InputSpec
from ghost_deploy.runtimes.tensorrt.build_progress import STOPPING, BuildProgress
from ghost_deploy.runtimes.tensorrt.input_shapes import InputShapes
from ghost_deploy.runtimes.tensorrt.logger import TensorrtLog
from tests.support.engine_builds import DYNAMIC, build, install, make_settings
from tests.support.fake_tensorrt import VERSIONS, Layer, ParserFault

NEWER = ("8.6.1", "10.3", "10.13", "11.4")


def dynamic(control: Any) -> None:
    """Give the fake a network of dynamic shape."""
    control.tensors[0].shape, control.tensors[1].shape = (-1, 3, -1, -1), (-1, 7, -1)
    control.output_shape = lambda shapes: (shapes["images"][0], 7, 84)


def test_the_plain_build(fake_trt: ModuleType) -> None:
    control = fake_trt.__fake__
    built = build(make_settings())
    assert built.plan.startswith(b"ftrt")
    assert control.called("IBuilderConfig.set_memory_pool_limit") == [("WORKSPACE", 256 << 20)]
    (verbosity,) = control.called("IBuilderConfig.profiling_verbosity=")
    assert verbosity[0].name == "DETAILED"
    assert control.called("IBuilderConfig.add_optimization_profile") == []
    assert control.called("IBuilderConfig.set_timing_cache") == []
    assert control.called("init_libnvinfer_plugins") == [("",)]
    assert built.dla is None
    assert built.timing_cache == "none"


def test_a_dynamic_build_is_verified_at_its_corners(fake_trt: ModuleType) -> None:
    control = fake_trt.__fake__
    dynamic(control)
    build(make_settings(input_spec=DYNAMIC))
    low, usual, high = (1, 3, 32, 32), (1, 3, 64, 64), (4, 3, 128, 96)
    assert control.called("IOptimizationProfile.set_shape") == [("images", low, usual, high)]
    tried = {shape for _, shape in control.called("IExecutionContext.set_input_shape")}
    assert tried == {
        usual,
        *((b, 3, h, w) for b in (1, 4) for h in (32, 128) for w in (32, 96)),
    }


def test_a_corner_that_leaves_the_output_open(fake_trt: ModuleType) -> None:
    dynamic(fake_trt.__fake__)
    fake_trt.__fake__.output_shape = None
    with pytest.raises(ExportError, match="corner"):
        build(make_settings(input_spec=DYNAMIC))


def test_a_corner_that_the_engine_refuses(
    fake_trt: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    dynamic(fake_trt.__fake__)
    monkeypatch.setattr(
        fake_trt.IExecutionContext, "set_input_shape", lambda self, name, shape: shape[0] == 1
    )
    with pytest.raises(ExportError, match="corner"):
        build(make_settings(input_spec=DYNAMIC))


def test_a_range_for_a_graph_of_one_shape(fake_trt: ModuleType) -> None:
    with pytest.raises(ExportError, match="static dimensions"):
        build(make_settings(shapes=InputShapes.of(DYNAMIC)))


def test_a_dynamic_graph_without_a_range(fake_trt: ModuleType) -> None:
    dynamic(fake_trt.__fake__)
    with pytest.raises(ExportError, match="no optimization profile"):
        build(make_settings())


def test_pixels_in_have_their_own_shape() -> None:
    shapes = InputShapes.of(InputSpec(size_hw=(64, 96), layout="nhwc", dtype="uint8"))
    assert shapes.smallest == (1, 64, 96, 3)


@pytest.mark.parametrize("version", VERSIONS)
def test_settings_by_version(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, control = install(version, monkeypatch)
    cases: list[tuple[dict[str, Any], bool, str, Any]] = [
        ({"opt_level": 4}, version in NEWER, "builder_optimization_level=", 4),
        ({"hardware": "ampere+"}, version in NEWER, "hardware_compatibility_level=", "AMPERE_PLUS"),
        ({"version_compatible": True}, version in NEWER, "set_flag", "VERSION_COMPATIBLE"),
        (
            {"hardware": "same-compute-capability"},
            version in ("10.13", "11.4"),
            "hardware_compatibility_level=",
            "SAME_COMPUTE_CAPABILITY",
        ),
    ]
    for options, there, name, value in cases:
        control.calls.clear()
        if not there:
            with pytest.raises(UnavailableError):
                build(make_settings(**options))
            continue
        build(make_settings(**options))
        (given,) = control.called(f"IBuilderConfig.{name}")[-1]
        assert getattr(given, "name", given) == value


def test_one_logger_serves_the_whole_process(fake_trt: ModuleType) -> None:
    """TensorRT keeps a pointer to the first; lines go to the logs that listen now."""
    first, lines = TensorrtLog(), list[str]()
    build(make_settings(), first)
    fake_trt.__fake__.build_log = [("ERROR", "of the second build")]
    build(make_settings(), TensorrtLog(lambda _, line: lines.append(line)))
    assert lines == list(first.errors) == ["of the second build"]
    del first
    gc.collect()
    build(make_settings(), TensorrtLog(lambda _, line: lines.append(line)))
    assert lines == ["of the second build"] * 2
    assert fake_trt.__fake__.called("another logger") == []


def test_what_is_alive_when_the_engine_is_loaded(fake_trt: ModuleType) -> None:
    """Nothing of the build, but for 8.5, whose bindings free none of the three."""
    control = fake_trt.__fake__
    for _ in range(2):
        build(make_settings())
    kept = control.version == "8.5.3"
    assert control.called("alive when loading") == (
        [(1,) * 3, (2,) * 3] if kept else [(0,) * 3] * 2
    )


def test_a_version_compatible_plan_is_opened_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    _, control = install("10.3", monkeypatch)
    build(make_settings(version_compatible=True))
    assert control.called("Runtime.engine_host_code_allowed=") == [(True,)]


class TestFailures:
    def test_the_parser_names_node_and_cause(self, fake_trt: ModuleType) -> None:
        control = fake_trt.__fake__
        text = "In node 7 (importFallback): UNSUPPORTED_NODE: No importer registered for op: Foo"
        control.parser_errors = [
            ParserFault(text, 7, "/model/Foo", "Foo"),
            ParserFault("another", 8),
        ]
        with pytest.raises(ExportError, match=r"model\.onnx") as caught:
            build(make_settings())
        told = str(caught.value)
        assert "this version has no such operator" in told
        assert "1 more errors" in told
        newer = not control.version.startswith("8")
        assert ("node /model/Foo (Foo)" if newer else "node number 7") in told
        assert control.called("Builder.build_serialized_network") == []

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("Cuda Runtime (out of memory)", "--workspace 128"),
            ("Tactic Device request: 3000MB. OutOfMemory", "--opt-level"),
            ("Could not find any implementation for node /x", "no kernel fits"),
            ("Calibration table does not match calibrator algorithm type.", "calibrate"),
            ("Assertion checkLinks failed (checkLinks::218)", "10.7"),
            ("an unknown message", "--verbose"),
        ],
    )
    def test_a_failed_build_says_what_to_lower(
        self, line: str, words: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, control = install("10.3", monkeypatch)
        control.build_fails, control.build_log = True, [("ERROR", line)]
        with pytest.raises(ExportError) as caught:
            build(make_settings())
        assert words in caught.value.fix + caught.value.what
        assert line in str(caught.value)

    def test_a_failed_build_without_a_word(self, fake_trt: ModuleType) -> None:
        fake_trt.__fake__.build_fails = True
        with pytest.raises(ExportError, match="no reason given"):
            build(make_settings())

    def test_a_failed_build_leaves_no_timing_cache(
        self, tmp_path: Path, fake_trt: ModuleType
    ) -> None:
        fake_trt.__fake__.build_fails = True
        with pytest.raises(ExportError):
            build(make_settings(timing_cache=tmp_path / "t"))
        assert list(tmp_path.iterdir()) == []

    def test_what_pybind_raises(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fake, _ = install("10.3", monkeypatch)

        def fail(self: object, network: object, config: object) -> None:
            raise MemoryError("std::bad_alloc")

        monkeypatch.setattr(fake.Builder, "build_serialized_network", fail)
        with pytest.raises(ExportError, match="--workspace"):
            build(make_settings())

    def test_no_gpu(self, fake_trt: ModuleType) -> None:
        fake_trt.__fake__.cuda_fails = True
        with pytest.raises(DeviceError, match="CUDA initialization failure with error: 35"):
            build(make_settings())

    @pytest.mark.parametrize("text", [None, "", "no JSON"])
    def test_a_silent_inspector_loses_no_engine(
        self, text: str | None, fake_trt: ModuleType
    ) -> None:
        fake_trt.__fake__.inspector_json = text
        built = build(make_settings())
        assert built.plan.startswith(b"ftrt")
        assert built.layers.layers == ()


INT8_LAYER = '{"Name": "x", "LayerType": "C", "Inputs": [{"Format/Datatype": "CHW32 Int8"}]}'
FP32_LAYER = '{"Name": "y", "LayerType": "C", "Inputs": [{"Format/Datatype": "linear FP32"}]}'
SILENT_LAYER = '"z"'


@pytest.mark.parametrize(
    ("route", "layers", "ok"),
    [
        ("int8-qdq-weak", [INT8_LAYER, FP32_LAYER], True),
        ("int8-qdq-weak", [FP32_LAYER], False),
        ("int8-qdq-weak", [FP32_LAYER, SILENT_LAYER], True),
        ("int8-qdq-weak", [], True),
        ("fp16-weak", [FP32_LAYER], False),
        ("fp32", [FP32_LAYER], True),
    ],
)
def test_an_engine_without_a_layer_in_the_precision(
    route: str, layers: list[str], ok: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, control = install("10.3", monkeypatch)
    control.layers.append(Layer("/q", "QUANTIZE", ("c",), ("z",), "INT8"))
    control.inspector_json = f'{{"Layers": [{", ".join(layers)}]}}'
    if ok:
        build(make_settings(route))
        return
    with pytest.raises(ExportError, match="no layer of the engine runs in"):
        build(make_settings(route))


class TestDla:
    def test_no_such_core(self, fake_trt: ModuleType) -> None:
        with pytest.raises(DeviceError, match="no DLA on this machine"):
            build(make_settings(dla=0))
        fake_trt.__fake__.dla_cores = 1
        with pytest.raises(DeviceError, match="DLA core 1"):
            build(make_settings(dla=1))

    def test_the_layers_that_fall_back_are_listed(self, fake_trt: ModuleType) -> None:
        control = fake_trt.__fake__
        control.dla_cores = 2
        control.no_dla = {"/Concat", "/Exp", "/size/Shape"}
        built = build(make_settings(dla=1))
        assert built.dla is not None
        assert [layer.name for layer in built.dla.fallbacks] == ["/size/Shape", "/Exp", "/Concat"]
        assert (built.dla.layers, built.dla.switches, built.dla.core) == (10, 3, 1)
        assert "7 of 10 layers" in built.dla.summary()
        assert control.called("IBuilderConfig.set_flag")[-1] == ("GPU_FALLBACK",)
        assert control.called("IBuilderConfig.DLA_core=") == [(1,)]
        (kind,) = control.called("IBuilderConfig.default_device_type=")[0]
        assert kind.name == "DLA"
        assert control.called("Runtime.DLA_core=") == [(1,)]
        names = [name for name, _ in control.calls]
        first = names.index("IBuilderConfig.can_run_on_DLA")
        assert first < names.index("Builder.build_serialized_network")

    def test_a_dla_that_takes_nothing(self, fake_trt: ModuleType) -> None:
        control = fake_trt.__fake__
        control.dla_cores = 1
        control.no_dla = {layer.name for layer in control.layers}
        with pytest.raises(UsageError, match="takes no layer"):
            build(make_settings(dla=0))


class TestProgress:
    @pytest.mark.parametrize("version", ["10.3", "10.13", "11.4"])
    def test_the_monitor_counts_hundredths(
        self, version: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        install(version, monkeypatch)
        told: list[tuple[str, int, int]] = []
        build(make_settings(), progress=BuildProgress(lambda *step: told.append(step)))
        assert told == [("building", 16, 100), ("building", 33, 100), ("building", 50, 100)]

    @pytest.mark.parametrize("version", ["8.5.3", "8.6.1"])
    def test_the_log_counts_layers(self, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
        _, control = install(version, monkeypatch)
        line = "=============== Computing costs for /stem/Conv"
        control.build_log = [("VERBOSE", line)] * 12
        told: list[tuple[str, int, int]] = []
        follow = BuildProgress(lambda *step: told.append(step))
        build(
            make_settings(), TensorrtLog(lambda severity, text: follow.read_log_line(text)), follow
        )
        assert told[0] == ("building", 1, 10)
        assert told[-1] == ("building", 10, 10)

    @pytest.mark.parametrize("version", ["10.3", "11.4"])
    def test_ctrl_c_gives_the_build_up(self, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
        _, control = install(version, monkeypatch)

        def interrupted(what: str, done: int, total: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            build(make_settings(), progress=BuildProgress(interrupted))
        assert control.called("Runtime.deserialize_cuda_engine") == []

    def test_ctrl_c_within_a_callback(
        self, fake_trt: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What a signal raises there is swallowed by the bindings' trampolines."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        fake_trt.__fake__.interrupt = True
        try:
            with pytest.raises(KeyboardInterrupt):
                build(make_settings(timing_cache=tmp_path / "t"))
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        finally:
            signal.signal(signal.SIGINT, before)
        assert fake_trt.__fake__.swallowed == []
        assert fake_trt.__fake__.called("Runtime.deserialize_cuda_engine") == []
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(("pause_s", "code"), [(0.0, 0), (1.2, -signal.SIGINT)])
    def test_a_second_ctrl_c_ends_the_process(self, pause_s: float, code: int) -> None:
        script = f"""
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from ghost_deploy.runtimes.tensorrt.build_progress import BuildProgress
try:
    with BuildProgress(print).deferred_signals():
        signal.raise_signal(signal.SIGINT)
        time.sleep({pause_s})
        signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    pass
"""
        assert subprocess.run([sys.executable, "-c", script], check=False).returncode == code

    def test_a_build_outside_the_main_thread(self, fake_trt: ModuleType) -> None:
        with ThreadPoolExecutor() as pool:
            assert pool.submit(build, make_settings()).result().plan

    def test_a_user_of_8_is_told_that_the_build_goes_on(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, control = install("8.6.1", monkeypatch)
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        control.interrupt, control.build_log = True, [("INFO", "a"), ("INFO", "b")]
        told: list[tuple[str, int, int]] = []
        follow = BuildProgress(lambda *step: told.append(step))
        try:
            with pytest.raises(KeyboardInterrupt):
                build(
                    make_settings(), TensorrtLog(lambda _, text: follow.read_log_line(text)), follow
                )
        finally:
            signal.signal(signal.SIGINT, before)
        assert [what for what, _, _ in told] == [STOPPING]

    def test_ctrl_c_within_the_log(self, monkeypatch: pytest.MonkeyPatch) -> None:
        _, control = install("8.5.3", monkeypatch)
        control.build_log = [("INFO", "a"), ("INFO", "b")]

        def interrupted(severity: str, line: str) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            build(make_settings(), TensorrtLog(interrupted))

    def test_listeners_that_fail_do_not_end_the_build(self, fake_trt: ModuleType) -> None:
        fake_trt.__fake__.build_log = [("INFO", "a"), ("WARNING", "b")]

        def broken(*_: object) -> None:
            raise BrokenPipeError

        log = TensorrtLog(broken)
        built = build(make_settings(), log, BuildProgress(broken))
        assert built.warnings == ("b",)

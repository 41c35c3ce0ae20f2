"""The TensorRT runtime on the strict fakes of all versions, over a CUDA library without a GPU.

Nothing here runs TensorRT: names and types are those of the real bindings, what an engine computes
is a Python function. tools/gpu_check.py runs the real thing.
"""

from __future__ import annotations

import hashlib
import json
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ghost_deploy._version import __version__
from ghost_deploy.core.errors import BackendError, DeviceError, MissingExtraError, ShapeError
from ghost_deploy.core.evidence.build import Fingerprint
from ghost_deploy.core.spec import HeadSpec, InputSpec, ModelSpec
from ghost_deploy.detector import Detector
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.opener import open_path
from ghost_deploy.runtimes.table import open_file, probe
from ghost_deploy.runtimes.tensorrt.cudart import describe_gpu
from ghost_deploy.runtimes.tensorrt.fingerprint import this_machine
from ghost_deploy.runtimes.tensorrt.plan_file import Sidecar, sidecar_path, write_plan
from ghost_deploy.runtimes.tensorrt.runtime import TensorrtRuntime
from tests.support.fake_cuda import FakeCuda, fake_machine
from tests.support.fake_tensorrt import VERSIONS, Tensor, make_plan
from tests.support.images import random_tensor

SHAPE, OUT = (1, 3, 32, 32), (1, 7, 21)
PROFILE = {"images": ((1, 3, 32, 32), (1, 3, 64, 64), (4, 3, 64, 64))}
CUDA = RuntimeOptions(device="cuda")
SPEC = ModelSpec(
    name="toy",
    family="",
    class_names=("a", "b", "c"),
    input=InputSpec(size_hw=(32, 32)),
    head=HeadSpec(decoder="dfl", strides=(8, 16, 32)),
)


def function(images: NDArray[Any]) -> NDArray[Any]:
    batch, _, height, width = images.shape
    anchors = height * width // 1024 * 21
    means = images.reshape(batch, -1).mean(axis=1)
    return means[:, None, None] + np.zeros((batch, 7, anchors), np.float32)


class Machine:
    """One fake TensorRT on the fake CUDA, and the plans that it opens."""

    def __init__(self, version: str, cuda: FakeCuda, module: ModuleType, folder: Path) -> None:
        self.version, self.cuda, self.folder = version, cuda, folder
        self.control = module.__fake__
        self.control.output_shape = lambda s: (
            s["images"][0],
            7,
            s["images"][2] * s["images"][3] // 1024 * 21,
        )

    def plan(self, *, dynamic: bool = False, flags: tuple[str, ...] = ()) -> bytes:
        shapes = ((-1, 3, -1, -1), (-1, 7, -1)) if dynamic else (SHAPE, OUT)
        tensors = [Tensor("images", True, shapes[0]), Tensor("output0", False, shapes[1])]
        return make_plan(self.version, tensors, [PROFILE] if dynamic else None, flags=flags)

    def write(self, plan: bytes | None = None, **kind: Any) -> Path:
        path = self.folder / "model.plan"
        path.write_bytes(self.plan(**kind) if plan is None else plan)
        return path

    def sidecar(self, **changes: Any) -> Path:
        """A plan with its sidecar; `changes` are of its fingerprint or its precision."""
        precision = changes.pop("precision", "fp16")
        data = self.plan(flags=("VERSION_COMPATIBLE",) if changes.get("version_compatible") else ())
        facts = {name: getattr(self.this_machine(), name) for name in Fingerprint.__struct_fields__}
        beside = Sidecar(
            spec=SPEC,
            fingerprint=Fingerprint(**{**facts, **changes}),
            precision=precision,
            route="weak",
            plan_sha256=hashlib.sha256(data).hexdigest(),
            created_with=f"ghost-deploy {__version__}",
        )
        return write_plan(self.folder / "model.plan", data, beside)[0]

    def this_machine(self) -> Fingerprint:
        return this_machine(self.control.module_version, describe_gpu())

    def open(self, path: Path, options: RuntimeOptions = CUDA) -> TensorrtRuntime:
        opened = open_file("trt", path, options)
        assert isinstance(opened, TensorrtRuntime)
        return opened


def machine_of(version: str, folder: Path) -> Iterator[Machine]:
    with fake_machine(version, function) as (cuda, module):
        module.__fake__.module_version = module.__version__  # type: ignore[attr-defined]
        yield Machine(version, cuda, module, folder)
        assert cuda.misuses == 0


@pytest.fixture(params=VERSIONS)
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    """Each version in turn."""
    yield from machine_of(request.param, tmp_path)


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Machine]:
    """TensorRT 10.3."""
    yield from machine_of("10.3", tmp_path)


# On every version


def test_a_static_plan(machine: Machine) -> None:
    with machine.open(machine.write()) as runtime:
        assert runtime.info.version == machine.control.module_version
        assert runtime.info.device == "cuda:0"
        assert runtime.info.notes == ()
        for seed in range(3):
            image = random_tensor(SHAPE, seed=seed)
            output = runtime.run({"images": image})["output0"]
            np.testing.assert_array_equal(output, function(image))
    del output
    assert machine.cuda.alive() == {}
    # Once to prepare and once to be recorded: the rest are launches of the graph.
    assert len(machine.control.called("IExecutionContext.execute_async_v3")) == 2


def test_a_dynamic_plan(machine: Machine) -> None:
    with machine.open(machine.write(dynamic=True)) as runtime:
        assert runtime.inputs[0].shape == (-1, 3, -1, -1)
        for shape in ((1, 3, 32, 32), (4, 3, 64, 64), (2, 3, 32, 64), (1, 3, 32, 32)):
            image = random_tensor(shape)
            output = runtime.run({"images": image})["output0"]
            np.testing.assert_array_equal(output, function(image))
    del output
    assert machine.cuda.alive() == {}


def test_memory_is_taken_once_for_the_largest_shape(machine: Machine) -> None:
    with machine.open(machine.write(dynamic=True)) as runtime:
        before = machine.cuda.alive()
        runtime.run({"images": random_tensor((4, 3, 64, 64))})
        assert machine.cuda.alive() == before
        calls = machine.control.called("IExecutionContext.set_tensor_address")
        assert [name for name, _ in calls] == ["images", "output0"]


@pytest.mark.parametrize("shape", [(5, 3, 32, 32), (1, 3, 96, 32), (1, 3, 32, 16)], ids=str)
def test_a_shape_outside_the_range(machine: Machine, shape: tuple[int, ...]) -> None:
    with machine.open(machine.write(dynamic=True)) as runtime:
        with pytest.raises(
            ShapeError, match=r"\(1, 3, 32, 32\) to \(4, 3, 64, 64\).*build the plan again"
        ):
            runtime.run({"images": random_tensor(shape)})
        runtime.run({"images": random_tensor(SHAPE)})


def test_forks(machine: Machine) -> None:
    runtime = machine.open(machine.write())
    fork = runtime.fork()
    assert fork is not None
    first = runtime.run({"images": random_tensor(SHAPE, seed=1)})["output0"]
    fork.run({"images": random_tensor(SHAPE, seed=2)})
    np.testing.assert_array_equal(first, function(random_tensor(SHAPE, seed=1)))
    runtime.close()
    fork.run({"images": random_tensor(SHAPE, seed=3)})
    fork.close()
    del first
    assert machine.cuda.alive() == {}


def test_forks_of_a_dynamic_plan(machine: Machine) -> None:
    """Before TensorRT 10 a second context would need an optimization profile of its own."""
    with machine.open(machine.write(dynamic=True)) as runtime:
        fork = runtime.fork()
        assert (fork is None) == machine.version.startswith("8.")
        if fork is not None:
            fork.close()


def test_ours_with_its_sidecar(machine: Machine) -> None:
    path = machine.sidecar()
    with machine.open(path) as runtime:
        assert runtime.info.precision == "fp16"
        assert ModelSpec.from_json(runtime.metadata()[ModelSpec.Json]) == SPEC


def test_a_version_compatible_plan(machine: Machine) -> None:
    if machine.version == "8.5.3":
        pytest.skip("TensorRT 8.5 has no version-compatible plans")
    with machine.open(machine.sidecar(version_compatible=True)) as runtime:
        runtime.run({"images": random_tensor(SHAPE)})


# What the file says


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tensorrt": "8.5.2"}, "TensorRT 8.5.2, here 10.3.0"),
        ({"compute_capability": "7.2"}, "compute capability 7.2, here 8.7"),
        ({"platform": "linux-riscv"}, "linux-riscv"),
    ],
)
def test_a_plan_of_another_machine_is_never_deserialized(
    one: Machine, changes: dict[str, Any], told: str
) -> None:
    path = one.sidecar(**changes)
    with pytest.raises(DeviceError, match=told) as caught:
        one.open(path)
    assert "ghost-deploy build" in caught.value.fix
    assert one.control.called("Runtime.deserialize_cuda_engine") == []


def test_a_plan_that_was_built_beside_another_cuda(one: Machine) -> None:
    with one.open(one.sidecar(cuda="13.0")) as runtime:
        runtime.run({"images": random_tensor(SHAPE)})


def test_a_plan_that_tensorrt_refuses(one: Machine) -> None:
    with pytest.raises(BackendError, match=r"model\.plan.*Magic tag"):
        one.open(one.write(b"no plan at all"))
    assert one.cuda.alive() == {}


def test_a_plan_with_another_s_sidecar(one: Machine) -> None:
    path = one.sidecar()
    path.write_bytes(one.plan(dynamic=True))
    with pytest.raises(BackendError, match=sidecar_path(path).name):
        one.open(path)


def test_an_engine_of_ultralytics(one: Machine) -> None:
    header = json.dumps(
        {"task": "detect", "names": {"0": "a", "1": "b", "2": "c"}, "imgsz": [32, 32],
         "stride": 32, "batch": 1}
    ).encode()  # fmt: skip
    path = one.folder / "yolo.engine"
    path.write_bytes(struct.pack("<i", len(header)) + header + one.plan())
    runtime, spec = open_path(path, options=CUDA)
    with Detector(runtime, spec) as detector:
        assert detector.spec.class_names == ("a", "b", "c")
        detector(np.zeros((40, 30, 3), np.uint8))
    assert one.cuda.alive() == {}


# Types


@pytest.mark.parametrize("version", ["8.5.3", "11.4"])
@pytest.mark.parametrize(
    ("data_type", "dtype"),
    [("INT32", "int32"), ("INT64", "int64"), ("HALF", "float16"), ("UINT8", "uint8"),
     ("BOOL", "bool"), ("INT8", "int8")],
)  # fmt: skip
def test_types_are_the_engine_s(tmp_path: Path, version: str, data_type: str, dtype: str) -> None:
    if data_type == "INT64" and version.startswith("8."):
        pytest.skip("TensorRT 8 has no INT64: such an output is INT32 there")
    tensors = [Tensor("images", True, (2, 4), "UINT8"), Tensor("output0", False, (2,), data_type)]
    with fake_machine(version, lambda x: x.astype(dtype).max(axis=1)) as (cuda, _):
        path = tmp_path / "model.plan"
        path.write_bytes(make_plan(version, tensors))
        with open_file("trt", path, CUDA) as runtime:
            assert (runtime.inputs[0].dtype, runtime.outputs[0].dtype) == ("uint8", dtype)
            feed = np.array([[1, 2, 3, 0], [0, 0, 1, 0]], np.uint8)
            output = runtime.run({"images": feed})["output0"]
            assert output.dtype == dtype
            assert output.tolist() == feed.astype(dtype).max(axis=1).tolist()
        del output
        assert cuda.alive() == {}


# Devices and precisions


@pytest.mark.parametrize("device", ["cpu", "npu", "cuda:1", "dla:0"])
def test_an_absent_device(one: Machine, device: str) -> None:
    path = one.sidecar()
    with pytest.raises(DeviceError, match=f"asked for {device}"):
        one.open(path, RuntimeOptions(device=device))
    with one.open(path, RuntimeOptions(device=device, allow_fallback=True)) as runtime:
        assert runtime.info.device == "cuda:0"
        assert device in runtime.info.notes[0]


def test_the_second_gpu(one: Machine) -> None:
    one.cuda.devices(2)
    with one.open(one.write(), RuntimeOptions(device="cuda:1")) as runtime:
        assert runtime.info.device == "cuda:1"
        runtime.run({"images": random_tensor(SHAPE)})


def test_a_plan_for_a_dla_core(one: Machine) -> None:
    one.control.dla_cores = 2
    path = one.sidecar(dla=1)
    with one.open(path, RuntimeOptions(device="dla:1")) as runtime:
        assert runtime.info.device == "dla:1"
        assert "graph" not in one.cuda.alive()
        assert "executable" not in one.cuda.alive(), "CUDA graphs know no DLA"
        runtime.run({"images": random_tensor(SHAPE)})
    with pytest.raises(DeviceError, match="built for the DLA core 1"):
        one.open(path)


@pytest.mark.parametrize("asked", ["fp32", "int8", "bf16"])
def test_another_precision(one: Machine, asked: str) -> None:
    path = one.sidecar()
    with pytest.raises(DeviceError, match=f"asked for cuda {asked}.*built in fp16"):
        one.open(path, RuntimeOptions(device="cuda", precision=asked))
    allowed = RuntimeOptions(device="cuda", precision=asked, allow_fallback=True)
    with one.open(path, allowed) as runtime:
        assert runtime.info.precision == "fp16"


def test_without_tensorrt(one: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    with pytest.raises(MissingExtraError, match="python3-libnvinfer"):
        one.open(one.write())


def test_without_a_driver(one: Machine) -> None:
    one.cuda.fail("cudaGetDeviceCount", code=35)
    with pytest.raises(DeviceError, match="error 35"):
        one.open(one.write())


def test_bindings_that_cannot_reach_the_gpu(one: Machine) -> None:
    one.control.cuda_fails = True
    with pytest.raises(DeviceError):
        one.open(one.write())


# Failures

FREED = {
    "cudaFree": "device",
    "cudaFreeHost": "host",
    "cudaStreamDestroy": "stream",
    "cudaGraphDestroy": "graph",
    "cudaGraphExecDestroy": "executable",
}
"""What a failing free leaves behind by its very nature."""


def test_no_failing_call_leaves_anything_behind(machine: Machine) -> None:
    """Whichever call fails, everything that was taken is freed, as far as CUDA frees it."""
    path = machine.write()
    with machine.open(path) as runtime:
        runtime.run({"images": random_tensor(SHAPE)})
        calls = machine.cuda.calls
    for nth in range(1, calls + 1):
        machine.cuda.reset()
        describe_gpu.__globals__["open_cudart"].cache_clear()
        machine.cuda.fail("", nth, 2)
        try:
            with machine.open(path) as runtime:
                runtime.run({"images": random_tensor(SHAPE)})
        except BackendError:
            pass
        kind = FREED.get(machine.cuda.failed)
        kept = {kind: 1} if kind else {}
        assert machine.cuda.alive() == kept, f"call {nth} of {calls}: {machine.cuda.failed}"


def test_a_failing_free_does_not_keep_the_rest(one: Machine) -> None:
    runtime = one.open(one.write())
    one.cuda.fail("cudaFree", code=700)
    with pytest.raises(BackendError, match="cudaFree failed with error 700"):
        runtime.close()
    assert one.cuda.alive() == {"device": 1}, "what could not be freed, and nothing else"
    runtime.close()


def test_an_error_that_shows_when_the_stream_is_waited_for(one: Machine) -> None:
    runtime = one.open(one.write())
    one.cuda.fail("cudaStreamSynchronize", code=700)
    with pytest.raises(BackendError, match="error 700") as caught:
        runtime.run({"images": random_tensor(SHAPE)})
    assert "Start the process again" in caught.value.fix
    runtime.close()
    assert one.cuda.alive() == {}


@pytest.mark.parametrize(
    "name",
    ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiateWithFlags",
     "cudaGraphLaunch"],
)  # fmt: skip
def test_without_a_cuda_graph(one: Machine, name: str) -> None:
    one.cuda.fail(name, code=900)
    with one.open(one.write()) as runtime:
        (note,) = runtime.info.notes
        assert note.startswith("without a CUDA graph: ")
        assert name in note
        image = random_tensor(SHAPE, seed=4)
        output = runtime.run({"images": image})["output0"]
        np.testing.assert_array_equal(output, function(image))
    del output
    assert one.cuda.alive() == {}


def test_an_engine_that_does_not_run(one: Machine) -> None:
    one.control.execute_ok = False
    with pytest.raises(BackendError, match="TensorRT failed to run the model"):
        one.open(one.write())
    assert one.cuda.alive() == {}


def test_an_output_whose_shape_depends_on_the_data(one: Machine) -> None:
    one.control.output_shape = lambda _: (1, 7, -1)
    with pytest.raises(BackendError, match=r"depends on the data.*NonMaxSuppression"):
        one.open(one.write(dynamic=True))
    assert one.cuda.alive() == {}


def test_results_outlive_the_runtime(one: Machine) -> None:
    with one.open(one.write()) as runtime:
        output = runtime.run({"images": random_tensor(SHAPE)})["output0"]
    np.testing.assert_array_equal(output, function(random_tensor(SHAPE)))


def test_the_device_is_set_in_the_thread_that_runs(one: Machine) -> None:
    found: list[NDArray[Any]] = []
    with one.open(one.write()) as runtime:
        thread = threading.Thread(
            target=lambda: found.append(
                runtime.run({"images": random_tensor(SHAPE)})["output0"].copy()
            )
        )
        thread.start()
        thread.join(30)
    np.testing.assert_array_equal(found[0], function(random_tensor(SHAPE)))


def test_time_on_the_device(one: Machine) -> None:
    with one.open(one.write()) as runtime:
        assert runtime.device_ms(3) == [1.5, 1.5, 1.5]
        assert "event" not in one.cuda.alive()
    with pytest.raises(BackendError, match="closed"):
        runtime.device_ms()


# Doctor


def test_probe(machine: Machine) -> None:
    machine.control.dla_cores = 1
    found = probe("trt")
    assert (found.installed, found.version) == (True, machine.control.module_version)
    assert [device.name for device in found.devices] == ["cuda:0", "dla:0"]
    assert "Fake Orin, compute capability 8.7, 8.0 GiB shared" in found.devices[0].description
    assert found.problem == ""
    assert found.details["CUDA"].startswith("12.6 (")


def test_probe_without_a_driver(one: Machine) -> None:
    one.cuda.fail("cudaGetDeviceCount", code=35)
    found = probe("trt")
    assert found.installed
    assert found.devices == ()
    assert "error 35" in found.problem
    assert "driver" in found.fix


def test_probe_knows_the_known_bad(one: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    module = __import__("sys").modules["tensorrt"]
    monkeypatch.setattr(module, "__version__", "10.2.0")
    found = probe("trt")
    assert "10.2.0" in found.problem
    assert found.fix

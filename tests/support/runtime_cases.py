"""One case for each runtime: how it gets the model that all of them must compute alike.

The model takes `images` (B, 3, H, W) and gives `output0` (B, 7, H * W): a sigmoid, which a
backend is tempted to compute in place, then a 1x1 convolution. Adding a runtime to the suite
is one `RuntimeCase` below.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ghost_deploy.core.spec import HeadSpec, InputSpec, ModelSpec
from ghost_deploy.runtimes.base import Runtime, RuntimeOptions, TensorSpec
from ghost_deploy.runtimes.fake import FakeRuntime
from ghost_deploy.runtimes.inference_server import InferenceServer
from ghost_deploy.runtimes.table import NO_FILE, RUNTIMES, open_file
from tests.support.fake_cuda import COMPILER, fake_machine
from tests.support.fake_rknnlite import fake_board, write_rknn
from tests.support.fake_tensorrt import Tensor, make_plan
from tests.support.kserve_server import Hosted, KServeServer
from tests.support.litert_files import write_tflite

STATIC, DYNAMIC = (1, 3, 8, 16), (-1, 3, -1, -1)
TEXT = "what the file says of itself"
_RANDOM = np.random.default_rng(7)
WEIGHT = _RANDOM.standard_normal((7, 3)).astype(np.float32)
# Large enough that the seven numbers of a pixel can be read as a box with three scores.
BIAS = np.add(_RANDOM.standard_normal(7), (4, 6, 3, 4, 1, 3, 3)).astype(np.float32)


def expected(images: NDArray[Any]) -> NDArray[Any]:
    """The model in NumPy, float64 inside."""
    soft = 1 / (1 + np.exp(-images.astype(np.float64)))
    value = np.einsum("oc,bchw->bohw", WEIGHT, soft) + BIAS[:, None, None]
    return value.reshape(len(images), 7, -1).astype(np.float32)


def random_images(shape: tuple[int, ...] = STATIC, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def write_onnx(
    path: Path, dynamic: bool = False, metadata: Mapping[str, str] | None = None
) -> Path:
    onnx = pytest.importorskip("onnx")
    h, f32 = onnx.helper, onnx.TensorProto.FLOAT
    size = ["batch", 3, "height", "width"] if dynamic else list(STATIC)
    out = ["batch", 7, "anchors"] if dynamic else [1, 7, STATIC[2] * STATIC[3]]
    numbers = {
        "weight": WEIGHT.reshape(7, 3, 1, 1),
        "bias": BIAS,
        "shape": np.array([0, 7, -1], np.int64),
    }
    graph = h.make_graph(
        [
            h.make_node("Sigmoid", ["images"], ["soft"]),
            h.make_node("Conv", ["soft", "weight", "bias"], ["map"]),
            h.make_node("Reshape", ["map", "shape"], ["output0"]),
        ],
        "contract",
        [h.make_tensor_value_info("images", f32, size)],
        [h.make_tensor_value_info("output0", f32, out)],
        [onnx.numpy_helper.from_array(value, name) for name, value in numbers.items()],
    )
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8)
    h.set_model_props(model, {"text": TEXT} if metadata is None else dict(metadata))
    onnx.save(model, path)
    return path


def write_ir(path: Path, dynamic: bool = False, metadata: Mapping[str, str] | None = None) -> Path:
    openvino = pytest.importorskip("openvino")
    model = openvino.Core().read_model(write_onnx(path.with_suffix(".onnx"), dynamic))
    for key, value in ({"text": TEXT} if metadata is None else metadata).items():
        model.set_rt_info(value, [key])
    openvino.save_model(model, path, compress_to_fp16=False)
    return path


def write_ncnn(
    param: Path, dynamic: bool = False, metadata: Mapping[str, str] | None = None
) -> Path:
    """The three files of the model, by hand: a layer a line, then the weights in their order."""
    from ghost_deploy.runtimes.ncnn_description import NcnnDescription, NcnnTensor

    shapes = (DYNAMIC, (-1, 7, -1)) if dynamic else (STATIC, (1, 7, STATIC[2] * STATIC[3]))
    param.write_text(
        "7767517\n4 4\n"
        "Input images 0 1 images\n"
        "Sigmoid soft 1 1 images soft\n"
        f"Convolution map 1 1 soft map 0=7 1=1 5=1 6={WEIGHT.size}\n"
        "Reshape flat 1 1 map output0 0=-1 1=7\n"
    )
    param.with_suffix(".bin").write_bytes(bytes(4) + WEIGHT.tobytes() + BIAS.tobytes())
    NcnnDescription(
        inputs=(NcnnTensor(name="images", shape=shapes[0]),),
        outputs=(NcnnTensor(name="output0", shape=shapes[1]),),
        metadata={"text": TEXT} if metadata is None else dict(metadata),
    ).write(param)
    return param


def _open_ncnn(folder: Path, dynamic: bool, options: RuntimeOptions) -> Runtime:
    return open_file("ncnn", write_ncnn(folder / "model.param", dynamic), options)


def _open_onnx(folder: Path, dynamic: bool, options: RuntimeOptions) -> Runtime:
    return open_file("ort", write_onnx(folder / "model.onnx", dynamic), options)


def _open_ir(folder: Path, dynamic: bool, options: RuntimeOptions) -> Runtime:
    return open_file("openvino", write_ir(folder / "model.xml", dynamic), options)


def _open_tflite(folder: Path, dynamic: bool, options: RuntimeOptions) -> Runtime:
    path = folder / "model.tflite"
    return open_file("litert", write_tflite(path, WEIGHT, BIAS, STATIC, {"text": TEXT}), options)


def _open_eager(folder: Path, dynamic: bool, options: RuntimeOptions) -> Runtime:
    import torch

    from ghost_deploy.runtimes.eager import EagerRuntime

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 7, 1).requires_grad_(False)
            self.conv.weight.copy_(torch.from_numpy(WEIGHT.reshape(7, 3, 1, 1)))
            self.conv.bias.copy_(torch.from_numpy(BIAS))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.conv(images.sigmoid()).flatten(2)

    size = InputSpec(size_hw=STATIC[2:], stride=8)
    return EagerRuntime(Net().eval(), size, options, metadata={"text": TEXT})


def _open_fake(folder: Path, dynamic: bool, options: RuntimeOptions) -> Runtime:
    return FakeRuntime(
        inputs=[TensorSpec("images", DYNAMIC if dynamic else STATIC, "float32")],
        outputs=[TensorSpec("output0", (-1, 7, -1) if dynamic else (1, 7, 128), "float32")],
        function=lambda feeds: {"output0": expected(feeds["images"])},
        metadata={"text": TEXT},
    )


_PROFILE = ((1, 3, 8, 8), (1, 3, 8, 16), (4, 3, 16, 24))


def _open_trt(folder: Path, dynamic: bool, options: RuntimeOptions) -> Runtime:
    """An engine of the fake TensorRT; `fake_machine` is this case's environment."""
    shapes = (DYNAMIC, (-1, 7, -1)) if dynamic else (STATIC, (1, 7, STATIC[2] * STATIC[3]))
    tensors = [Tensor("images", True, shapes[0]), Tensor("output0", False, shapes[1])]
    control = sys.modules["tensorrt"].__fake__
    control.output_shape = lambda s: (s["images"][0], 7, s["images"][2] * s["images"][3])
    path = folder / "model.plan"
    path.write_bytes(make_plan("10.3", tensors, [{"images": _PROFILE}] if dynamic else None))
    if options.device == "cpu":  # which the suite's options say where it does not matter
        options = replace(options, device="cuda")
    return open_file("trt", path, options)


def hosted_model(dynamic: bool) -> Hosted:
    """The model of the suite on a server."""
    return Hosted(
        lambda feeds: {"output0": expected(feeds["images"])},
        (TensorSpec("images", DYNAMIC if dynamic else STATIC, "float32"),),
        (TensorSpec("output0", (-1, 7, -1) if dynamic else (1, 7, 128), "float32"),),
        {"text": TEXT},
    )


_SERVERS: list[KServeServer] = []


@contextmanager
def _running_server() -> Iterator[None]:
    with KServeServer({"static": hosted_model(False), "dynamic": hosted_model(True)}) as server:
        _SERVERS.append(server)
        yield
        _SERVERS.pop()


def _open_kserve(folder: Path, dynamic: bool, options: RuntimeOptions) -> Runtime:
    """The static model by HTTP, the other one by gRPC."""
    transport, name = ("grpc", "dynamic") if dynamic else ("http", "static")
    server = InferenceServer(_SERVERS[-1].url(transport, name))
    return open_file("kserve", NO_FILE, replace(options, server=server))


# The model of the suite gives 4 + 3 numbers for every pixel: a head with one stride of 1.
_RKNN_SPEC = ModelSpec(
    name="suite",
    family="",
    class_names=("a", "b", "c"),
    input=InputSpec(size_hw=(STATIC[2], STATIC[3]), stride=8),
    head=HeadSpec(decoder="dfl", strides=(1,)),
)


def _open_rknn(folder: Path, dynamic: bool, options: RuntimeOptions) -> Runtime:
    """A file for the fake NPU of `_rknn_board`."""
    if options.device == "cpu":  # which the suite's options say where it does not matter
        options = replace(options, device="npu")
    return open_file("rknn", write_rknn(folder / "model.rknn", "rk3588", _RKNN_SPEC), options)


@contextmanager
def _rknn_board() -> Iterator[None]:
    with (
        tempfile.TemporaryDirectory() as root,
        fake_board(Path(root), lambda images: [expected(images)]),
    ):
        yield


@dataclass(frozen=True)
class RuntimeCase:
    """How one runtime joins the suite.

    Attributes:
        id: its name in `RUNTIMES`, or `fake`.
        open: (empty folder, dynamic, options) to the model in that runtime.
        absent_device: a device that no machine offers to it.
        always_dynamic: it takes every size, so its specs have no static form.
        always_static: it runs files of one size alone.
        device: what it obtains in this suite.
        takes_threads: the number of threads has a meaning to it.
        carries_text: its file holds metadata of any kind.
        environment: what must be in place while it is used.
    """

    id: str
    open: Callable[[Path, bool, RuntimeOptions], Runtime]
    absent_device: str = ""
    always_dynamic: bool = False
    always_static: bool = False
    device: str = "cpu"
    takes_threads: bool = True
    carries_text: bool = True
    environment: Callable[[], AbstractContextManager[Any]] = nullcontext

    @property
    def opens_files(self) -> bool:
        return self.id in RUNTIMES

    @property
    def installed(self) -> bool:
        needed = {"openvino": ("onnx",), "ort": ("onnx",), "litert": ("flatbuffers",)}.get(
            self.id, ()
        )
        there = all(importlib.util.find_spec(package) for package in needed)
        if self.id == "trt":
            return COMPILER is not None
        if self.id == "rknn":
            return True
        return there and (not self.opens_files or RUNTIMES[self.id].installed)


RUNTIME_CASES = {
    case.id: case
    for case in (
        RuntimeCase("openvino", _open_ir, absent_device="cuda:63"),
        RuntimeCase("ort", _open_onnx, absent_device="npu"),
        RuntimeCase("litert", _open_tflite, absent_device="gpu", always_static=True),
        RuntimeCase("ncnn", _open_ncnn, absent_device="cuda:63"),
        RuntimeCase(
            "trt",
            _open_trt,
            absent_device="cuda:63",
            device="cuda:0",
            takes_threads=False,
            carries_text=False,
            environment=lambda: fake_machine("10.3", expected, reset=False),
        ),
        RuntimeCase(
            "rknn",
            _open_rknn,
            absent_device="cuda:63",
            always_static=True,
            device="npu",
            takes_threads=False,
            carries_text=False,
            environment=_rknn_board,
        ),
        RuntimeCase("eager", _open_eager, absent_device="cuda:63", always_dynamic=True),
        RuntimeCase("fake", _open_fake),
        RuntimeCase(
            "kserve",
            _open_kserve,
            absent_device="cuda:63",
            device="server",
            takes_threads=False,
            environment=_running_server,
        ),
    )
}

REQUIRED = set(filter(None, os.environ.get("GHOST_DEPLOY_REQUIRED_RUNTIMES", "").split(",")))
"""Cases that must not skip, e.g. `openvino,ort,eager,fake`; CI sets it to what it installs."""


def case_or_skip(name: str) -> RuntimeCase:
    """The case, where its runtime is installed; elsewhere a visible skip, or a failure when
    `REQUIRED` has it."""
    case = RUNTIME_CASES[name]
    if not case.installed:
        reason = f"the runtime {name!r} is not installed"
        if name in REQUIRED:
            pytest.fail(f"{reason}, but GHOST_DEPLOY_REQUIRED_RUNTIMES has it")
        pytest.skip(reason)
    return case

"""The CUDA library through ctypes: without one, with a driver that is too old, and call by call."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ghost_deploy.core.errors import BackendError, DeviceError
from ghost_deploy.runtimes.tensorrt import cudart as _cudart
from ghost_deploy.runtimes.tensorrt.cuda_calls import Cudart
from ghost_deploy.runtimes.tensorrt.cuda_graph import CudaGraph
from ghost_deploy.runtimes.tensorrt.cuda_memory import TensorBuffer
from tests.support.fake_cuda import COMPILER, FakeCuda, fake_cuda


@pytest.fixture
def fake() -> Iterator[FakeCuda]:
    with fake_cuda() as found:
        yield found
        assert found.misuses == 0


@pytest.fixture
def cuda(fake: FakeCuda) -> Cudart:
    return _cudart.open_cudart()


# Finding it


def test_no_library_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cudart, "library_files", lambda: iter(("libnowhere.so.13",)))
    _cudart.open_cudart.cache_clear()
    with pytest.raises(DeviceError, match=r"no CUDA runtime library.*libnowhere.*CUDA_HOME"):
        _cudart.open_cudart()


def test_the_names_that_are_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "lib64" / "libcudart.so.12"
    library.parent.mkdir()
    library.touch()
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    found = list(_cudart.library_files())
    assert found[:3] == ["libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0"]
    assert str(library) in found


def test_the_wheels_of_nvidia(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "nvidia" / "cu13" / "lib" / "libcudart.so.13"
    library.parent.mkdir(parents=True)
    library.touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert str(library) in _cudart.library_files()


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
def test_a_library_that_lacks_a_function(tmp_path: Path) -> None:
    source, library = tmp_path / "old.c", tmp_path / "libcudart.so.11.0"
    source.write_text("int cudaMalloc(void) { return 0; }\n")
    subprocess.run([str(COMPILER), "-shared", "-fPIC", "-o", library, source], check=True)
    with pytest.raises(DeviceError, match=r"undefined symbol.*libcudart 11\.4 to 13"):
        Cudart(str(library))


def test_a_driver_that_is_too_old_for_one_library_takes_the_next(
    fake: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_cudart, "library_files", lambda: iter((fake.path, "none", fake.path)))
    fake.fail("cudaGetDeviceCount", code=35)
    assert _cudart.open_cudart().device_count() == 1


def test_a_driver_that_is_too_old_for_all(fake: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cudart, "library_files", lambda: iter((fake.path, "none")))
    fake.fail("cudaGetDeviceCount", code=35)
    with pytest.raises(DeviceError, match=r"error 35, cudaErrorInsufficientDriver") as caught:
        _cudart.open_cudart()
    assert "nvidia-smi" in caught.value.fix
    assert caught.value.exit_code == 3


def test_the_gpu(fake: FakeCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cudart, "_MEMINFO", tmp_path / "absent")
    gpu = _cudart.describe_gpu()
    assert (gpu.name, gpu.compute_capability, gpu.cuda) == ("Fake Orin", "8.7", "12.6")
    assert (gpu.free_bytes, gpu.total_bytes, gpu.integrated) == (3 << 30, 8 << 30, True)


@pytest.mark.parametrize(
    ("available_gib", "free_gib"), [(6, 6), (1, 3), (9, 8)], ids=("cached", "less", "more")
)
def test_the_page_cache_of_a_jetson_counts_as_free(
    available_gib: int,
    free_gib: int,
    fake: FakeCuda,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """CUDA tells 3 of 8 GiB there."""
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: 8 kB\nMemFree: 1 kB\nMemAvailable: {available_gib << 20} kB\n")
    monkeypatch.setattr(_cudart, "_MEMINFO", meminfo)
    assert _cudart.describe_gpu().free_bytes == free_gib << 30


def test_a_gpu_that_is_not_there(fake: FakeCuda) -> None:
    with pytest.raises(DeviceError, match="error 101"):
        _cudart.describe_gpu(3)


# Errors


@pytest.mark.parametrize(
    ("code", "kind", "told"),
    [
        (2, BackendError, "Free GPU memory"),
        (35, DeviceError, "driver"),
        (700, BackendError, "Start the process again"),
        (9999, BackendError, "documentation"),
    ],
)
def test_an_error_is_named(
    fake: FakeCuda, cuda: Cudart, code: int, kind: type[Exception], told: str
) -> None:
    fake.fail("cudaMalloc", code=code)
    with pytest.raises(kind, match=rf"CUDA's cudaMalloc failed with error {code}, \w+.*{told}"):
        cuda.malloc(16)
    cuda.free(cuda.malloc(16))
    assert fake.alive() == {}


# Memory


def test_there_and_back(fake: FakeCuda, cuda: Cudart) -> None:
    buffer, stream = TensorBuffer(cuda, 16), cuda.create_stream()
    buffer.array((2, 2), np.dtype("float32"))[...] = [[1, 2], [3, 4]]
    buffer.upload(16, stream)
    buffer.array((4,), np.dtype("float32"))[...] = 0
    buffer.download(12, stream)
    cuda.wait(stream)
    assert buffer.array((4,), np.dtype("float32")).tolist() == [1, 2, 3, 0]
    buffer.close()
    cuda.destroy_stream(stream)
    assert fake.alive() == {}


def test_an_empty_tensor(fake: FakeCuda, cuda: Cudart) -> None:
    buffer = TensorBuffer(cuda, 0)
    assert buffer.array((0, 6), np.dtype("float32")).shape == (0, 6)
    buffer.close()


@pytest.mark.parametrize("name", ["cudaHostAlloc", "cudaMalloc"])
def test_half_a_buffer_is_given_back(fake: FakeCuda, cuda: Cudart, name: str) -> None:
    fake.fail(name)
    with pytest.raises(BackendError, match=name):
        TensorBuffer(cuda, 16)
    assert fake.alive() == {}


def test_an_array_outlives_its_buffer(fake: FakeCuda, cuda: Cudart) -> None:
    buffer = TensorBuffer(cuda, 16)
    kept = buffer.array((4,), np.dtype("int32"))
    kept[...] = 7
    buffer.close()
    assert fake.alive() == {"host": 1}
    assert kept.tolist() == [7, 7, 7, 7]
    del kept
    assert fake.alive() == {}


# Graphs


def test_a_graph_runs_what_was_recorded(fake: FakeCuda, cuda: Cudart) -> None:
    stream, done = cuda.create_stream(), []
    graph = CudaGraph(cuda, stream, lambda: fake.enqueue(stream, lambda: done.append(1)))
    assert done == []
    graph.launch()
    graph.launch()
    assert done == [1, 1]
    graph.close()
    cuda.destroy_stream(stream)
    assert fake.alive() == {}


@pytest.mark.parametrize(
    "name",
    [
        "cudaStreamBeginCapture",
        "cudaStreamEndCapture",
        "cudaGraphInstantiateWithFlags",
    ],
)
def test_a_failed_recording_leaves_nothing(fake: FakeCuda, cuda: Cudart, name: str) -> None:
    stream = cuda.create_stream()
    fake.fail(name, code=900)
    with pytest.raises(BackendError, match=f"{name} failed with error 900"):
        CudaGraph(cuda, stream, lambda: None)
    assert fake.alive() == {"stream": 1}
    cuda.wait(stream)
    cuda.destroy_stream(stream)


def test_work_that_cannot_be_recorded(fake: FakeCuda, cuda: Cudart) -> None:
    def refuse() -> None:
        raise BackendError("no", fix="no")

    stream = cuda.create_stream()
    with pytest.raises(BackendError, match="no"):
        CudaGraph(cuda, stream, refuse)
    cuda.wait(stream)
    cuda.destroy_stream(stream)
    assert fake.alive() == {}


def test_time_on_the_device(fake: FakeCuda, cuda: Cudart) -> None:
    stream, start, end = cuda.create_stream(), cuda.create_event(), cuda.create_event()
    cuda.record(start, stream)
    cuda.record(end, stream)
    assert cuda.elapsed_ms(start, end) == 1.5
    for event in (start, end):
        cuda.destroy_event(event)
    cuda.destroy_stream(stream)
    assert fake.alive() == {}


# A real library, where there is one


def test_a_real_library_without_a_driver() -> None:
    """NVIDIA's own library answers without a driver, with error 35."""
    loadable = []
    for file in _cudart.library_files():
        try:
            ctypes.CDLL(file)
        except OSError:
            continue
        loadable.append(file)
    if not loadable:
        pytest.skip("no CUDA runtime library is installed")
    for file in loadable:
        library = Cudart(file)
        try:
            assert library.device_count() >= 1
        except DeviceError as error:
            assert error.fix  # noqa: PT017

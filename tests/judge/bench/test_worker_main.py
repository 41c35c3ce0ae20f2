"""A worker process on a real model, and the ways in which it can end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ghost_deploy.core.errors import BackendError, DeviceError, ImageError, ShapeError
from ghost_deploy.core.evidence.latency import RunConfig
from ghost_deploy.judge.bench import worker_process as remote
from ghost_deploy.judge.bench.timer import STAGES
from ghost_deploy.judge.bench.worker_main import Failure, Task, open_timer
from ghost_deploy.judge.bench.worker_process import WorkerProcess
from tests.support.constant_model import one_class_spec, write_constant_onnx

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_constant_onnx(tmp_path_factory.mktemp("model") / "model.onnx")


def task(path: Path, images: list[Path], **changes: Any) -> Task:
    made = Task(
        path=str(path),
        config=RunConfig(runtime="ort", precision="fp32", threads=1),
        images=tuple(map(str, images)),
        size_hw=(64, 64),
        spec=one_class_spec(),
    )
    return msgspec.structs.replace(made, **changes)


def test_no_file(images: list[Path], tmp_path: Path) -> None:
    with (
        pytest.raises(BackendError, match=r"absent\.onnx"),
        WorkerProcess(task(tmp_path / "absent.onnx", images)),
    ):
        pass


def test_a_damaged_image(model: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    with (
        pytest.raises(ImageError, match="damaged"),
        WorkerProcess(task(model, [tmp_path / "broken.png"])),
    ):
        pass


def test_a_device_that_is_not_here(model: Path, images: list[Path]) -> None:
    with (
        pytest.raises(DeviceError, match="npu") as caught,
        WorkerProcess(task(model, images, device="npu")),
    ):
        pass
    assert caught.value.exit_code == 3
    assert "--allow-fallback" in caught.value.fix
    with WorkerProcess(task(model, images, device="npu", allow_fallback=True)) as measurer:
        assert measurer.ready.info.device == "cpu"
        assert measurer.ready.info.notes


def test_turns(model: Path, images: list[Path]) -> None:
    with WorkerProcess(task(model, images)) as measurer:
        ready = measurer.ready
        assert (ready.info.runtime, ready.info.threads) == ("ort", 1)
        assert ready.phases == ("end_to_end", "run_alone")
        assert min(ready.load_ms, ready.first_run_ms) > 0
        passes = measurer.turn("end_to_end", 0.02)
        assert set(passes.samples) == set(STAGES)
        assert passes.images == len(passes.samples["run"]) >= 1
        assert passes.wall_s > 0
        for parts in zip(*(passes.samples[name] for name in STAGES), strict=True):
            assert sum(parts[:-1]) == pytest.approx(parts[-1], abs=5e-4)
        assert set(measurer.turn("run_alone", 0.02).samples) == {"run_alone"}
        assert measurer.peak_bytes >= ready.start_bytes > 1_000_000
    measurer.close()


def test_a_model_without_description(model: Path) -> None:
    timer, ready = open_timer(task(model, [], spec=None))
    assert ready.phases == ("run_alone",)
    assert timer.turn("run_alone", 0.0).images == 1
    timer.close()


def test_several_streams(model: Path, images: list[Path]) -> None:
    config = RunConfig(runtime="ort", precision="fp32", threads=1, streams=2)
    timer, _ = open_timer(task(model, images, config=config))
    turn = timer.turn("end_to_end", 0.0)
    assert turn.images == len(turn.samples["run"]) >= 2
    timer.close()


def test_a_process_that_is_killed(model: Path, images: list[Path]) -> None:
    with WorkerProcess(task(model, images)) as measurer:
        os.kill(measurer._child.pid, signal.SIGKILL)
        measurer._child.wait()
        with pytest.raises(BackendError, match="ended") as caught:
            measurer.turn("end_to_end", 0.0)
        assert caught.value.got == "SIGKILL"


def test_a_process_that_ends_at_once(
    model: Path, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_COMMAND", ("-c", "raise SystemExit(7)"))
    with pytest.raises(BackendError, match="ended") as caught:
        WorkerProcess(task(model, images))
    assert caught.value.got == "exit code 7"


def test_an_interrupt_is_left_to_the_parent(model: Path, images: list[Path]) -> None:
    with WorkerProcess(task(model, images)) as measurer:
        os.kill(measurer._child.pid, signal.SIGINT)
        assert measurer.turn("run_alone", 0.0).images == 1


def test_an_orphan_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ghost_deploy.judge.bench.worker_main"],
        input=b"",
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == b""


def test_errors_cross_the_border() -> None:
    error = ShapeError("does not fit", got=(1, 2), expected="(1, 3)", fix="Resize")
    failure = msgspec.json.decode(msgspec.json.encode(Failure.of(error)), type=Failure)
    again = failure.error()
    assert type(again) is ShapeError
    assert (again.what, again.got, again.expected, again.fix) == (
        "does not fit",
        "(1, 2)",
        "(1, 3)",
        "Resize",
    )
    unforeseen = Failure.of(KeyError("x")).error()
    assert type(unforeseen) is BackendError
    assert "unexpected KeyError" in unforeseen.what

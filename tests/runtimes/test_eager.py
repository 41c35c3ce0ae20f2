"""Behaviour specific to PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghost_deploy.core.errors import BackendError, CheckpointError, DeviceError
from ghost_deploy.core.spec import InputSpec
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.eager import EagerRuntime
from ghost_deploy.runtimes.opener import open_path
from ghost_deploy.runtimes.table import open_file
from tests.support.assets import GHOST, needs_assets

torch = pytest.importorskip("torch")

SIZE = InputSpec(size_hw=(32, 32))
IMAGES = {"images": np.zeros((1, 3, 32, 32), np.float32)}


class Weird(torch.nn.Module):
    def forward(self, images: Any) -> Any:
        raise RuntimeError("sizes of tensors must match")


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_the_reference_is_fp32(precision: str) -> None:
    with pytest.raises(DeviceError, match="fp32 only"):
        EagerRuntime(torch.nn.Identity(), SIZE, RuntimeOptions(precision=precision))
    options = RuntimeOptions(precision=precision, allow_fallback=True)
    with EagerRuntime(torch.nn.Identity(), SIZE, options) as runtime:
        assert (runtime.info.precision, runtime.info.compute) == ("fp32", "f32")
        assert len(runtime.info.notes) == 1


@pytest.mark.parametrize("device", ["npu", "dla:0", "cuda:63"])
def test_an_absent_device(device: str) -> None:
    with pytest.raises(DeviceError, match=f"asked for {device}"):
        EagerRuntime(torch.nn.Identity(), SIZE, RuntimeOptions(device=device))


def test_a_failing_module_is_ours() -> None:
    message = "sizes of tensors must match"
    with EagerRuntime(Weird(), SIZE) as runtime, pytest.raises(BackendError, match=message):
        runtime.run(IMAGES)


def test_threads_are_left_alone_unless_given() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        EagerRuntime(torch.nn.Identity(), SIZE)
        assert torch.get_num_threads() == 1
        EagerRuntime(torch.nn.Identity(), SIZE, RuntimeOptions(threads=2))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_no_gradients_are_recorded() -> None:
    net = torch.nn.Conv2d(3, 4, 1)  # its weights ask for gradients
    with EagerRuntime(net, SIZE) as runtime:
        assert runtime.run(IMAGES)["output0"].shape == (1, 4, 32, 32)


def test_the_output_has_the_name_asked_for() -> None:
    with EagerRuntime(torch.nn.Identity(), SIZE, output="raw") as runtime:
        assert [spec.name for spec in runtime.outputs] == list(runtime.run(IMAGES)) == ["raw"]


def test_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "no.pt"
    path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError):
        open_file("eager", path)


@needs_assets
def test_a_real_checkpoint() -> None:
    runtime, spec = open_path(GHOST, options=RuntimeOptions(precision="fp32"))
    with runtime:
        assert spec.class_names == ("RBC", "WBC", "Platelets")
        images = np.full((1, 3, 64, 96), 0.5, np.float32)
        raw = runtime.run({spec.input.name: images})[spec.head.output]
        assert raw.shape == (1, 4 + 3, spec.head.anchors((64, 96)))
        assert np.isfinite(raw).all()
        again = runtime.run({spec.input.name: images})[spec.head.output]
        np.testing.assert_array_equal(raw, again)

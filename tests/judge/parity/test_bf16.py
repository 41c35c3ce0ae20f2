"""The gate of bf16 on real models: bfloat16 passes, a wrong network does not, on any processor.

The candidates are PyTorch modules, so that no processor needs bfloat16: autocast rounds as such
arithmetic does, and the wrong networks compute in float32.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import DeviceError
from ghost_deploy.core.evidence.parity import Gate
from ghost_deploy.detector import Detector
from ghost_deploy.judge.parity.gate import failures, gate_for, raw_failures
from ghost_deploy.judge.parity.prove import run_parity
from ghost_deploy.judge.parity.pytorch_reference import open_reference
from ghost_deploy.judge.parity.stages import ReferenceResult, compare
from ghost_deploy.judge.parity.tally import Tally
from ghost_deploy.processing.images import read_image
from ghost_deploy.runtimes import openvino as ov
from ghost_deploy.runtimes.eager import EagerRuntime
from tests.support.assets import needs_assets, val_images
from tests.support.cpu_capabilities import HAS_BF16
from tests.support.exports import ExportedCheckpoint

pytestmark = needs_assets
GATE = gate_for("bf16")


class Autocast(nn.Module):
    """A network whose convolutions compute in bfloat16."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output: torch.Tensor = self.net(x)
        return output.float()


def replace_silu(net: nn.Module) -> None:
    for name, child in net.named_children():
        if isinstance(child, nn.SiLU):
            setattr(net, name, nn.Hardswish())
        else:
            replace_silu(child)


def default_eps(net: nn.Module) -> None:
    """A batch norm eps of 1e-5 instead of 1e-3 costs 0.3 points of mAP."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-5


def compared(proof: ExportedCheckpoint, net: nn.Module, gate: Gate = GATE) -> Tally:
    """The differences of a network in the place of the checkpoint's, on four images."""
    conf, tally = proof.bundle.spec.thresholds.conf, Tally()
    with open_reference(proof.loaded, proof.bundle.spec) as reference:
        spec = reference.spec
        runtime = EagerRuntime(net.eval(), spec.input, output=spec.head.output)
        with Detector(runtime, spec, reference.thresholds) as candidate:
            for path in val_images()[:4]:
                expected = ReferenceResult.of(reference, read_image(path), None)
                found = compare(expected, candidate, gate, conf)
                tally.add(path.name, found.tensor, found.detections, found.input_max)
    return tally


def test_bfloat16_is_within_the_raw_limits_and_misses_the_gate_of_fp16(
    ghost: ExportedCheckpoint,
) -> None:
    """So few detections do not resolve their share; on all images OpenVINO's does, see below."""
    net, fp16 = Autocast(ghost.loaded.net), gate_for("fp16")
    tally = compared(ghost, net)
    assert raw_failures(GATE, tally.tensor()) == ()
    assert tally.detections().matched_share > 0.95
    tally = compared(ghost, net, fp16)
    assert failures(fp16, tally.tensor(), tally.detections())


@pytest.mark.parametrize("change", [replace_silu, default_eps])
def test_a_wrong_network_fails(
    ghost: ExportedCheckpoint, change: Callable[[nn.Module], None]
) -> None:
    net = copy.deepcopy(ghost.loaded.net)
    change(net)
    (reason,) = raw_failures(GATE, compared(ghost, net).tensor())
    assert "raw score difference" in reason


def run_bf16(proof: ExportedCheckpoint, precisions: list[str] | None, images: int = 2) -> str:
    """The status of the bf16 row."""
    report = run_parity(
        proof.loaded,
        Bundle.read(proof.bundle.path),
        val_images()[:images],
        runtimes=["openvino"],
        precisions=precisions,
    )
    (row,) = (each for each in report.rows if each.precision == "bf16")
    return row.status


@pytest.mark.skipif(not HAS_BF16, reason="this CPU has no bf16")
def test_openvino_in_bf16_passes(ghost: ExportedCheckpoint) -> None:
    assert run_bf16(ghost, ["bf16"], images=16) == "passed"


class WithoutBf16:
    """OpenVINO's core on a processor without bfloat16."""

    def __init__(self, core: object) -> None:
        self._core = core

    def __getattr__(self, name: str) -> object:
        return getattr(self._core, name)

    def get_property(self, device: str, name: str) -> object:
        value = self._core.get_property(device, name)  # type: ignore[attr-defined]
        return (
            [each for each in value if each != "BF16"] if name.endswith("CAPABILITIES") else value
        )


def test_without_bf16_it_is_skipped_and_by_name_an_error(
    ghost: ExportedCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = WithoutBf16(ov._core())
    monkeypatch.setattr(ov, "_core", lambda: core)
    assert run_bf16(ghost, None) == "skipped"
    with pytest.raises(DeviceError, match="no bf16 arithmetic"):
        run_bf16(ghost, ["bf16"])

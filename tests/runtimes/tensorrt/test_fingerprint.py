"""Where a plan may run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ghost_deploy.core.errors import DeviceError
from ghost_deploy.core.evidence.build import Fingerprint
from ghost_deploy.runtimes.tensorrt.fingerprint import mismatches, require_match, this_machine
from tests.support.engine_builds import ORIN

PLAN = Fingerprint(
    tensorrt="10.3.0",
    cuda="12.6",
    compute_capability="8.7",
    gpu="Orin",
    platform="linux-aarch64",
)


def changed(**changes: Any) -> Fingerprint:
    return msgspec.structs.replace(PLAN, **changes)


def test_this_machine() -> None:
    found = this_machine("10.3.0", ORIN)
    assert (found.cuda, found.compute_capability, found.gpu) == ("12.6", "8.7", "Orin")
    assert found.platform.startswith("linux-")


@pytest.mark.parametrize(
    ("plan", "machine", "cores", "words"),
    [
        ({}, {}, 0, ""),
        ({}, {"tensorrt": "10.3.0.26"}, 0, ""),
        ({}, {"cuda": "12.2"}, 0, ""),
        ({}, {"gpu": "another name"}, 0, ""),
        ({}, {"tensorrt": "10.3.1"}, 0, "TensorRT 10.3.0, here 10.3.1"),
        ({}, {"tensorrt": "8.6.2"}, 0, "TensorRT"),
        ({}, {"cuda": "13.0"}, 0, ""),  # of whichever libcudart was loaded
        ({}, {"compute_capability": "8.6"}, 0, "compute capability 8.7, here 8.6"),
        ({}, {"platform": "linux-x86_64"}, 0, "linux-aarch64, here linux-x86_64"),
        ({"dla": 1}, {}, 2, ""),
        ({"dla": 1}, {}, 1, "DLA core 1, here 1 cores"),
        ({"version_compatible": True}, {"tensorrt": "10.13.3"}, 0, ""),
        ({"version_compatible": True}, {"tensorrt": "10.2.0"}, 0, "TensorRT"),
        ({"version_compatible": True}, {"tensorrt": "11.4.1"}, 0, "TensorRT"),
        ({"hardware": "ampere+"}, {"compute_capability": "12.0"}, 0, ""),
        ({"hardware": "ampere+"}, {"compute_capability": "7.5"}, 0, "7.5"),
        ({"hardware": "same-compute-capability"}, {"compute_capability": "8.9"}, 0, "8.9"),
        ({"tensorrt": "nonsense"}, {}, 0, "nonsense"),
    ],
)
def test_differences(plan: dict[str, Any], machine: dict[str, Any], cores: int, words: str) -> None:
    found = mismatches(changed(**plan), changed(**machine), dla_cores=cores)
    assert bool(found) == bool(words)
    assert words in "; ".join(found)


def test_a_mismatch_names_both_sides_and_the_command() -> None:
    with pytest.raises(DeviceError) as caught:
        require_match(PLAN, changed(tensorrt="8.6.1"), path=Path("out/best/model.fp16.plan"))
    told = str(caught.value)
    assert "TensorRT 10.3.0, CUDA 12.6" in told
    assert "TensorRT 8.6.1, CUDA 12.6" in told
    assert "ghost-deploy build out/best --trt" in told
    require_match(PLAN, PLAN, path=Path("x"))


def test_a_dla_is_named() -> None:
    assert "DLA 1 of Orin" in str(changed(dla=1))

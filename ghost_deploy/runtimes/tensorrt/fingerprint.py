"""The machine that an engine was built on, compared with this one before it is deserialized."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ghost_deploy.core.errors import DeviceError
from ghost_deploy.core.evidence.build import Fingerprint

_AMPERE = (8, 0)


@dataclass(frozen=True)
class GpuInfo:
    """Properties of a GPU, as reported by CUDA.

    Attributes:
        name: of the GPU, e.g. `Orin`.
        compute_capability: e.g. `8.7`.
        cuda: version of the runtime library, e.g. `12.6`.
        free_bytes, total_bytes: of its memory at the moment.
        integrated: it shares memory with the CPU, as on a Jetson.
    """

    name: str
    compute_capability: str
    cuda: str
    free_bytes: int
    total_bytes: int
    integrated: bool = False


def this_machine(tensorrt: str, gpu: GpuInfo) -> Fingerprint:
    """The fingerprint of this machine."""
    return Fingerprint(
        tensorrt=tensorrt,
        cuda=gpu.cuda,
        compute_capability=gpu.compute_capability,
        gpu=gpu.name,
        platform=f"{platform.system()}-{platform.machine()}".lower(),
    )


def mismatches(plan: Fingerprint, machine: Fingerprint, *, dla_cores: int = 0) -> tuple[str, ...]:
    """Reasons why an engine cannot run on a machine, one sentence each; empty if it can.

    The CUDA version is not compared: a plan contains compiled kernels, and the recorded version is
    that of the libcudart that the process had loaded, not of TensorRT.

    Args:
        plan: fingerprint of the engine.
        machine: of `this_machine`.
        dla_cores: DLA cores of the machine.
    """
    return tuple(_differences(plan, machine, dla_cores))


def require_match(
    plan: Fingerprint, machine: Fingerprint, *, path: Path, dla_cores: int = 0
) -> None:
    """Require that an engine can run on this machine; call it before deserializing.

    Raises:
        DeviceError: it cannot; the message has both fingerprints and the command to rebuild it.
    """
    found = mismatches(plan, machine, dla_cores=dla_cores)
    if found:
        raise DeviceError(
            f"the engine {path} was built for another machine ({'; '.join(found)})",
            got=str(plan),
            expected=str(machine),
            fix=f"Build it here: ghost-deploy build {path.parent} --trt",
        )


def _differences(plan: Fingerprint, machine: Fingerprint, dla_cores: int) -> Iterator[str]:
    if not _version_fits(plan, machine):
        yield f"TensorRT {plan.tensorrt}, here {machine.tensorrt}"
    if not _hardware_fits(plan, machine):
        yield f"compute capability {plan.compute_capability}, here {machine.compute_capability}"
    if plan.platform != machine.platform:
        yield f"{plan.platform}, here {machine.platform}"
    if plan.dla is not None and plan.dla >= dla_cores:
        yield f"DLA core {plan.dla}, here {dla_cores} cores"


def _version_fits(plan: Fingerprint, machine: Fingerprint) -> bool:
    own, theirs = _release(plan.tensorrt), _release(machine.tensorrt)
    if plan.version_compatible:
        return own[0] == theirs[0] and own <= theirs
    return own == theirs


def _hardware_fits(plan: Fingerprint, machine: Fingerprint) -> bool:
    own, theirs = _numbers(plan.compute_capability), _numbers(machine.compute_capability)
    return own == theirs or (plan.hardware == "ampere+" and min(own, theirs) >= _AMPERE)


def _release(text: str) -> tuple[int, ...]:
    return _numbers(text)[:3]


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdecimal() else -1 for part in text.split("."))

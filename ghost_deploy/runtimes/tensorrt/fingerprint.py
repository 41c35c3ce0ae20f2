"""The machine that an engine was built on, compared with this one before deserializing."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ghost_deploy.core.errors import DeviceError
from ghost_deploy.core.evidence.build import Fingerprint

_AMPERE = (8, 0)


@dataclass(frozen=True)
class Gpu:
    """A GPU as CUDA reports it.

    Attributes:
        name: as NVIDIA gives it, e.g. `Orin`.
        compute_capability: e.g. `8.7`.
        cuda: version of the runtime library, e.g. `12.6`.
        free_bytes, total_bytes: of its memory now.
        integrated: it shares the memory with the CPU, as on a Jetson.
    """

    name: str
    compute_capability: str
    cuda: str
    free_bytes: int
    total_bytes: int
    integrated: bool = False


def here(tensorrt: str, gpu: Gpu) -> Fingerprint:
    """Return the fingerprint of this machine."""
    return Fingerprint(
        tensorrt=tensorrt,
        cuda=gpu.cuda,
        compute_capability=gpu.compute_capability,
        gpu=gpu.name,
        platform=f"{platform.system()}-{platform.machine()}".lower(),
    )


def differences(plan: Fingerprint, machine: Fingerprint, dla_cores: int) -> Iterator[str]:
    """Yield why an engine cannot run on a machine, one sentence each; none when it can.

    CUDA does not count: a plan holds compiled kernels and TensorRT brings its own CUDA runtime;
    the recorded version is that of the libcudart that the process had loaded.

    Args:
        plan: what the engine was built on.
        machine: of `here`.
        dla_cores: DLA cores of the machine.
    """
    if not _version_fits(plan, machine):
        yield f"TensorRT {plan.tensorrt}, here {machine.tensorrt}"
    if not _hardware_fits(plan, machine):
        yield f"compute capability {plan.compute_capability}, here {machine.compute_capability}"
    if plan.platform != machine.platform:
        yield f"{plan.platform}, here {machine.platform}"
    if plan.dla is not None and plan.dla >= dla_cores:
        yield f"DLA core {plan.dla}, here {dla_cores} cores"


def require_match(
    plan: Fingerprint, machine: Fingerprint, *, path: Path, dla_cores: int = 0
) -> None:
    """Require that an engine may run here; call it before deserializing.

    Raises:
        DeviceError: it may not; the error names both machines and the command to build it again.
    """
    found = list(differences(plan, machine, dla_cores))
    if found:
        raise DeviceError(
            f"the engine {path} was built for another machine ({'; '.join(found)})",
            got=str(plan),
            expected=str(machine),
            fix=f"Build it here: ghost-deploy build {path.parent} --trt",
        )


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

"""How much memory the builder may use for kernels that need scratch space."""

from __future__ import annotations

from ghost_deploy.core.errors import DeviceError
from ghost_deploy.runtimes.tensorrt.fingerprint import Gpu

__all__ = ["workspace_bytes"]

_MIB = 1 << 20
_MOST = 4096 * _MIB
_LEAST = 64 * _MIB


def workspace_bytes(gpu: Gpu, asked_mib: int | None = None) -> int:
    """The workspace in bytes: what was asked for, or a share of what is free now.

    Half of a discrete GPU's free memory; a quarter on a Jetson, where host and device share it
    and weights, activations and this process need the rest. At most 4 GiB: detectors of this size
    gain nothing from more.

    Args:
        gpu: whose memory.
        asked_mib: by the user, MiB.

    Raises:
        DeviceError: less memory is free than any build needs, or than was asked for.
    """
    if asked_mib is not None:
        if asked_mib * _MIB > gpu.free_bytes:
            raise _too_little(gpu, f"{asked_mib} MiB of workspace")
        return asked_mib * _MIB
    share = gpu.free_bytes // (4 if gpu.integrated else 2)
    if share < _LEAST:
        raise _too_little(gpu, f"{_LEAST // _MIB} MiB of workspace and as much again")
    return min(share // _MIB * _MIB, _MOST)


def _too_little(gpu: Gpu, wanted: str) -> DeviceError:
    return DeviceError(
        f"not enough memory is free on {gpu.name} to build an engine",
        got=f"{gpu.free_bytes // _MIB} of {gpu.total_bytes // _MIB} MiB free",
        expected=wanted,
        fix="Close other programs (a desktop session and PyTorch take the most), or lower "
        "--workspace",
    )

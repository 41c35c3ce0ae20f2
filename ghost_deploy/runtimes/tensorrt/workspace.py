"""Scratch memory for the builder's kernels."""

from __future__ import annotations

from ghost_deploy.core.errors import DeviceError
from ghost_deploy.runtimes.tensorrt.fingerprint import GpuInfo

_MIB = 1 << 20
_MOST = 4096 * _MIB
_LEAST = 64 * _MIB
_FIX = "Close other programs (a desktop session and PyTorch take the most), or lower --workspace"


def workspace_bytes(gpu: GpuInfo, asked_mib: int | None = None) -> tuple[int, tuple[str, ...]]:
    """The workspace in bytes, as requested or a share of the free memory, and warnings.

    Half of a discrete GPU's free memory; a quarter on a Jetson, where host and device share it.
    At most 4 GiB: detectors of this size do not profit from more.

    Args:
        gpu: with its free memory.
        asked_mib: requested by the user, MiB; None for a share.

    Raises:
        DeviceError: less memory is free than any build needs, or than requested. On a Jetson,
            where free memory is an estimate, this is a warning, unless it exceeds the total.
    """
    if asked_mib is not None:
        size, wanted = asked_mib * _MIB, f"{asked_mib} MiB of workspace"
        enough, possible = size <= gpu.free_bytes, size <= gpu.total_bytes
    else:
        share = gpu.free_bytes // (4 if gpu.integrated else 2)
        size = max(min(share // _MIB * _MIB, _MOST), _LEAST)
        wanted = f"{_LEAST // _MIB} MiB of workspace and as much again"
        enough, possible = share >= _LEAST, True
    if enough:
        return size, ()
    what = f"not enough memory is free on {gpu.name} to build an engine"
    have = f"{gpu.free_bytes // _MIB} of {gpu.total_bytes // _MIB} MiB free"
    if gpu.integrated and possible:
        return size, (f"{what}, as far as can be told: {have}, {wanted} wanted. {_FIX}",)
    raise DeviceError(what, got=have, expected=wanted, fix=_FIX)

"""How many CPU cores this process may use."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["available_cores", "cpu_quota"]

_SYS = Path("/sys")


def available_cores(sys_root: Path = _SYS) -> int:
    """Physical cores that this process may use, at least 1.

    Affinity and cgroup quota count; the hyper-threads of one core count once, because the
    matrix kernels of an inference backend already fill a core with one thread.

    Args:
        sys_root: where sysfs is mounted.
    """
    cpus = _affinity()
    cores = {_siblings(sys_root, cpu) for cpu in cpus}
    quota = cpu_quota(sys_root)
    return max(1, min(len(cores), quota or len(cores)))


def cpu_quota(sys_root: Path = _SYS) -> int:
    """Whole CPUs that the cgroup grants, at least 1; 0 when it sets no limit.

    Reads cgroup v2 `cpu.max`, else v1 `cpu.cfs_quota_us` over `cpu.cfs_period_us`, as a
    container sees them. See https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu.

    Args:
        sys_root: where sysfs is mounted.
    """
    cgroup = sys_root / "fs" / "cgroup"
    quota, _, period = _read(cgroup / "cpu.max").partition(" ")
    if not quota:
        quota = _read(cgroup / "cpu" / "cpu.cfs_quota_us")
        period = _read(cgroup / "cpu" / "cpu.cfs_period_us")
    if not (quota.isdecimal() and period.isdecimal()) or int(period) == 0:
        return 0
    return max(1, int(quota) // int(period))


def _affinity() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _siblings(sys_root: Path, cpu: int) -> str:
    """The hyper-threads of the core that `cpu` belongs to, as the kernel lists them."""
    topology = sys_root / "devices" / "system" / "cpu" / f"cpu{cpu}" / "topology"
    return _read(topology / "thread_siblings_list") or str(cpu)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""

"""Number of CPU cores that this process may use."""

from __future__ import annotations

import os
from pathlib import Path

from ghost_deploy.core.files import text_of

_SYS = Path("/sys")


def available_cores(sys_root: Path = _SYS) -> int:
    """Return the number of physical cores that this process may use, at least 1.

    Affinity and cgroup quota are respected. The hyper-threads of a core count once: one thread of
    an inference backend's matrix kernels already saturates a core.

    Args:
        sys_root: mount point of sysfs.
    """
    cpus = _affinity()
    cores = {_siblings(sys_root, cpu) for cpu in cpus}
    quota = cpu_quota(sys_root)
    return max(1, min(len(cores), quota or len(cores)))


def cpu_quota(sys_root: Path = _SYS) -> int:
    """Return the CPUs of the cgroup quota, rounded down, at least 1; 0 without a limit.

    Reads cgroup v2 `cpu.max`, else v1 `cpu.cfs_quota_us` and `cpu.cfs_period_us`, as seen in a
    container. See https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu.

    Args:
        sys_root: mount point of sysfs.
    """
    cgroup = sys_root / "fs" / "cgroup"
    quota, _, period = text_of(cgroup / "cpu.max").strip().partition(" ")
    if not quota:
        quota = text_of(cgroup / "cpu" / "cpu.cfs_quota_us").strip()
        period = text_of(cgroup / "cpu" / "cpu.cfs_period_us").strip()
    if not (quota.isdecimal() and period.isdecimal()) or int(period) == 0:
        return 0
    return max(1, int(quota) // int(period))


def _affinity() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _siblings(sys_root: Path, cpu: int) -> str:
    """The kernel's list of the hyper-threads of the core of `cpu`."""
    topology = sys_root / "devices" / "system" / "cpu" / f"cpu{cpu}" / "topology"
    return text_of(topology / "thread_siblings_list").strip() or str(cpu)

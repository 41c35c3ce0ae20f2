"""Namespaces of a process of its own, and a file system with nothing in it but what is named.

Works for root and for any user to whom the kernel grants user namespaces. Mounts need them, and
are of the new namespace alone: nothing of the machine changes.
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Sequence
from pathlib import Path

_NEW_USER, _NEW_NET, _NEW_MOUNT, _NEW_PID = 0x10000000, 0x40000000, 0x20000, 0x20000000
_NEW_IPC, _NEW_HOST_NAME = 0x08000000, 0x04000000

_READ_ONLY, _NO_SUID, _NO_DEVICES = 1, 2, 4
_BIND, _RECURSIVE, _PRIVATE = 4096, 16384, 1 << 18
_DETACH = 2
_SYS_MOUNT_SETATTR = 442  # on every processor
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000

_PR_SET_DEATH_SIGNAL, _PR_DROP_BOUND, _PR_SET_SUBREAPER = 1, 24, 36
_CAPABILITY_VERSION = 0x20080522

INSIDE_ID = 1000
"""User and group inside: not 0, which would regain capabilities."""

_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/etc/alternatives", "/etc/ld.so.cache")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
# What libraries of threads read about the processor.
_FACTS = ("/sys/devices/system/cpu",)

_libc = ctypes.CDLL(None, use_errno=True)


class StepError(OSError):
    """A step of the confinement that the kernel refuses; `strerror` names it."""


def enter_namespaces() -> None:
    """Enter new namespaces; children of this process are in the process namespace.

    Raises:
        StepError: the kernel refuses.
    """
    user, group = os.geteuid(), os.getegid()
    flags = _NEW_USER | _NEW_NET | _NEW_MOUNT | _NEW_PID | _NEW_IPC | _NEW_HOST_NAME
    _check(_libc.unshare(flags), "new namespaces (unshare)")
    try:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{INSIDE_ID} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{INSIDE_ID} {group} 1")
    except OSError as error:
        raise StepError(error.errno, f"a user of its own: {error.strerror}") from error


def die_with_parent(number: int) -> None:
    """Let the kernel send this process a signal when its parent ends, however that ends."""
    _libc.prctl(_PR_SET_DEATH_SIGNAL, number, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of all processes below this one whose own parent ends."""
    _libc.prctl(_PR_SET_SUBREAPER, 1, 0, 0, 0)


def enter_file_system(visible: Sequence[str], scratch_bytes: int) -> None:
    """Replace the root by an empty one with `visible`, all read-only, and a `/tmp` to write in.

    Call it in the first process of a process namespace.

    Args:
        visible: absolute paths of files and folders, found at the same place inside.
        scratch_bytes: size of `/tmp`.

    Raises:
        StepError: the kernel refuses.
    """
    _mount(None, "/", None, _RECURSIVE | _PRIVATE, "private mounts")
    _mount("tmpfs", "/tmp", "tmpfs", _NO_SUID, "an empty root", "size=1m,mode=0755")
    os.mkdir("/tmp/old")
    os.chdir("/tmp")
    _check(_libc.syscall(_pivot_root_number(), b".", b"old"), "a root of its own")
    os.chdir("/")
    os.mkdir("/tmp")  # before the others: some may lie in it
    options = f"size={scratch_bytes},mode=0700,nr_inodes=65536"
    _mount("tmpfs", "/tmp", "tmpfs", _NO_SUID | _NO_DEVICES, "a temporary folder", options)
    for name in (*_SYSTEM, *_FACTS, *dict.fromkeys(visible)):
        _show(name)
    for name in _DEVICES:
        _show(name, read_only=False)
    _show_processes()
    _check(_libc.umount2(b"/old", _DETACH), "leaving the old root")
    os.rmdir("/old")
    _protect("/", recursive=False)
    os.chdir("/tmp")


def drop_capabilities() -> None:
    """Give up every capability inside the namespaces, for good."""
    for number in range(64):
        if _libc.prctl(_PR_DROP_BOUND, number, 0, 0, 0):
            break
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    _check(_libc.capset(header, (ctypes.c_uint32 * 6)()), "dropping capabilities")


def limit_resources(memory_bytes: int, cpu_s: int, file_bytes: int) -> None:
    """Limit what this process may use; a limit that is lower already stays.

    Args:
        memory_bytes: private memory.
        cpu_s: processor time of all threads, seconds.
        file_bytes: size of a file.
    """
    limits = {
        resource.RLIMIT_DATA: memory_bytes,
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 512,
    }
    for kind, value in limits.items():
        hard = resource.getrlimit(kind)[1]
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (most, most))


def _show(name: str, *, read_only: bool = True) -> None:
    """Make a path of the old root visible; a link stays a link, what does not exist is left out."""
    old = "/old" + name
    if os.path.islink(old):
        os.makedirs(os.path.dirname(name), exist_ok=True)
        if not os.path.lexists(name):
            os.symlink(os.readlink(old), name)
        return
    if not os.path.exists(old) or os.path.ismount(name):
        return
    if os.path.isdir(old):
        if not os.path.isdir(name):  # else it lies in what is visible already
            os.makedirs(name)
        elif os.path.samefile(old, name):
            return
    elif os.path.exists(name):
        return
    else:
        os.makedirs(os.path.dirname(name), exist_ok=True)
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o644))
    _mount(old, name, None, _BIND | _RECURSIVE, f"a view of {name}")
    if read_only:
        _protect(name, recursive=True)


def _show_processes() -> None:
    """`/proc` of the new namespace; where a container forbids that, the facts about the processor.

    Inside a container whose own `/proc` is partly hidden, the kernel refuses a new one.
    """
    os.makedirs("/proc", exist_ok=True)
    flags = _NO_SUID | _NO_DEVICES | _READ_ONLY
    if _libc.mount(b"proc", b"/proc", b"proc", ctypes.c_ulong(flags), None) == 0:
        return
    for name in ("/proc/cpuinfo", "/proc/meminfo"):
        _show(name)


def _protect(name: str, *, recursive: bool) -> None:
    attributes = (ctypes.c_uint64 * 4)(_READ_ONLY | _NO_SUID | _NO_DEVICES, 0, 0, 0)
    flags = _AT_RECURSIVE if recursive else 0
    done = _libc.syscall(
        _SYS_MOUNT_SETATTR, _AT_FDCWD, name.encode(), flags, attributes, ctypes.c_size_t(32)
    )
    _check(done, f"a read-only {name} (mount_setattr, Linux 5.12)")


def _mount(
    source: str | None, target: str, kind: str | None, flags: int, step: str, data: str = ""
) -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    done = _libc.mount(*encoded, ctypes.c_ulong(flags), data.encode() or None)
    _check(done, step)


def _pivot_root_number() -> int:
    return 41 if os.uname().machine == "aarch64" else 155


def _check(result: int, step: str) -> None:
    if result:
        code = ctypes.get_errno()
        raise StepError(code, f"{step}: {os.strerror(code)}")

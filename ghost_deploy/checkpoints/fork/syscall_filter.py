"""A filter of system calls: one process, no other program, no memory beside the limits.

A limit on the number of processes does not bind root, not even inside a user namespace, and counts
all processes of a user on older kernels. A filter binds every user: starting a process or a program
fails, starting a thread does not.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_LOAD, _JUMP_EQUAL, _JUMP_ANY_BIT, _JUMP_GREATER, _AND, _RETURN = 0x20, 0x15, 0x45, 0x25, 0x54, 0x06
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data

_CLONE_THREAD = 0x10000
_SHARED_ANONYMOUS = 0x21  # MAP_SHARED | MAP_ANONYMOUS: memory that RLIMIT_DATA does not count

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x3FFFFFFF  # numbers above are the x32 variants of the calls of x86-64

# name: (number on x86_64, number on aarch64); None where the processor has no such call
_CLONE, _MMAP = (56, 220), (9, 222)
_CLONE3 = (435, 435)
_REFUSED: dict[str, tuple[int | None, int]] = {
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "kexec_load": (246, 104),
    "swapon": (167, 224),
    "reboot": (169, 142),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "personality": (135, 92),
}
_OLD_FORKS = (57, 58)  # fork and vfork, which aarch64 does not have


def install_filter() -> None:
    """Bind this process and all its threads; cannot be undone.

    Raises:
        OSError: the kernel refuses, or there is no table for this processor.
    """
    machine = platform.machine()
    if machine not in _AUDIT_ARCH:
        raise OSError(errno.ENOSYS, f"no filter of system calls for {machine}")
    program = b"".join(_program(machine))
    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    whole = Program(len(program) // 8, ctypes.addressof(code))
    no_new_privileges = libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if no_new_privileges or libc.prctl(
        _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(whole), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "the kernel refuses a filter of system calls")


def _program(machine: str) -> list[bytes]:
    """The filter; each instruction jumps over at most the two that follow it."""
    column = list(_AUDIT_ARCH).index(machine)
    lines = [
        _line(_LOAD, _ARCH),
        _line(_JUMP_EQUAL, _AUDIT_ARCH[machine], yes=1),
        _line(_RETURN, _KILL),
        _line(_LOAD, _NUMBER),
    ]
    if machine == "x86_64":
        lines += [_line(_JUMP_GREATER, _X32, no=1), _line(_RETURN, _KILL)]
        lines += [line for number in _OLD_FORKS for line in _refuse(number, errno.EPERM)]
    lines += _refuse(_CLONE3[column], errno.ENOSYS)  # the C library then takes clone
    for numbers in _REFUSED.values():
        number = numbers[column]
        if number is not None:
            lines += _refuse(number, errno.EPERM)
    lines += [
        _line(_JUMP_EQUAL, _CLONE[column], no=4),
        _line(_LOAD, _ARGUMENTS),
        _line(_JUMP_ANY_BIT, _CLONE_THREAD, yes=1),
        _line(_RETURN, _ERRNO | errno.EPERM),
        _line(_RETURN, _ALLOW),
        _line(_JUMP_EQUAL, _MMAP[column], no=4),
        _line(_LOAD, _ARGUMENTS + 3 * 8),
        _line(_AND, _SHARED_ANONYMOUS),
        _line(_JUMP_EQUAL, _SHARED_ANONYMOUS, no=1),
        _line(_RETURN, _ERRNO | errno.ENOMEM),
        _line(_RETURN, _ALLOW),
    ]
    return lines


def _refuse(number: int, code: int) -> list[bytes]:
    return [_line(_JUMP_EQUAL, number, no=1), _line(_RETURN, _ERRNO | code)]


def _line(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    """One instruction: struct sock_filter."""
    return struct.pack("=HBBI", code, yes, no, value)

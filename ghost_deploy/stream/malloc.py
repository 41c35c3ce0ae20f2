"""Keep the resident memory of a process small: glibc keeps much of what is freed."""

from __future__ import annotations

import ctypes

_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3  # of glibc's malloc.h
_LARGE = 128 * 1024


def use_single_arena() -> None:
    """Let all threads of the process allocate from one arena; call it before they start.

    By default glibc has several arenas, up to eight a core. Frames and decoders are allocated in
    one thread and freed in another, and each arena keeps the memory of its peak: the resident
    memory grows for a quarter of an hour though no more is in use. MALLOC_ARENA_MAX=1 in the
    environment has the same effect. Without glibc this does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def return_large_blocks() -> None:
    """Let each freed block of 128 KiB or more go back to the system at once.

    By default glibc raises this limit to the size of the largest block freed so far, and keeps
    those below it. Returning costs page faults, so that it suits a process that runs a model
    once. Without glibc this does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)


def return_free_memory() -> None:
    """Return freed memory to the system, in some milliseconds; without glibc this does nothing.

    The decoder of a lost camera leaves free memory that the next decoder does not fit exactly:
    without this the resident memory grows with each reconnect.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)

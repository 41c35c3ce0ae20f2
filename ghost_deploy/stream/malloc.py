"""Keep the resident memory of a process with many threads from growing."""

from __future__ import annotations

import ctypes

_M_ARENA_MAX = -8  # of glibc's malloc.h


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


def return_free_memory() -> None:
    """Return freed memory to the system, in some milliseconds; without glibc this does nothing.

    The decoder of a lost camera leaves free memory that the next decoder does not fit exactly:
    without this the resident memory grows with each reconnect.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)

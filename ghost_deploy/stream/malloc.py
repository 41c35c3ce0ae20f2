"""Keep the memory of a process with many threads from creeping up."""

from __future__ import annotations

import ctypes

__all__ = ["give_back", "share_heap"]

_M_ARENA_MAX = -8  # of glibc's malloc.h


def share_heap() -> None:
    """Let all threads allocate from one heap, for the whole process; call it before they start.

    By default glibc gives threads heaps of their own, up to eight a core. Frames and decoders are
    allocated in one thread and freed in another, and each heap keeps the room of its busiest
    moment: the resident memory grows for a quarter of an hour though no more is in use. Where
    there is no glibc this does nothing, and MALLOC_ARENA_MAX in the environment does the same.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Return to the system what has been freed: milliseconds; without glibc it does nothing.

    A camera that is lost leaves its decoder's room behind, and the next one's does not fit into it
    exactly: without this the resident memory creeps up with every reconnect.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)

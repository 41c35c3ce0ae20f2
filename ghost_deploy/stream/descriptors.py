"""File descriptors of the process: how many it may have, and the share of the web view."""

from __future__ import annotations

import contextlib
import sys

_MOST = 65_536
_UNKNOWN = 1024


def raise_descriptor_limit() -> None:
    """Raise the process's limit of open files as far as the system allows.

    The usual soft limit, 1024, is for programs that use `select`; each camera, sink and visitor
    costs some. Where there is no such limit this does nothing.
    """
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < most:
        # macOS refuses more than its own constant.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def descriptor_limit() -> int:
    """How many files the process may have open."""
    if sys.platform == "win32":
        return _UNKNOWN
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft == resource.RLIM_INFINITY else soft

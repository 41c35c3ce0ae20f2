"""Child processes that do not outlive the process that started them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_VARIABLE = "GHOST_DEPLOY_PARENT"


def parent_mark() -> dict[str, str]:
    """What the environment of a child must have that calls `end_with_parent`."""
    return {_VARIABLE: str(os.getpid())}


def end_with_parent() -> None:
    """Let the system end this process when the thread that started it has ended.

    A parent that is killed cannot end its children, and a model may compute for ever: that its
    input has ended is then never read. On other systems than Linux this does nothing.

    Raises:
        SystemExit: the parent has ended already.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        try:
            os.kill(int(os.environ.get(_VARIABLE, os.getppid())), 0)
        except ProcessLookupError:
            raise SystemExit(1) from None
        except (OSError, ValueError):  # another user's, or no number
            return

"""The end of a command: the process is left without taking it apart.

Python destroys every module and object before it ends, and the libraries what they hold: 45 ms
after the image of a one-shot command is done. The system frees all of it at once.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import sys
import threading
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """End the process with the exit code `code`.

    What was registered to happen at the end happens, and everything written is flushed. The process
    ends in the ordinary way where a thread is still at work, or where a stream cannot be flushed:
    Python waits for the one, and tells the other.

    Args:
        code: 0 to 255.
    """
    _flush_messages()
    others = set(threading.enumerate()) - {threading.current_thread()}
    if any(not thread.daemon for thread in others) or not hasattr(atexit, "_run_exitfuncs"):
        sys.exit(code)
    atexit._run_exitfuncs()
    try:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except (OSError, ValueError):
        sys.exit(code)
    # Python's streams are not those of C, to which libraries print.
    flush = getattr(ctypes.CDLL(None) if os.name == "posix" else None, "fflush", None)
    if flush is not None:
        flush(None)
    os._exit(code)


def _flush_messages() -> None:
    """Let the end not fail because messages cannot be written: Python would exit with 120."""
    try:
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)

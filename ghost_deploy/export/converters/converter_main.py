"""The main function of a converter's process; runs in an interpreter that has the vendor's tool.

That interpreter is another environment, maybe of another Python, without this package: this file
and the steps that it loads import the standard library and the vendor's tool alone.

Requests and replies are lines of JSON. A request names a step and its arguments; the reply is
`{"done": ...}` or `{"failed": ...}`, after any number of `{"progress": ...}`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import signal
import sys
from typing import Any


def main() -> None:
    """Answer requests on standard input until it ends. Arguments: file of the steps, pid of the
    parent."""
    _end_with_parent(int(sys.argv[2]))
    # Vendors print on standard output, from C++ too.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def reply(kind: str, value: Any) -> None:
        replies.write(json.dumps({kind: value}) + "\n")
        replies.flush()

    def say(text: str) -> None:
        reply("progress", text)

    steps = _load(sys.argv[1])
    for line in sys.stdin:
        request = json.loads(line)
        try:
            done = steps[request["step"]](say, **request["arguments"])
        # Whatever a vendor raises, SystemExit of its loggers among them, is the reply.
        except (Exception, SystemExit) as error:
            reply("failed", f"{type(error).__name__}: {error}")
        else:
            reply("done", done)


def _load(path: str) -> Any:
    """The table `STEPS` of a file."""
    spec = importlib.util.spec_from_file_location("converter_steps", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.STEPS


def _end_with_parent(parent: int) -> None:
    """Let the system end this process with its parent, which cannot do so when it is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            sys.exit(1)


if __name__ == "__main__":
    main()

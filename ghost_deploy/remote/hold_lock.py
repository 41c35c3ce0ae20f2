"""Keeps a folder of the board for one caller; runs there, with the standard library alone.

Arguments: the folder of the address, and who asks for it. Prints `held` with our folder, and stays
until it is ended. A second caller gets the name of the first on standard error.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys

_BUSY, _NO_FOLDER = 75, 73  # sysexits.h


def main() -> int:
    """Take the lock and stay."""
    folder, asker = place_of(sys.argv[1]), sys.argv[2]
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        handle = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        print(f"{folder}: {error.strerror}", file=sys.stderr)
        return _NO_FOLDER
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.read(handle, 200).decode("utf-8", "replace")
        print(f"another command uses it: {owner}", file=sys.stderr)
        return _BUSY
    with contextlib.suppress(OSError):  # a full disk must not lock anybody out
        os.ftruncate(handle, 0)
        os.write(handle, asker.encode())
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    print(f"held {folder}", flush=True)
    while True:
        signal.pause()


def place_of(given: str) -> str:
    """Our folder: below the one that an address names, or in the cache of the account."""
    if given:
        return os.path.join(os.path.expanduser(given), "ghost-deploy-remote")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(cache, "ghost-deploy", "remote")


if __name__ == "__main__":
    sys.exit(main())

"""One run at a time writes into a folder or bucket.

On this machine and on shared disks the system keeps the lock, and gives it up when the process
dies. A bucket has no locks: a small object says which run is at work and is written anew every few
seconds. That object is advice: what makes a row come once is that the name of a part is a hash of
its keys, so that two runs over the same sources write the same objects.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import msgspec

from ghost_deploy.batch.file_access import shown
from ghost_deploy.batch.part_files import PartFiles
from ghost_deploy.core.closing import Closing
from ghost_deploy.core.errors import StoreError, UsageError

if sys.platform != "win32":
    import fcntl

LOCK = ".lock"
RUNNING = "_running.json"
_BEAT_S = 5.0
_SETTLE_S = 1.0


class _Claim(msgspec.Struct, frozen=True):
    token: str
    host: str
    pid: int
    beat: int = 0


def lock_output(parts: PartFiles, note: Callable[[str], None]) -> Closing:
    """Keep other runs away from the output until the result is closed.

    Args:
        parts: of the output folder, which exists.
        note: is told of a wait.

    Raises:
        UsageError: another run writes there.
        StoreError: the folder or bucket cannot be written to.
    """
    if parts.is_remote or sys.platform == "win32":
        return _StoreLock(parts, note)
    return _FileLock(Path(parts.out))


class _FileLock(Closing):
    def __init__(self, folder: Path) -> None:
        try:
            self._handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreError(
                f"cannot write to {folder}", got=error.strerror, fix="Check its permissions"
            ) from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.read(self._handle, 200).decode(errors="replace").strip()
            os.close(self._handle)
            raise _refused(str(folder), who) from None
        except OSError:  # a file system without locks
            return
        os.truncate(self._handle, 0)
        os.write(self._handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())

    def close(self) -> None:
        # The file stays: to remove it would let a third run lock another one of that name.
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1


class _StoreLock(Closing):
    def __init__(self, parts: PartFiles, note: Callable[[str], None]) -> None:
        self._parts = parts
        self._claim = _Claim(uuid.uuid4().hex, socket.gethostname(), os.getpid())
        self._refuse_running(note)
        self._beat(0)
        time.sleep(_SETTLE_S)  # of two that began at once the later one has written over the other
        found = self._read()
        if found is not None and found.token != self._claim.token:
            raise _refused(shown(parts.out), f"process {found.pid} on {found.host}")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="run lock", daemon=True)
        self._thread.start()

    def close(self) -> None:
        if self._ended.is_set():
            return
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(StoreError):
            found = self._read()
            if found is not None and found.token == self._claim.token:
                self._parts.remove(RUNNING)

    def _refuse_running(self, note: Callable[[str], None]) -> None:
        found = self._read()
        if found is None or (found.host == self._claim.host and not _is_alive(found.pid)):
            return
        who = f"process {found.pid} on {found.host}"
        note(f"{shown(self._parts.out)} was claimed by {who}: waiting to see whether it still runs")
        end_s = time.monotonic() + 2 * _BEAT_S
        while time.monotonic() < end_s:
            time.sleep(_BEAT_S / 5)
            now = self._read()
            if now is None:
                return
            if now != found:
                raise _refused(shown(self._parts.out), who)

    def _run(self) -> None:
        beat = 0
        while not self._ended.wait(_BEAT_S):
            beat += 1
            # A store that refuses is met by the workers too, whose error ends the run.
            with contextlib.suppress(StoreError):
                self._beat(beat)

    def _beat(self, beat: int) -> None:
        claim = msgspec.structs.replace(self._claim, beat=beat)
        self._parts.write(RUNNING, msgspec.json.encode(claim))

    def _read(self) -> _Claim | None:
        data = self._parts.read(RUNNING)
        try:
            return None if data is None else msgspec.json.decode(data, type=_Claim)
        except msgspec.DecodeError:
            return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _refused(where: str, who: str) -> UsageError:
    return UsageError(
        f"another run writes into {where}",
        got=who or None,
        fix="Wait until it has ended, or give another folder with -o",
    )

"""Temporary files and folders beside an output, and the removal of those that dead processes left.

A process that is killed cannot clean up. Each temporary file or folder therefore carries a lock,
`flock`, for as long as its process lives; whatever of our name has no lock any more was left by a
process that died, and the next one removes it. Age plays no part: an export may take an hour, and a
clock may be wrong. Where the file system or the system has no `flock`, nothing is removed.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_MARK = ".ghost-deploy-"
_BINARY = getattr(os, "O_BINARY", 0)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h
_made_here: dict[Path, int] = {}
"""What is not closed yet, by absolute path: the process that made it, as a fork copies this."""
_searched: set[Path] = set()
"""Folders that this process has searched: one may hold 100,000 images."""
_OURS = re.compile(r"\..*\.ghost-deploy-[a-z0-9_]{8}(\.old)?")
"""Names made here: `.NAME.ghost-deploy-` and eight characters."""
OLD = ".old"
"""End of the name of an output that is being replaced, on systems without an exchange of names."""


class Temporary:
    """A temporary file or folder beside `target`, locked until `close`.

    The first one in a folder removes those that dead processes left there.

    Args:
        target: the output that it becomes; its folder must exist.
        folder: make a folder, not a file.

    Attributes:
        path: of the file or folder.

    Raises:
        OSError: the system refuses.
    """

    def __init__(self, target: Path, *, folder: bool) -> None:
        self._target = target
        if target.parent not in _searched:
            remove_leftovers(target.parent)
            _searched.add(target.parent)
        self.path, self._handle = _make_locked(target, folder)

    def fileno(self) -> int:
        """The open file; of a folder nothing can be written to it."""
        return self._handle

    def replace_target(self) -> None:
        """Give the folder the name of its output; one that is there is replaced and removed.

        On Linux both names are exchanged at once. Elsewhere the old output is moved away first,
        and `remove_leftovers` puts it back after a death in between.

        Raises:
            OSError: the system refuses; the old output is still there.
        """
        if not self._target.exists() or not _exchange(self.path, self._target):
            self._move_away_and_rename()

    def _move_away_and_rename(self) -> None:
        old = self.path.with_name(self.path.name + OLD)
        if self._target.exists():
            os.replace(self._target, old)
        try:
            os.replace(self.path, self._target)
        except OSError:
            _put_back(old)
            raise
        _remove(old)

    def close(self) -> None:
        """Give the lock up, and remove what is still there under the temporary name."""
        _remove(self.path)
        _made_here.pop(self.path.absolute(), None)
        _close(self._handle)
        self._handle = -1


def put_in_place(made: Path, place: Path) -> None:
    """Give something in a temporary folder its place; what is there goes into that folder.

    On Linux both names are exchanged at once, so that a death leaves the old or the new one.

    Args:
        made: in a temporary folder of the same disk.
        place: where it goes.

    Raises:
        OSError: the system refuses; the old one is in its place.
    """
    if not place.exists():
        os.replace(made, place)
        return
    if _exchange(made, place):
        return
    old = made.with_name(made.name + OLD)
    os.replace(place, old)
    try:
        os.replace(made, place)
    except OSError:
        os.replace(old, place)
        raise


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Keep other processes that ask for it from the folder while the block runs.

    Where the file system or the system has no `flock`, nothing is locked.
    """
    handle = _open(folder)
    try:
        _lock(handle, wait=True)
        yield
    finally:
        _close(handle)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files and folders in `folder` whose processes have died.

    An output that a process moved away to replace it, and died, is put back. What cannot be
    removed is left.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        left = [Path(entry.path) for entry in entries if _OURS.fullmatch(entry.name)]
        for path in sorted(left, reverse=True):  # an old output before the new one beside it
            _remove_if_left(path)


def _put_back(old: Path) -> None:
    """Give an output that was moved away its name again, or remove it if a new one is there."""
    name = old.name[1:].rpartition(_MARK)[0]
    target = old.with_name(name)
    if target.exists():
        _remove(old)
    else:
        with contextlib.suppress(OSError):
            os.rename(old, target)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two files or folders, atomically; False where that is not possible."""
    with contextlib.suppress(OSError, AttributeError):
        rename = ctypes.CDLL(None, use_errno=True).renameat2  # Linux; glibc since 2.28
        names = (os.fsencode(one.absolute()), os.fsencode(other.absolute()))
        return bool(rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0)
    return False


def _remove_if_left(path: Path) -> None:
    owned = path.with_name(path.name.removesuffix(OLD))
    handle = _open(owned)
    try:
        # Removed under the lock, see `_make_locked`.
        if _lock(handle, wait=False) or not os.path.lexists(owned):
            _put_back(path) if path.name.endswith(OLD) else _remove(path)
    finally:
        _close(handle)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


@atexit.register
def _remove_unclosed() -> None:
    """Remove what an interrupt kept from being closed: it may come before anyone has the object."""
    for path, process in list(_made_here.items()):
        if process == os.getpid():
            _remove(path)


def _make(target: Path, folder: bool) -> tuple[Path, int]:
    """A new temporary file or folder beside `target` and its handle, -1 where it has none."""
    name = f".{target.name}"[:200] + _MARK
    while True:
        path = target.with_name(name + os.urandom(4).hex())
        _made_here[path.absolute()] = (
            os.getpid()
        )  # before it exists, so that an interrupt loses none
        try:
            if folder:
                path.mkdir(mode=0o700)
                return path, _open(path)
            return path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY, 0o600)
        except FileExistsError:
            del _made_here[path.absolute()]
        except OSError:
            del _made_here[path.absolute()]
            raise


def _make_locked(target: Path, folder: bool) -> tuple[Path, int]:
    """As `_make`, locked where the file system has locks.

    Another process may take it for one that was left before it is locked, and remove it.
    """
    while True:
        path, handle = _make(target, folder)
        _lock(handle, wait=True)
        if path.exists():
            return path, handle
        _made_here.pop(path.absolute(), None)
        _close(handle)


def _open(path: Path) -> int:
    """A handle of a file or folder; -1 where it cannot be read, as folders on Windows."""
    try:
        return os.open(path, os.O_RDONLY)
    except OSError:
        return -1


def _lock(handle: int, *, wait: bool) -> bool:
    """Lock an open file; False if another process has, or the file system has no locks."""
    if sys.platform == "win32" or handle < 0:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _close(handle: int) -> None:
    if handle >= 0:
        os.close(handle)

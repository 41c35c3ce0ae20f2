"""A cache folder of compiled models whose files are believed only if they are what was written.

OpenVINO checks a compiled model by a header alone: of files with one bit changed, some load and
give other detections. The sha256 of each file is recorded when it was written and compared before
it is used; a folder that others may write to is not used at all.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from ghost_deploy.core.bundle.manifest import sha256_of
from ghost_deploy.core.errors import ExportError
from ghost_deploy.core.files import MAX_TEXT_BYTES, is_private, read_regular, write_whole

_RECORD = "checksums.json"


class CompiledCache:
    """The cache of one model, in a folder below that of the user.

    Args:
        root: the folder for compiled models of this user.
        key: name of the folder in it, by the content of the model and the arithmetic.
    """

    def __init__(self, root: Path, key: str) -> None:
        self.folder = root / key
        self._root = root
        self._verified: dict[str, tuple[int, int]] = {}

    def prepare(self) -> str:
        """Make the folder, and remove files that are not what was written.

        Returns:
            Why the cache cannot be used; empty if it can.
        """
        try:
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.folder.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            return f"no model cache: cannot write {self.folder} ({error.strerror})"
        for folder in (self._root, self.folder):
            if not is_private(folder):
                return f"no model cache: other users may write to {folder}"
        recorded = self._read()
        for file in self._files():
            if _digest(file) == recorded.get(file.name):
                self._verified[file.name] = _state(file)
            else:
                with contextlib.suppress(OSError):
                    file.unlink()
        return ""

    def record(self) -> None:
        """Record the files after a model was compiled or loaded; reads only those that changed."""
        files = self._files()
        if {file.name: _state(file) for file in files} == self._verified:
            return
        checksums = msgspec.json.encode({file.name: _digest(file) for file in files})
        # Without a record the model is compiled again next time.
        with contextlib.suppress(ExportError):
            write_whole(self.folder / _RECORD, lambda opened: opened.write(checksums))

    def _files(self) -> list[Path]:
        try:
            entries = sorted(self.folder.iterdir())
        except OSError:
            return []
        return [each for each in entries if each.name != _RECORD and not each.name.startswith(".")]

    def _read(self) -> dict[str, str]:
        try:
            data = read_regular(self.folder / _RECORD, MAX_TEXT_BYTES)
            return msgspec.json.decode(data, type=dict[str, str])
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return {}


def _digest(file: Path) -> str:
    try:
        return sha256_of(file)
    except OSError:
        return ""


def _state(file: Path) -> tuple[int, int]:
    found = file.lstat()
    return found.st_size, found.st_mtime_ns

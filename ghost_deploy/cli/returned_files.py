"""Which files that a board sends back are outputs of `infer`, and may be put in place here."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from ghost_deploy.core.errors import BoardError
from ghost_deploy.processing.images import IMAGE_SUFFIXES
from ghost_deploy.remote.archive_stream import MOST_BYTES, MOST_FILES
from ghost_deploy.stream.saved.save_forms import FORMS
from ghost_deploy.stream.sinks.record import file_stem

_BY_NAME = 60  # characters of the name of a source that those of its outputs begin with
_TABLES = {
    "classes.txt",
    *(name for form in FORMS.values() for name in form.outputs if "." in name),
}
_FOLDERS = {
    "images": {".json"} | set(IMAGE_SUFFIXES),
    "labels": {".txt"},
    "frames": {".json"},
}


def outputs_of(back: Path, sources: Iterable[Path], *, saved: bool) -> list[str]:
    """The files below a folder that came back, by their names there.

    Args:
        back: the folder.
        sources: files here that were sent.
        saved: results were asked for in forms (`--save`, `--save-uncertain`) besides annotated
            images and videos.

    Raises:
        BoardError: one is no output of these sources, is no plain file, or they are too many.
    """
    known = _Names(sources, saved=saved)
    found: list[str] = []
    size = 0
    for place, folders, names in os.walk(back):
        for name in (*names, *(each for each in folders if (Path(place) / each).is_symlink())):
            path = Path(place) / name
            relative = path.relative_to(back).as_posix()
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode) or not known.fit(relative):
                raise _refused(relative)
            found.append(relative)
            size += status.st_size
            if len(found) > MOST_FILES or size > MOST_BYTES:
                raise _refused(f"more than {MOST_FILES} files or {MOST_BYTES >> 30} GiB")
    return sorted(found)


class _Names:
    """The names that outputs of sources have."""

    def __init__(self, sources: Iterable[Path], *, saved: bool) -> None:
        stems = {stem for path in sources for stem in (path.stem, file_stem(path.stem))}
        # A long name is cut by the file that is made of it.
        starts = {re.escape(s) if len(s) <= _BY_NAME else re.escape(s[:_BY_NAME]) + ".*"
                  for s in stems}  # fmt: skip
        self._stem = re.compile(f"(?:{'|'.join(sorted(starts)) or '(?!)'})(?:-[0-9A-Za-z._+-]*)?")
        self._saved = saved

    def fit(self, name: str) -> bool:
        """Whether this is the name of an output, relative to its folder."""
        parts = name.split("/")
        path = Path(parts[-1])
        suffix = path.suffix.lower()
        if len(parts) == 1:
            annotated = suffix in IMAGE_SUFFIXES or suffix == ".mp4"
            return (annotated and self._ours(path)) or (self._saved and name in _TABLES)
        if not self._saved:
            return False
        if len(parts) == 2:
            return suffix in _FOLDERS.get(parts[0], ()) and self._ours(path)
        crop = len(parts) == 3 and parts[0] == "crops" and not parts[1].startswith(".")
        return crop and suffix == ".jpg" and self._ours(path)

    def _ours(self, path: Path) -> bool:
        stem = path.stem
        # Lines of tables have no surrogates, see `ImageNames`.
        return self._stem.fullmatch(stem) is not None


def _refused(got: str) -> BoardError:
    return BoardError(
        "the board sent back what is no output of the files that were sent to it, and nothing of "
        "it was written",
        got=got[:300],
        expected="images, videos and results that are named after their sources",
        fix="Check the board: what runs there is not this version of ghost-deploy, or was changed",
    )

"""The folder of DeepStream's files in the place of one that was written before."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.leftovers import put_in_place
from ghost_deploy.runtimes.tensorrt.calibration_cache import CACHE_FILE

PARSER = "nvdsinfer_ghost_deploy.cpp"
"""Source of the output parser; it is compiled on the device against DeepStream's headers."""

LIBRARY = "libnvdsinfer_ghost_deploy.so"
"""What it is compiled to."""

_STEM, _, _END = CACHE_FILE.rpartition(".")
_OURS = re.compile(
    rf"{re.escape(LIBRARY)}|config_infer_(fp16|fp32|int8|int8_cache)\.txt|model[.-].*\.onnx"
    rf"|{re.escape(_STEM)}(\..*)?\.{_END}|.*\.engine"
)
"""Names of what is written, and of what is built of it: an engine of the model before would run."""


def require_free(root: Path, *, overwrite: bool) -> None:
    """Require that the folder may be written.

    Args:
        root: the folder.
        overwrite: one that was written before may be there.

    Raises:
        UsageError: it holds something else, or something and `overwrite` is False.
    """
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return
    if not (root / PARSER).is_file():
        raise UsageError(
            f"{root} exists already, and is no folder for DeepStream", fix="Choose another folder"
        )
    if not overwrite:
        raise UsageError(
            f"{root} exists already", fix="Add --overwrite to replace it, or choose another folder"
        )


def put_folder(made: Path, place: Path) -> None:
    """Move the folder that was made to its place.

    What others put into the folder that is there stays; what was written before or built of that
    does not.

    Args:
        made: in a scratch folder of the same disk, where the old one is left.
        place: where it goes.

    Raises:
        OSError: the disk refuses; the old folder is in its place.
    """
    for path in place.iterdir() if place.exists() else ():
        if _OURS.fullmatch(path.name) or (made / path.name).exists():
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, made / path.name, symlinks=True)
        else:
            shutil.copy2(path, made / path.name, follow_symlinks=False)
    put_in_place(made, place)

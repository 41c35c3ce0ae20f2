"""The images listed in a YOLO data.yaml; labels are not read here.

The rules are those of Ultralytics 8.4.190 (data/utils.py, data/base.py). Not imported by
`ghost_deploy.processing`: PyYAML is not needed to run a model.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ghost_deploy.core.errors import InputError, MissingExtraError
from ghost_deploy.core.files import MAX_TEXT_BYTES, is_regular, read_regular
from ghost_deploy.processing.images import IMAGE_SUFFIXES

_NOT_SPLITS = frozenset({"path", "names", "nc", "channels", "download", "yaml_file"})

_SUFFIXES = frozenset({*IMAGE_SUFFIXES, ".dng", ".heic", ".heif", ".mpo"})
"""Those that Ultralytics takes; an image that cannot be read is not left out silently."""

MissingImage = tuple[str, str]
"""The file and line that list an image, and the problem with it."""


def read_description(file: Path) -> Mapping[str, Any]:
    """Read a data.yaml.

    Raises:
        MissingExtraError: PyYAML is not installed.
        InputError: the file cannot be read, or is not a mapping.
    """
    try:
        from ghost_deploy.processing.strict_yaml import load_yaml
    except ImportError as error:
        raise MissingExtraError.for_extra("PyYAML", "validate") from error
    try:
        content = load_yaml(read_regular(file, MAX_TEXT_BYTES))
    except (OSError, ValueError) as error:
        raise InputError(
            f"the data set description {file} cannot be read",
            got=" ".join(str(error).split()),
            expected="a data.yaml of the YOLO form, or a COCO JSON",
            fix="Check the path and the file",
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            f"{file} does not describe a data set of the YOLO form",
            got=type(content).__name__,
            expected="keys such as `path`, `val` and `names`",
            fix="Correct the file; see the data.yaml that the model was trained with",
        )
    return {str(key): value for key, value in content.items()}


def splits(description: Mapping[str, Any]) -> list[str]:
    """The keys of a description that list images."""
    return [key for key, value in description.items() if key not in _NOT_SPLITS and value]


def split_images(
    file: Path, description: Mapping[str, Any], split: str
) -> tuple[list[Path], list[MissingImage]]:
    """Return the images of a split, sorted, and the listed ones that are missing.

    A relative `path` starts at the folder of the data.yaml; a split is a folder (searched
    recursively, through links too), a text file that lists images, or a list of these.

    Args:
        file: the data.yaml.
        description: its content.
        split: the key of the split.

    Raises:
        InputError: unknown split, a missing folder or list, or no images.
    """
    entries = description.get(split)
    if not entries:
        known = ", ".join(key for key in description if key not in _NOT_SPLITS)
        raise InputError(
            f"{file} has no split {split!r}",
            got=known or "no split at all",
            fix="Name one of those: --split NAME",
        )
    root = file.parent / str(description.get("path") or ".")
    found: list[Path] = []
    absent: list[MissingImage] = []
    for entry in entries if isinstance(entries, list) else [entries]:
        place = _place(root, str(entry), file)
        if place.is_dir():
            found += [p for p in _files_below(place) if p.suffix.lower() in _SUFFIXES]
        else:
            there, missing = listed_images(place, root)
            found += there
            absent += missing
    if not found:
        raise InputError(
            f"the split {split!r} of {file} has no images",
            got=f"{entries!r} in {root}",
            expected=f"files named {' '.join(sorted(_SUFFIXES))}",
            fix="Check the paths in the file",
        )
    return sorted(set(found)), absent


def _files_below(folder: Path, above: frozenset[str] = frozenset()) -> Iterator[Path]:
    """The files of a folder and of those in it, links included; hidden ones are left out.

    A link to a folder that it is in leads to no other images, and is not followed.
    """
    place = os.path.realpath(folder)
    if place in above:
        return
    try:
        entries = sorted(os.listdir(folder))
    except OSError as error:
        raise InputError(
            f"the folder of images {folder} cannot be read",
            got=error.strerror,
            fix="Check its permissions",
        ) from error
    for name in entries:
        path = folder / name
        if name.startswith("."):
            continue
        if path.is_dir():
            yield from _files_below(path, above | {place})
        elif path.is_file():
            yield path


def listed_images(file: Path, root: Path) -> tuple[list[Path], list[MissingImage]]:
    """Return the images listed in a text file with a path per line, and the missing ones.

    Args:
        file: the list; a path that starts with `./` is relative to its folder.
        root: second folder to look for other relative paths in.

    Raises:
        InputError: the list cannot be read.
    """
    try:
        lines = read_regular(file, MAX_TEXT_BYTES).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"the list of images {file} cannot be read",
            got=str(error),
            expected="a folder, or a text file with one image path a line",
            fix="Check the path in the data.yaml",
        ) from error
    found: list[Path] = []
    absent: list[MissingImage] = []
    for index, line in enumerate(lines, 1):
        if not line.strip():
            continue
        bases = [file.parent] if line.startswith("./") else [file.parent, root]
        places = [base / line.strip() for base in bases]
        there = next((place for place in places if is_regular(place)), None)
        if there is None:
            absent.append((f"{file}:{index}", f"no image at {places[0]}"))
        else:
            found.append(there)
    return found, absent


def _place(root: Path, entry: str, file: Path) -> Path:
    # Roboflow exports write ../valid/images for a folder beside the data.yaml.
    candidates = [root / entry, *([root / entry[3:]] if entry.startswith("../") else [])]
    for candidate in candidates:
        # Not `Path.exists`, which raises for a name longer than the file system takes.
        if os.path.exists(candidate):
            return candidate
    raise InputError(
        f"{file} names images that do not exist",
        got=str(candidates[0]),
        fix="Correct `path` or the split; a relative `path` starts at the folder of the file",
    )

"""The YOLO form of a data set: a data.yaml, images, and a text file of labels beside each.

The rules are those of Ultralytics 8.4.190 (data/utils.py, data/base.py), so that the same boxes
are judged as there; what it would silently drop is reported here instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ghost_deploy.core.errors import InputError
from ghost_deploy.core.files import MAX_TEXT_BYTES, read_regular
from ghost_deploy.judge.datasets.dataset import DataSet, LabelledImage
from ghost_deploy.judge.datasets.labels import (
    Box,
    LabelProblem,
    Labels,
    check_box,
    check_problems,
    class_number,
    cut_note,
    is_cut,
    listed,
    number,
)
from ghost_deploy.processing.data_yaml import read_description, split_images
from ghost_deploy.processing.images import IMAGE_SUFFIXES

_COLUMNS = 5


@dataclass
class _Tally:
    """Counts and problems of the label files."""

    problems: list[LabelProblem] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    unlabelled: int = 0
    duplicates: int = 0
    polygons: int = 0


def read_yolo(file: Path, *, split: str = "val", skip_broken: bool = False) -> DataSet:
    """Read one split of a data.yaml.

    `path` is taken relative to the folder of the data.yaml; a split is a folder (searched
    deeply), a text file that lists images, or a list of these. The label file of an image has
    its path with the last folder `images` replaced by `labels`; an image without one shows
    nothing. A row is `class cx cy w h` relative to the image, or `class x y x y x y ...`, a
    polygon, of which the bounding box is taken; equal rows count once.

    Args:
        file: the data.yaml.
        split: which part, as the data.yaml names it.
        skip_broken: leave out label rows that cannot be used; a note lists them.

    Raises:
        MissingExtraError: PyYAML is not installed.
        InputError: the description cannot be used, images are missing, or labels are broken.
    """
    description = read_description(file)
    names, count = _classes(description, file)
    tally = _Tally()
    paths, absent = split_images(file, description, split)
    tally.problems += [LabelProblem(where, what) for where, what in absent]
    images = []
    for path in paths:
        labels = _read_labels(label_file(path), count, tally)
        images.append(LabelledImage(path, labels))
    if tally.unlabelled == len(images):
        raise InputError(
            f"no image of {file} ({split}) has a label file",
            got=f"{len(images)} images",
            expected=f"for example {label_file(paths[0])}",
            fix="Put the labels beside the images: .../images/NAME.jpg and .../labels/NAME.txt",
        )
    broken = check_problems(tally.problems, f"{file} ({split})", skip=skip_broken)
    notes = (*broken, *_notes(tally), *_orphans(paths))
    return DataSet(file.name, "yolo", split, names, tuple(images), notes)


def _unusable(file: Path, got: object, expected: str) -> InputError:
    return InputError(
        f"{file} does not describe a data set of the YOLO form",
        got=got,
        expected=expected,
        fix="Correct the file; see the data.yaml that the model was trained with",
    )


def read_class_names(file: Path) -> tuple[str, ...]:
    """The class names of a data.yaml, by class id.

    Raises:
        InputError: the file cannot be used, or names no classes.
        MissingExtraError: PyYAML is not installed.
    """
    names, _ = _classes(read_description(file), file)
    if not names:
        raise _unusable(file, "no names", "`names`: a list of class names, or ids with names")
    return names


def _classes(description: Mapping[str, Any], file: Path) -> tuple[tuple[str, ...], int]:
    names, count = description.get("names"), description.get("nc")
    if isinstance(names, dict):
        ids = sorted(names, key=str)
        if {str(i) for i in ids} != {str(i) for i in range(len(ids))}:
            raise _unusable(file, f"names {ids}", "class ids 0, 1, 2, ... without a gap")
        names = [names[i] for i in sorted(names, key=int)]
    if names is None:
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise _unusable(file, f"nc {count!r} and no names", "`names`, or `nc` at least")
        return (), count
    if not isinstance(names, list) or not names:
        raise _unusable(file, f"names {names!r}", "a list of class names, or ids with names")
    if count is not None and count != len(names):
        raise _unusable(file, f"nc {count!r} and {len(names)} names", "as many names as `nc` says")
    return tuple(str(name).strip() for name in names), len(names)


def label_file(image: Path) -> Path:
    """The file of the labels of an image: beside it, or below `labels` instead of `images`."""
    parts = list(image.with_suffix(".txt").parts)
    folders = parts[:-1]
    if "images" in folders:
        parts[len(folders) - 1 - folders[::-1].index("images")] = "labels"
    return Path(*parts)


def _read_labels(file: Path, count: int, tally: _Tally) -> Labels:
    try:
        text = read_regular(file, MAX_TEXT_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        tally.unlabelled += 1
        return Labels.of([], [])
    except (OSError, UnicodeDecodeError) as error:
        tally.problems.append(LabelProblem(f"{file}:1", f"cannot be read: {error}"))
        return Labels.of([], [])
    rows = [(i, line.split()) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
    mixed = any(len(words) == _COLUMNS for _, words in rows)
    boxes, class_ids, seen = [], [], set()
    for index, words in rows:
        try:
            class_id, values = _row(words, count, allow_polygon=not mixed)
        except ValueError as error:
            tally.problems.append(LabelProblem(f"{file}:{index}", str(error)))
            continue
        key = (class_id, np.array(values, np.float32).tobytes())
        tally.duplicates += key in seen
        if key in seen:
            continue
        seen.add(key)
        tally.polygons += len(words) > _COLUMNS
        box = _corners(values)
        if is_cut(box):
            tally.cut.append(f"{file.name}:{index}")
        boxes.append(box)
        class_ids.append(class_id)
    return Labels.of(boxes, class_ids)


def _row(words: list[str], count: int, *, allow_polygon: bool) -> tuple[int, list[float]]:
    polygon = len(words) > _COLUMNS + 1 and len(words) % 2 == 1
    if len(words) != _COLUMNS and not (polygon and allow_polygon):
        mixed = "; boxes and polygons are mixed" if polygon else ""
        raise ValueError(f"{len(words)} columns instead of {_COLUMNS}{mixed}")
    class_id = class_number(words[0], count)
    values = [number(word) for word in words[1:]]
    check_box(_corners(values))
    return class_id, values


def _corners(values: list[float]) -> Box:
    if len(values) == _COLUMNS - 1:
        x, y, width, height = values
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    return min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])


def _notes(tally: _Tally) -> list[str]:
    texts = (
        (tally.unlabelled, "images without a label file count as images that show nothing"),
        (tally.duplicates, "rows that repeat another were left out"),
        (tally.polygons, "polygons were replaced by their bounding boxes"),
    )
    return [f"{count} {text}" for count, text in texts if count] + cut_note(tally.cut)


def _orphans(images: list[Path]) -> list[str]:
    """A note on label files beside which there is no image."""
    orphans: list[str] = []
    for folder in sorted({path.parent for path in images}):
        labels = label_file(folder / "x.jpg").parent
        if not labels.is_dir():
            continue
        stems = {p.stem for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES}
        files = (p for p in labels.glob("*.txt") if p.name != "classes.txt")
        orphans += sorted(p.name for p in files if p.stem not in stems)
    if not orphans:
        return []
    return [f"{len(orphans)} label files have no image: {listed(orphans, joint=', ')}"]

"""The COCO form of a data set: one JSON with images, annotations and categories."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ghost_deploy.core.errors import InputError
from ghost_deploy.core.files import is_regular, read_regular
from ghost_deploy.judge.datasets.dataset import DataSet, LabelledImage
from ghost_deploy.judge.datasets.labels import (
    Box,
    LabelProblem,
    Labels,
    check_box,
    check_problems,
    cut_note,
    is_cut,
    listed,
    number,
)

_MAX_SIDE = (1 << 31) - 1
_MAX_BYTES = 2 << 30  # instances_train2017.json of COCO has 0.5 GB


class _Image(msgspec.Struct):
    id: int | str
    file_name: str
    width: int
    height: int


class _Category(msgspec.Struct):
    id: int | str
    name: str


class _Annotation(msgspec.Struct):
    # Any: one broken annotation is to be named, not to make the whole file unreadable.
    id: Any = None
    image_id: Any = None
    category_id: Any = None
    bbox: Any = None
    iscrowd: Any = 0


class _Document(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def read_coco(file: Path, *, images: Path | None = None, skip_broken: bool = False) -> DataSet:
    """Read a COCO JSON.

    Categories become class ids in ascending order of their ids. An image is looked for by its
    `file_name` below `images`, then by the last part of that name. Boxes are x, y, width, height
    in pixels. As in pycocotools, detections in a region with `iscrowd` count neither as found nor
    as false, and equal annotations all count.

    Args:
        file: the JSON.
        images: folder of the images; by default the folder of `file`, `images` in it, or
            `images/NAME` in it for NAME.json, the first one that has the first image.
        skip_broken: leave out annotations that cannot be used; a note lists them.

    Raises:
        InputError: the file cannot be used, images are missing, or annotations are broken.
    """
    document = _read(file)
    _check_ids(document, file)
    folder = _folder(file, images, document.images[0])
    paths = _paths(document.images, folder, file)
    categories = sorted(document.categories, key=lambda c: (isinstance(c.id, str), c.id))
    rows = _rows(document, {c.id: i for i, c in enumerate(categories)}, file)
    broken = check_problems(rows.problems, str(file), skip=skip_broken)
    labelled = tuple(
        LabelledImage(paths[image.id], _labels(rows.usable[image.id]), (image.height, image.width))
        for image in sorted(document.images, key=lambda i: i.file_name)
    )
    names = tuple(category.name.strip() for category in categories)
    return DataSet(file.name, "coco", "", names, labelled, (*broken, *cut_note(rows.cut)))


def _read(file: Path) -> _Document:
    try:
        document = msgspec.json.decode(read_regular(file, _MAX_BYTES), type=_Document)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unusable(file, str(error)) from error
    if not document.images or not document.categories:
        raise _unusable(
            file, f"{len(document.images)} images and {len(document.categories)} categories"
        )
    if not all(1 <= side <= _MAX_SIDE for i in document.images for side in (i.width, i.height)):
        raise _unusable(file, f"an image without width or height, from 1 to {_MAX_SIDE}")
    return document


def _unusable(file: Path, got: str) -> InputError:
    return InputError(
        f"{file} is not a data set of the COCO form",
        got=got,
        expected="images with id, file_name, width and height; annotations; categories with names",
        fix="Check the path and the file; a data.yaml is read too",
    )


def _check_ids(document: _Document, file: Path) -> None:
    kinds: dict[str, Sequence[_Image | _Category]] = {
        "image": document.images,
        "category": document.categories,
    }
    for kind, items in kinds.items():
        twice = [str(i) for i, count in Counter(item.id for item in items).items() if count > 1]
        if twice:
            got = f"{kind} ids that occur more than once: {listed(twice, joint=' ')}"
            raise _unusable(file, got)


def _folder(file: Path, images: Path | None, first: _Image) -> Path:
    if images is not None:
        if os.path.isdir(images):
            return images
        raise InputError(f"there is no folder {images}", fix="Check --images")
    here = file.parent
    folders = (here, here / "images", here / "images" / file.stem)
    for folder in folders:
        if is_regular(folder / first.file_name):
            return folder
    raise InputError(
        f"the images of {file} were not found",
        got=f"no {first.file_name} in {', '.join(map(str, folders))}",
        fix="Name their folder: --images DIR",
    )


def _paths(images: Sequence[_Image], folder: Path, file: Path) -> dict[int | str, Path]:
    paths: dict[int | str, Path] = {}
    missing = []
    for image in images:
        places = (folder / image.file_name, folder / Path(image.file_name).name)
        there = next((place for place in places if is_regular(place)), None)
        if there is None:
            missing.append(image.file_name)
        else:
            paths[image.id] = there
    if missing:
        raise InputError(
            f"{len(missing)} of {len(images)} images of {file} are not in {folder}",
            got=listed(missing, joint=", "),
            fix="Name the folder that has them: --images DIR",
        )
    return paths


@dataclass
class _Rows:
    """The annotations: usable rows by image, problems, and names of those cut by the edge."""

    usable: defaultdict[int | str, list[tuple[Box, int, bool]]]
    problems: list[LabelProblem]
    cut: list[str]


def _rows(document: _Document, classes: Mapping[int | str, int], file: Path) -> _Rows:
    images = {image.id: image for image in document.images}
    rows = _Rows(defaultdict(list), [], [])
    for index, annotation in enumerate(document.annotations):
        image = images.get(_key(annotation.image_id))
        try:
            if image is None:
                raise ValueError(f"no image has the id {annotation.image_id!r}")
            class_id = classes.get(_key(annotation.category_id))
            if class_id is None:
                raise ValueError(f"no category has the id {annotation.category_id!r}")
            box = _box(annotation.bbox, image)
        except ValueError as error:
            place = f" ({image.file_name})" if image else ""
            where = f"{file}: annotations[{index}], id {annotation.id!r}{place}"
            rows.problems.append(LabelProblem(where, str(error)))
            continue
        if is_cut(_relative(box, image)):
            rows.cut.append(f"id {annotation.id!r} ({image.file_name})")
        rows.usable[image.id].append((box, class_id, bool(annotation.iscrowd)))
    return rows


def _key(value: Any) -> int | str:
    """A usable dictionary key of a JSON value; a list or an object never is an id."""
    return value if isinstance(value, (int, str)) else repr(value)


def _box(bbox: Any, image: _Image) -> Box:
    if not isinstance(bbox, list) or len(bbox) != 4:
        raise ValueError(f"bbox {bbox!r} is not x, y, width, height")
    x, y, width, height = (number(value) for value in bbox)
    box = (x, y, x + width, y + height)
    check_box(_relative(box, image))
    return box


def _relative(box: Box, image: _Image) -> Box:
    x1, y1, x2, y2 = box
    return x1 / image.width, y1 / image.height, x2 / image.width, y2 / image.height


def _labels(rows: Sequence[tuple[Box, int, bool]]) -> Labels:
    return Labels.of([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows])

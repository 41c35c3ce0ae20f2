"""Opens a labelled data set of the YOLO or the COCO form."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ghost_deploy.core.errors import InputError, UsageError
from ghost_deploy.core.files import is_regular
from ghost_deploy.core.progress import Progress
from ghost_deploy.judge.datasets.coco import read_coco
from ghost_deploy.judge.datasets.dataset import DataSet
from ghost_deploy.judge.datasets.yolo import read_yolo
from ghost_deploy.processing.broken_images import OnBroken, readable_images

_YAML = frozenset({".yaml", ".yml"})


def open_dataset(
    data: str | os.PathLike[str],
    *,
    split: str = "val",
    images: str | os.PathLike[str] | None = None,
    skip_broken: bool = False,
) -> DataSet:
    """Read a data.yaml of the YOLO form or a JSON of the COCO form.

    Args:
        data: the file; its suffix decides the form.
        split: which part of a data.yaml.
        images: folder of the images of a COCO JSON.
        skip_broken: leave out labels that cannot be used; a note lists them.

    Raises:
        UsageError: neither of the two, or `images` for a data.yaml.
        InputError: it cannot be used; broken labels are listed by file and line.
        MissingExtraError: PyYAML is not installed.
    """
    file = Path(data)
    if os.path.isdir(file):
        file = file / "data.yaml"
    if not is_regular(file):
        raise InputError(f"there is no data set description {file}", fix="Check the path")
    if file.suffix.lower() in _YAML:
        if images is not None:
            raise UsageError(
                "--images belongs to a COCO JSON",
                got=f"{file}",
                fix="Leave it out: a data.yaml names its images itself",
            )
        return read_yolo(file, split=split, skip_broken=skip_broken)
    if file.suffix.lower() == ".json":
        return read_coco(
            file, images=Path(images) if images is not None else None, skip_broken=skip_broken
        )
    raise UsageError(
        f"{file} is neither of the known forms",
        expected="data.yaml (YOLO) or a .json (COCO)",
        fix="Name the description of the data set, not its images",
    )


def readable_data(dataset: DataSet, on_broken: OnBroken, progress: Progress | None) -> DataSet:
    """The data set without images that cannot be read, which a note lists.

    Args:
        dataset: its images are decoded once.
        on_broken: `stop` raises instead.
        progress: called for each image.

    Raises:
        ImageError: an image cannot be read and `on_broken` is `stop`, or none can be read.
        UsageError: `on_broken` is neither `skip` nor `stop`.
    """
    found = readable_images([image.path for image in dataset.images], on_broken, progress)
    if not found.broken:
        return dataset
    usable = set(found.paths)
    images = tuple(image for image in dataset.images if image.path in usable)
    return replace(dataset, images=images, notes=(*dataset.notes, found.note))

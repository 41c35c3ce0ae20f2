"""Labelled images for a board: the images of the chosen split and what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import msgspec

from ghost_deploy.judge.datasets.dataset import DataSet
from ghost_deploy.remote.job import SentFiles

_IMAGES = "images"


class _CocoImage(msgspec.Struct):
    file_name: str


class _Coco(msgspec.Struct):
    images: list[_CocoImage]


def data_for_board(data: Path, dataset: DataSet, scratch: Path) -> tuple[SentFiles, str]:
    """A data set as a board gets it: other folders, the same names, labels and order.

    Args:
        data: the description.
        dataset: what it says, with the images here.
        scratch: folder for a description that is made to be sent.

    Returns:
        What goes over, and the folder of the images below it; empty where the description says.
    """
    if dataset.form == "coco":
        return _coco(data, dataset), _IMAGES
    return _yolo(data, dataset, scratch), ""


def _coco(data: Path, dataset: DataSet) -> SentFiles:
    document = msgspec.json.decode(data.read_bytes(), type=_Coco)
    # As `read_coco` orders them.
    names = sorted(image.file_name for image in document.images)
    files = {data.name: data}
    for name, image in zip(names, dataset.images, strict=True):
        files[f"{_IMAGES}/{_inside(name)}"] = image.path
    return SentFiles(files, data.name)


def _inside(name: str) -> str:
    """A name that leads nowhere else; `read_coco` also looks for the last part alone."""
    parts = PurePosixPath(name).parts
    return "/".join(parts) if parts[0] != "/" and ".." not in parts else parts[-1]


def _yolo(data: Path, dataset: DataSet, scratch: Path) -> SentFiles:
    from ghost_deploy.judge.datasets.yolo import label_file

    files: dict[str, Path] = {}
    names = []
    width = len(str(len(dataset.images)))
    for index, image in enumerate(dataset.images):
        name = f"{_IMAGES}/{index:0{width}}/{image.path.name}"  # images are sorted by their paths
        names.append(f"./{name}")
        files[name] = image.path
        labels = label_file(image.path)
        if labels.is_file():
            files[f"labels/{index:0{width}}/{labels.name}"] = labels
    files["images.txt"] = _written(scratch / "images.txt", "\n".join(names) + "\n")
    described = {"path": ".", dataset.split: "images.txt", **_classes(dataset)}
    # JSON is YAML, with any name in quotes.
    text = msgspec.json.encode(described).decode()
    files[dataset.name] = _written(scratch / dataset.name, text)
    return SentFiles(files, dataset.name, f"{data.absolute()}\0{dataset.split}")


def _classes(dataset: DataSet) -> dict[str, Sequence[str] | int]:
    if dataset.class_names:
        return {"names": list(dataset.class_names)}
    used = [int(i) for image in dataset.images for i in image.labels.class_id]
    return {"nc": max(used, default=0) + 1}


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path

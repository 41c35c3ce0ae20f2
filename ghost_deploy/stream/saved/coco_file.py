"""One COCO file, `coco.json`: images, categories, and detections as annotations with a score."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ghost_deploy.core.detections import Detections
from ghost_deploy.stream.saved.saved_image import FormWriter, SavedImage
from ghost_deploy.stream.saved.whole_file import WholeFile

_FIRST_ID = 1  # pycocotools takes 0 for "none"


class CocoFile(FormWriter):
    """Writes one file that pycocotools loads as a data set; `annotations` alone are results.

    Boxes are x, y, width, height in pixels of the upright image. The category of a class is its
    id + 1, as in `Detections.to_coco`.

    Args:
        folder: of the results.
        class_names: by class id.

    Raises:
        InputError: the system refuses.
    """

    def __init__(self, folder: Path, class_names: tuple[str, ...]) -> None:
        self._class_names = class_names
        self._annotations = WholeFile(folder / "coco.json")
        self._images: list[bytes] = []

    def write(self, saved: SavedImage) -> None:
        """Take one image."""
        image_id = len(self._images) + _FIRST_ID
        height, width = saved.frame.size_hw
        image = {"id": image_id, "file_name": saved.file_name, "width": width, "height": height}
        self._images.append(msgspec.json.encode(image))
        for row in coco_rows(saved.detections, image_id):
            number = self._annotations.parts + _FIRST_ID
            self._annotations.add(msgspec.json.encode({"id": number, **row}), b",\n")

    def close(self) -> None:
        """Write the file."""
        categories = [
            {"id": i, "name": name} for i, name in enumerate(self._class_names, _FIRST_ID)
        ]
        info = {"description": "detections", "contributor": "ghost-deploy"}
        head = b'{"info":%b,\n"categories":%b,\n"images":[\n%b],\n"annotations":[\n' % (
            msgspec.json.encode(info),
            msgspec.json.encode(categories),
            b",\n".join(self._images),
        )
        self._annotations.finish(head, b"]}\n")

    def abandon(self) -> None:
        """Leave no file."""
        self._annotations.abandon()


def coco_rows(found: Detections, image_id: int) -> list[dict[str, object]]:
    """Annotations without ids; those of tracked objects have a `track_id`."""
    rows: list[dict[str, object]] = []
    for row, each in zip(found.to_coco(image_id), found, strict=True):
        width, height = row["bbox"][2:]
        track = {"track_id": each.track_id} if each.track_id else {}
        if width > 0 and height > 0:
            rows.append({**row, "area": width * height, "iscrowd": 0, **track})
    return rows

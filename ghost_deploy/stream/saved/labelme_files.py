"""LabelMe files: `images/NAME.json` beside `images/NAME.jpg`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ghost_deploy.stream.saved.saved_image import FormWriter, SavedImage
from ghost_deploy.stream.sinks.sink import write_file

_VERSION = "5.5.0"


class LabelmeFiles(FormWriter):
    """Writes the detections of each image as rectangles, with the score as their description.

    Args:
        folder: of the results.
        class_names: not used; the rectangles have the names.
    """

    def __init__(self, folder: Path, class_names: tuple[str, ...]) -> None:
        del class_names
        self._folder = folder / "images"

    def write(self, saved: SavedImage) -> None:
        """Write the file of one image.

        Raises:
            InputError: the system refuses.
        """
        document = msgspec.json.encode(labelme_document(saved))
        write_file(self._folder / f"{saved.stem}.json", msgspec.json.format(document, indent=1))


def labelme_document(saved: SavedImage) -> dict[str, object]:
    """The document of LabelMe 5 for one image; points are pixels of the upright image."""
    height, width = saved.frame.size_hw
    shapes: list[dict[str, object]] = [
        {
            "label": each.name,
            "points": [list(each.xyxy[:2]), list(each.xyxy[2:])],
            "group_id": each.track_id or None,
            "description": f"{each.score:.3f}",
            "shape_type": "rectangle",
            "flags": {},
            "mask": None,
        }
        for each in saved.detections
    ]
    return {
        "version": _VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": saved.file_name,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }

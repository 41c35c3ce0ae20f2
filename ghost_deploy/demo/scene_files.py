"""Scenes as files: images and a COCO JSON of labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import msgspec

from ghost_deploy.demo.scenes import CLASS_NAMES, Scene, make_scene

LABELS = "annotations.json"
"""Name of the label file, beside the folder `images`."""

_QUALITY = 92


def write_scenes(
    folder: Path, seeds: Sequence[int], progress: Callable[[str, int, int], None] | None = None
) -> list[Path]:
    """Draw scenes and write `images/*.jpg` and `annotations.json` to a folder.

    Args:
        folder: created if missing; existing files of the same names are replaced.
        seeds: of the scenes, one image each.
        progress: called before each scene with a description, the index and the total.

    Returns:
        The image files, in the order of the seeds.

    Raises:
        OSError: a file cannot be written.
    """
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    paths, entries = [], []
    for done, seed in enumerate(seeds):
        if progress:
            progress("drawing scenes", done, len(seeds))
        scene = make_scene(seed)
        path = images / f"scene{seed:05}.jpg"
        _, data = cv2.imencode(".jpg", scene.image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        path.write_bytes(data.tobytes())
        paths.append(path)
        entries.append(_entry(done + 1, path.name, scene))
    (folder / LABELS).write_bytes(msgspec.json.encode(_document(entries)))
    return paths


def _entry(image_id: int, name: str, scene: Scene) -> dict[str, Any]:
    """The COCO entry of an image, and those of its objects without ids."""
    height, width = scene.image.shape[:2]
    rows = zip(scene.boxes.tolist(), scene.class_ids.tolist(), strict=True)
    return {
        "image": {"id": image_id, "file_name": name, "width": width, "height": height},
        "objects": [
            {
                "image_id": image_id,
                "category_id": class_id + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
            }
            for (x1, y1, x2, y2), class_id in rows
        ],
    }


def _document(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    objects = [record for entry in entries for record in entry["objects"]]
    return {
        "images": [entry["image"] for entry in entries],
        "annotations": [{"id": i, **record} for i, record in enumerate(objects, 1)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(CLASS_NAMES, 1)],
    }

"""YOLO label files: `labels/NAME.txt` for `images/NAME.jpg`, data.yaml and classes.txt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from ghost_deploy.core.detections import Detections
from ghost_deploy.stream.saved.saved_image import FormWriter, SavedImage
from ghost_deploy.stream.sinks.sink import write_file


class YoloFiles(FormWriter):
    """Writes a data set of the YOLO form.

    A row is `class cx cy w h`, relative to the upright image. An image without detections has an
    empty file. `data.yaml` and `classes.txt` name the classes; all of it can be moved together.

    Args:
        folder: of the results.
        class_names: by class id.

    Raises:
        InputError: the system refuses.
    """

    with_scores: ClassVar[bool] = False

    def __init__(self, folder: Path, class_names: tuple[str, ...]) -> None:
        self._labels = folder / "labels"
        write_file(folder / "data.yaml", data_yaml(class_names))
        lines = [" ".join(name.split()) + "\n" for name in class_names]
        write_file(folder / "classes.txt", "".join(lines).encode())

    def write(self, saved: SavedImage) -> None:
        """Write the label file of one image."""
        rows = yolo_rows(saved.detections, saved.frame.size_hw, with_scores=self.with_scores)
        write_file(self._labels / f"{saved.stem}.txt", "".join(rows).encode())


class YoloScoreFiles(YoloFiles):
    """Writes the score as the sixth column of a row, as Ultralytics does with `save_conf`.

    Data sets to train or validate with have five.
    """

    with_scores = True


def data_yaml(class_names: Sequence[str]) -> bytes:
    """The description of a data set whose images are in `images` beside it."""
    names = [f"  {i}: {_yaml_text(name)}" for i, name in enumerate(class_names)]
    head = ["train: images", "val: images", f"nc: {len(names)}", "names:"]
    return "\n".join([*head, *names, ""]).encode()


def _yaml_text(name: str) -> str:
    """A text in quotes, whatever it holds: not JSON, whose surrogate pairs YAML does not join."""
    plain = {char: chr(char) for char in range(0x20, 0x7F)} | {0x22: r"\"", 0x5C: r"\\"}
    return '"' + "".join(plain.get(ord(c)) or _escaped(ord(c)) for c in name) + '"'


def _escaped(char: int) -> str:
    return f"\\u{char:04x}" if char < 0x10000 else f"\\U{char:08x}"


def yolo_rows(
    found: Detections, size_hw: tuple[int, int], *, with_scores: bool = False
) -> list[str]:
    """Lines `class cx cy w h` or, with scores, `class cx cy w h score`, best first.

    A box without area in six decimals has none.

    Args:
        found: boxes in pixels.
        size_hw: (height, width) of their image, pixels.
        with_scores: write the score.
    """
    height, width = size_hw
    rows = []
    for each in found:
        x1, y1, x2, y2 = each.xyxy
        w, h = (x2 - x1) / width, (y2 - y1) / height
        if min(round(w, 6), round(h, 6)) <= 0:
            continue
        cx, cy = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height
        score = f" {each.score:.6g}" if with_scores else ""
        rows.append(f"{each.class_id} {cx:.6f} {cy:.6f} {w:.6f} {h:.6f}{score}\n")
    return rows

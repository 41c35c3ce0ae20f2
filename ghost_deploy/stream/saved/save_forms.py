"""The forms in which results are saved, one row each.

To add a form: a module with a class that is an `OpenForm`, and a row in `FORMS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.lookup import entry_of

if TYPE_CHECKING:
    from ghost_deploy.stream.saved.saved_image import FormWriter, OpenForm


@dataclass(frozen=True)
class SaveForm:
    """A form of results.

    Attributes:
        help: what is written.
        writer: `module.name` of an `OpenForm`.
        outputs: files and folders that it makes.
        with_images: the images themselves belong to it, in `images`.
    """

    help: str
    writer: str
    outputs: tuple[str, ...]
    with_images: bool = False

    def open(self, folder: Path, class_names: tuple[str, ...]) -> FormWriter:
        """Open the form in `folder`."""
        module, _, name = self.writer.partition(".")
        home = importlib.import_module(f"ghost_deploy.stream.saved.{module}")
        opener: OpenForm = getattr(home, name)
        return opener(folder, class_names)


FORMS = {
    "yolo": SaveForm(
        "images/, labels/, data.yaml", "yolo_files.YoloFiles", ("labels", "data.yaml"), True
    ),
    "yolo-conf": SaveForm(
        "the same with scores", "yolo_files.YoloScoreFiles", ("labels", "data.yaml"), True
    ),
    "coco": SaveForm("images/, coco.json", "coco_file.CocoFile", ("coco.json",), True),
    "labelme": SaveForm(
        "images/ with a JSON file each", "labelme_files.LabelmeFiles", ("images",), True
    ),
    "csv": SaveForm("detections.csv", "csv_table.CsvTable", ("detections.csv",)),
    "crops": SaveForm("the cut-outs in crops/CLASS", "crop_files.CropFiles", ("crops",)),
}
"""By the name that the user gives."""


def parse_forms(words: str | Sequence[str], *others: str) -> tuple[str, ...]:
    """The names of forms, each once, in the order in which they are named.

    Args:
        words: names, or texts of several with commas.
        others: further names that are known.

    Raises:
        UsageError: there is no such form, or none is named.
    """
    texts = [words] if isinstance(words, str) else words
    names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
    for name in names:
        entry_of({**dict.fromkeys(others), **FORMS}, name, "form of results")
    if not names:
        known = ", ".join((*others, *FORMS))
        raise UsageError("no form of results is named", expected=known, fix="Name one of those")
    if {"yolo", "yolo-conf"} <= set(names):
        raise UsageError(
            "yolo and yolo-conf write the same label files",
            fix="Name yolo for a data set to train or label, yolo-conf for scores",
        )
    return tuple(dict.fromkeys(names))

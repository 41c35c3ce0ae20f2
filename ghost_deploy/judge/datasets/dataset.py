"""Labelled images of any form."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import InputError
from ghost_deploy.core.evidence.accuracy import DatasetFacts
from ghost_deploy.judge.datasets.labels import Labels


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """An image file and its objects.

    Attributes:
        path: the file.
        labels: its objects; empty for an image without any.
        size_hw: (height, width) that the labels were made for, in pixels; None where the labels
            are relative to the image, 0 to 1.
    """

    path: Path
    labels: Labels
    size_hw: tuple[int, int] | None = None

    def boxes_px(self, size_hw: tuple[int, int]) -> NDArray[np.float64]:
        """The boxes, (N, 4) x1 y1 x2 y2, in pixels of the image as it was read.

        Args:
            size_hw: (height, width) of the image as it was read.

        Raises:
            InputError: the labels were made for an image of another size.
        """
        if self.size_hw is None:
            height, width = size_hw
            return self.labels.xyxy * np.array([width, height, width, height], np.float64)
        if self.size_hw != size_hw:
            raise InputError(
                f"the image {self.path} is not the one that was labelled",
                got=f"{size_hw[1]} x {size_hw[0]} pixels",
                expected=f"{self.size_hw[1]} x {self.size_hw[0]}, as its labels say",
                fix="Check --images; an image with an EXIF rotation must be labelled upright",
            )
        return self.labels.xyxy


@dataclass(frozen=True, eq=False)
class DataSet:
    """Labelled images of one split.

    Attributes:
        name: file name of the description.
        form: `yolo` or `coco`.
        split: the part that was read; empty for the COCO form.
        class_names: by class id; empty where the description gives only their number.
        images: in a fixed order.
        notes: for the report, e.g. on labels that were left out.
    """

    name: str
    form: str
    split: str
    class_names: tuple[str, ...]
    images: tuple[LabelledImage, ...]
    notes: tuple[str, ...] = ()

    @property
    def num_boxes(self) -> int:
        """Objects that count: crowd regions do not."""
        return sum(int((~image.labels.crowd).sum()) for image in self.images)

    def facts(self) -> DatasetFacts:
        """A summary for the report."""
        counts: Counter[int] = Counter()
        for image in self.images:
            counts.update(image.labels.class_id[~image.labels.crowd].tolist())
        names = self.class_names or [str(i) for i in range(max(counts, default=-1) + 1)]
        return DatasetFacts(
            name=self.name,
            form=self.form,
            split=self.split,
            images=len(self.images),
            negatives=sum(len(image.labels) == 0 for image in self.images),
            boxes={name: counts[i] for i, name in enumerate(names)},
            crowds=sum(int(image.labels.crowd.sum()) for image in self.images),
            fingerprint=_fingerprint(self.images),
            notes=self.notes,
        )

    def for_model(self, class_names: Sequence[str], *, by_name: bool = False) -> DataSet:
        """The same data set with the class ids of a model.

        Args:
            class_names: of the model, by class id.
            by_name: match classes by name where their order or number differs; a class of the
                data set that the model does not know must then be without any object.

        Raises:
            InputError: the classes are not the model's.
        """
        names = tuple(class_names)
        if not self.class_names:
            note = f"{self.name} names no classes: their order is taken to be the model's"
            return replace(self, class_names=names, notes=(*self.notes, note))
        if self.class_names == names:
            return self
        if not by_name:
            raise self._other_classes(names)
        return self._renumbered(names)

    def _renumbered(self, names: tuple[str, ...]) -> DataSet:
        if len(set(names)) < len(names) or len(set(self.class_names)) < len(self.class_names):
            raise InputError(
                "classes cannot be matched by name: a name occurs twice",
                got=f"{list(self.class_names)} and {list(names)}",
                fix="Write the data set's classes in the order of the model's, and do not match",
            )
        used = {int(i) for image in self.images for i in np.unique(image.labels.class_id)}
        unknown = sorted(self.class_names[i] for i in used if self.class_names[i] not in names)
        missing = sorted(set(names) - set(self.class_names))
        if unknown or missing:
            raise InputError(
                f"the classes of {self.name} cannot be matched with the model's by name",
                got=f"labelled, but not the model's: {unknown}; absent from the data: {missing}",
                expected=f"the same names as the model's {list(names)}",
                fix="Rename the classes in the data set's description, or use the right data set",
            )
        ids = {old: names.index(name) for old, name in enumerate(self.class_names) if name in names}
        images = tuple(replace(i, labels=i.labels.renumbered(ids)) for i in self.images)
        note = f"classes were matched by name: {self.name} has the order {list(self.class_names)}"
        return replace(self, class_names=names, images=images, notes=(*self.notes, note))

    def _other_classes(self, names: tuple[str, ...]) -> InputError:
        reordered = sorted(self.class_names) == sorted(names)
        if reordered:
            what = f"the classes of {self.name} are the model's in another order"
            fix = "Match them by name: --map-classes"
        elif len(self.class_names) != len(names):
            what = f"{self.name} has {len(self.class_names)} classes, the model has {len(names)}"
            fix = "Use the model's own data set; --map-classes matches classes by name"
        else:
            what = f"the classes of {self.name} are not the model's"
            fix = "Use the model's own data set, or rename the classes in its description"
        return InputError(what, got=list(self.class_names), expected=list(names), fix=fix)


def _fingerprint(images: Sequence[LabelledImage]) -> str:
    digest = hashlib.sha256()
    for image in images:
        labels = image.labels
        digest.update(os.fsencode(image.path.name) + b"\0")
        for column in (labels.xyxy, labels.class_id, labels.crowd):
            digest.update(np.ascontiguousarray(column).tobytes() + b"\0")
    return digest.hexdigest()

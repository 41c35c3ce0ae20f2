"""The classes that two models have in common, and labels and detections in terms of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import InputError, UsageError
from ghost_deploy.judge.accuracy.measure import Detect
from ghost_deploy.judge.datasets.dataset import DataSet
from ghost_deploy.judge.datasets.labels import Labels


@dataclass(frozen=True)
class CommonClasses:
    """Names that both models have, in the order of the old one.

    Attributes:
        names: of the classes that are compared.
        left_out: those of one model only.
    """

    names: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    @classmethod
    def of(cls, old: Sequence[str], new: Sequence[str], *, by_name: bool) -> CommonClasses:
        """Equal lists as they are; others by name, if `by_name` or if only the order differs.

        Raises:
            UsageError: the lists differ and `by_name` is not set.
            InputError: they cannot be matched by name.
        """
        if tuple(old) == tuple(new):
            return cls(tuple(old))
        left_out = tuple(sorted(set(old) ^ set(new)))
        if left_out and not by_name:
            raise UsageError(
                "the models have different classes",
                got=f"only the old one: {_listed(set(old) - set(new))}; only the new one: "
                f"{_listed(set(new) - set(old))}",
                fix="Compare those that both have, by name: --map-classes (map_classes=True)",
            )
        names = tuple(name for name in old if name in new)
        if not names or len(set(old)) < len(old) or len(set(new)) < len(new):
            raise InputError(
                "the classes of the models cannot be matched by name",
                got=f"{list(old)} and {list(new)}",
                expected="names in common, each once in a model",
                fix="Compare models of the same task",
            )
        return cls(names, left_out)

    def data(self, dataset: DataSet, class_names: Sequence[str], *, by_name: bool) -> DataSet:
        """The data set with these classes; labels of others are left out.

        Args:
            dataset: with the classes of a model, or with those of both in any order.
            class_names: of the old model: those of a data set that names none.
            by_name: match the classes of the data set by name where they are not the old model's.

        Raises:
            InputError: the data set has not all of these classes.
        """
        if not self.left_out or not dataset.class_names:
            own = dataset.for_model(class_names, by_name=by_name)
            return own if tuple(class_names) == self.names else self._restricted(own)
        return self._restricted(dataset)

    def detect(self, detect: Detect, class_names: Sequence[str]) -> Detect:
        """`detect` of a model with `class_names`, in terms of these classes."""
        if tuple(class_names) == self.names:
            return detect
        ids = self._ids(class_names)

        def common(images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
            return [self._renumbered(found, ids) for found in detect(images)]

        return common

    def _ids(self, class_names: Sequence[str]) -> NDArray[np.int32]:
        """The id here of each class there; -1 for one that is left out."""
        ids = [self.names.index(name) if name in self.names else -1 for name in class_names]
        return np.array(ids, np.int32)

    def _renumbered(self, found: Detections, ids: NDArray[np.int32]) -> Detections:
        kept = found[ids[found.class_id] >= 0]
        return Detections(kept.xyxy, kept.score, ids[kept.class_id], self.names)

    def _restricted(self, dataset: DataSet) -> DataSet:
        missing = sorted(set(self.names) - set(dataset.class_names))
        if missing:
            raise InputError(
                f"{dataset.name} lacks classes that both models have",
                got=_listed(missing),
                expected=list(self.names),
                fix="Use a data set with these classes, or rename them in its description",
            )
        ids = self._ids(dataset.class_names)
        images = tuple(replace(i, labels=_kept(i.labels, ids)) for i in dataset.images)
        return replace(dataset, class_names=self.names, images=images)


def _kept(labels: Labels, ids: NDArray[np.int32]) -> Labels:
    new = ids[labels.class_id]
    kept = new >= 0
    return Labels(labels.xyxy[kept], new[kept], labels.crowd[kept])


def _listed(names: Sequence[str] | set[str]) -> str:
    return ", ".join(sorted(names)) or "none"

"""Detections of `infer` as tables."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ghost_deploy.cli.console import Column, Console
from ghost_deploy.cli.format import plural

if TYPE_CHECKING:
    from ghost_deploy.core.detections import Detections
    from ghost_deploy.core.frame import Frame

SUMMARY_SCHEMA = 1
"""Version of the form of what `infer --json` prints."""

_MOST_ROWS = 20
_NUMBER = True


class Summary:
    """Counts by image and by class; for a single image the boxes. Images are not kept."""

    def __init__(self) -> None:
        self._images: list[tuple[str, Counter[str]]] = []
        self._only: Detections | None = None

    @property
    def images(self) -> int:
        """How many results were added."""
        return len(self._images)

    def add(self, frame: Frame, found: Detections) -> None:
        """Add the result of one image."""
        self._only = found if not self._images else None
        self._images.append((frame.source, Counter(found.names)))

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Summary:
        """The counts of a `document`, which has no boxes."""
        summary = cls()
        summary._images = [
            (image["source"], Counter(image["classes"])) for image in document["images"]
        ]
        return summary

    def print(self, console: Console, to: IO[str]) -> None:
        """Print the table to `to`: of boxes for one image, of images and of classes for more."""
        if self._only is not None:
            self._print_boxes(console, to, self._only)
        elif self._images:
            self._print_images(console, to)
            self._print_classes(console, to)
        count = sum(counts.total() for _, counts in self._images)
        print(f"{plural(len(self._images), 'image')}, {plural(count, 'detection')}", file=to)

    def document(self, unreadable: Sequence[str] = ()) -> dict[str, object]:
        """The same counts as plain values, for JSON.

        Args:
            unreadable: why images could not be read.
        """
        total: Counter[str] = Counter()
        for _, counts in self._images:
            total.update(counts)
        return {
            "schema": SUMMARY_SCHEMA,
            "detections": total.total(),
            "classes": dict(total.most_common()),
            "images": [
                # A file name that is not UTF-8 holds surrogates, which JSON cannot.
                {"source": os.fsencode(source).decode("utf-8", "replace"), "classes": counts}
                for source, counts in self._images
            ],
            "unreadable": list(unreadable),
        }

    def _print_boxes(self, console: Console, to: IO[str], found: Detections) -> None:
        if not len(found):
            return
        columns = [Column("class"), Column("score", _NUMBER)]
        columns += [Column(side, _NUMBER) for side in ("x1", "y1", "x2", "y2")]
        shown = found[:_MOST_ROWS]
        rows = [
            [name, f"{score:.3f}", *(f"{side:.1f}" for side in box)]
            for name, score, box in zip(shown.names, shown.score, shown.xyxy, strict=True)
        ]
        console.table(columns, rows, to=to)
        _print_rest(len(found), "detections", to)

    def _print_images(self, console: Console, to: IO[str]) -> None:
        rows = [
            [
                Path(source).name,
                str(counts.total()),
                ", ".join(f"{count} {name}" for name, count in counts.most_common()),
            ]
            for source, counts in self._images[:_MOST_ROWS]
        ]
        console.table([Column("image"), Column("found", _NUMBER), Column("classes")], rows, to=to)
        _print_rest(len(self._images), "images", to)

    def _print_classes(self, console: Console, to: IO[str]) -> None:
        total: Counter[str] = Counter()
        images: Counter[str] = Counter()
        for _, counts in self._images:
            total.update(counts)
            images.update(counts.keys())
        if not total:
            return
        rows = [[name, str(count), str(images[name])] for name, count in total.most_common()]
        print(file=to)
        columns = [Column("class"), Column("found", _NUMBER), Column("in images", _NUMBER)]
        console.table(columns, rows[:_MOST_ROWS], to=to)
        _print_rest(len(rows), "classes", to)


def _print_rest(count: int, what: str, to: IO[str]) -> None:
    if count > _MOST_ROWS:
        print(f"... and {count - _MOST_ROWS} more {what}", file=to)

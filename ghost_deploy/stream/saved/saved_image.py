"""One image and its detections, as the forms write them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.frame import Frame


@dataclass(frozen=True, eq=False)
class SavedImage:
    """What is written of one image.

    Attributes:
        stem: of its files, which no other image of the run has.
        file_name: of its copy in `images`; where none is written, what it would be.
        frame: the image, upright.
        detections: boxes in pixels of the frame.
    """

    stem: str
    file_name: str
    frame: Frame
    detections: Detections


class FormWriter(Protocol):
    """Writes the results of a run in one form.

    `write` is called for each image, then either `close` or `abandon`; nothing is left half
    written.
    """

    def write(self, saved: SavedImage) -> None:
        """Take one image.

        Raises:
            InputError: the system refuses.
        """

    def close(self) -> None:
        """Finish what belongs to all images; by default there is nothing."""
        return

    def abandon(self) -> None:
        """Leave nothing of what belongs to all images; by default there is nothing."""
        return


OpenForm: TypeAlias = Callable[[Path, tuple[str, ...]], FormWriter]
"""Opens a form in the folder of the results, for a model with those class names."""

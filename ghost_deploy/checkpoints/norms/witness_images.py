"""The images that recorded statistics are compared on, as the rooms above hand them in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class View:
    """The images at one input size.

    Attributes:
        size_hw: (height, width) in pixels, multiples of the stride.
        batches: float32 (B, 3, H, W) each, RGB, 0 to 1, letterboxed.
    """

    size_hw: tuple[int, int]
    batches: tuple[NDArray[np.float32], ...]


@dataclass(frozen=True)
class WitnessImages:
    """Images of the kind that a checkpoint was trained on.

    Attributes:
        source: `training plots` are tiles of the plots that training leaves, with boxes drawn:
            they are used to choose between readings, not for a verdict.
        count: how many.
        views: called with the square or (height, width) of training and the stride; yields the
            images at that size first, then at the smallest size without a wide border.
    """

    source: Literal["images", "training plots"]
    count: int
    views: Callable[[tuple[int, int], int], Iterator[View]]

    def told(self, say: Callable[[], object]) -> WitnessImages:
        """These images; `say` is called each time that their use begins."""

        def views(size_hw: tuple[int, int], stride: int) -> Iterator[View]:
            say()
            return self.views(size_hw, stride)

        return replace(self, views=views)

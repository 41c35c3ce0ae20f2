"""What parity looks at: the user's image files, or demo scenes when there are none."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.bundle import file_name, sha256_of
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.evidence.parity import ImageRef
from ghost_deploy.demo.scenes import make_scene
from ghost_deploy.processing import read_image

__all__ = ["DEMO_SCENES", "Picture", "demo_pictures", "file_pictures"]

DEMO_SCENES = 8


@dataclass(frozen=True)
class Picture:
    """An image that is read when it is needed, and forgotten afterwards.

    Attributes:
        name: for the report: the file's without its folder, numbered where two are the same.
        read: gives (H, W, 3) uint8 BGR, the same every time.
        digest: gives the sha256 of the file, or of a scene's pixels, in hexadecimal.
        size_hw: (height, width) of the model's input for it, pixels; the usual one when None.
    """

    name: str
    read: Callable[[], NDArray[np.uint8]]
    digest: Callable[[], str]
    size_hw: tuple[int, int] | None = None

    @property
    def ref(self) -> ImageRef:
        """How the report names it."""
        return ImageRef(name=self.name, sha256=self.digest()[:12])


def file_pictures(paths: Sequence[Path]) -> list[Picture]:
    """One picture for each file.

    Raises:
        UsageError: there is no file.
    """
    if not paths:
        raise UsageError("no image to compare on", fix="Name some, or none for the demo scenes")
    seen: Counter[str] = Counter()
    pictures = []
    for path in map(Path, paths):
        name = file_name(path)
        seen[name] += 1
        again = f" ({seen[name]})" if seen[name] > 1 else ""
        pictures.append(Picture(name + again, partial(read_image, path), partial(sha256_of, path)))
    return pictures


def demo_pictures() -> list[Picture]:
    """Some scenes of the demo, always the same ones."""
    return [_scene(seed) for seed in range(DEMO_SCENES)]


def _scene(seed: int) -> Picture:
    image = make_scene(seed).image
    digest = hashlib.sha256(image.tobytes()).hexdigest()
    return Picture(f"demo scene {seed}", lambda: image, lambda: digest)

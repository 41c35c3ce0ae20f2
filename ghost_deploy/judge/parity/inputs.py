"""The images of a parity comparison: files of the user, or demo scenes."""

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
from ghost_deploy.core.evidence.compared_images import ComparedImage
from ghost_deploy.demo.scenes import make_scene
from ghost_deploy.processing.images import read_image

DEMO_SCENES = 8


@dataclass(frozen=True)
class InputImage:
    """An image that is read when it is needed and not kept.

    Attributes:
        name: for the report: of the file, without its folder; numbered where two are equal.
        read: returns (H, W, 3) uint8 BGR, always the same.
        digest: returns the sha256 of the file, or of a scene's pixels, in hexadecimal.
        size_hw: (height, width) of the model's input for it, pixels; the usual one when None.
    """

    name: str
    read: Callable[[], NDArray[np.uint8]]
    digest: Callable[[], str]
    size_hw: tuple[int, int] | None = None

    @property
    def ref(self) -> ComparedImage:
        """How the report names it."""
        return ComparedImage(name=self.name, sha256=self.digest()[:12])


def file_images(paths: Sequence[Path]) -> list[InputImage]:
    """One input for each file.

    Raises:
        UsageError: there is no file.
    """
    if not paths:
        raise UsageError("no image to compare on", fix="Name some, or none for the demo scenes")
    seen: Counter[str] = Counter()
    images = []
    for path in map(Path, paths):
        name = file_name(path)
        seen[name] += 1
        again = f" ({seen[name]})" if seen[name] > 1 else ""
        images.append(InputImage(name + again, partial(read_image, path), partial(sha256_of, path)))
    return images


def demo_images() -> list[InputImage]:
    """The first demo scenes, always the same ones."""
    return [_scene(seed) for seed in range(DEMO_SCENES)]


def _scene(seed: int) -> InputImage:
    image = make_scene(seed).image
    digest = hashlib.sha256(image.tobytes()).hexdigest()
    return InputImage(f"demo scene {seed}", lambda: image, lambda: digest)

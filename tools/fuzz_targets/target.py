"""One kind of input that tools/fuzz.py changes."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 64
"""Pixels of a side of the images and of the models' inputs."""


class Target:
    """One kind of input.

    Attributes:
        inputs: valid ones.
        tokens: words of its language.
        is_json: whether the inputs are JSON documents.
        exact: whether each result must be `expected`: a hash or a signature covers the input.
        expected: the result of the unchanged input.
    """

    name: ClassVar[str]
    tokens: Sequence[bytes] = ()
    is_json = False
    exact = False

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="fuzz-")))
        self.inputs: Sequence[bytes] = self.make()
        self.expected = self.run(self.inputs[0])

    def make(self) -> Sequence[bytes]:
        """Write what is needed into `folder`; the valid inputs."""
        raise NotImplementedError

    def run(self, data: bytes) -> object:
        """Read one input as the package does."""
        raise NotImplementedError

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def small_scene(seed: int = 0) -> NDArray[np.uint8]:
    """An image, (SIDE, SIDE, 3) uint8 BGR."""
    from ghost_deploy.demo.scenes import make_scene

    return cv2.resize(make_scene(seed).image, (SIDE, SIDE)).astype(np.uint8)

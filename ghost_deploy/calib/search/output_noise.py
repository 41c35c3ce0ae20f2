"""Noise that quantization adds to the raw outputs: a cheap, smooth proxy of the loss of mAP."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto

from ghost_deploy.calib.graph.intermediates import Intermediates
from ghost_deploy.calib.graph.paired_run import Feeds
from ghost_deploy.calib.graph.structure import Structure
from ghost_deploy.core.errors import InputError


class OutputNoise:
    """A loss: the largest noise-to-signal power ratio among some tensors, in per cent.

    It is continuous, so that differences of a few per cent are significant. Picklable.

    Args:
        model: the float model.
        tensors: names of tensors that the int8 models have too, such as `head_tensors`.
        feeds: images, (1, 3, H, W) float32 each; eight suffice to rank layers.

    Raises:
        InputError: no image, or no tensor.
    """

    def __init__(self, model: ModelProto, tensors: tuple[str, ...], feeds: Feeds) -> None:
        if not feeds or not tensors:
            raise InputError(
                "there is nothing to compare",
                got=f"{len(feeds)} images, {len(tensors)} tensors",
                fix="Give at least one of each",
            )
        self._tensors, self._feeds = tensors, list(feeds)
        self._truth = self._run(model)

    def __call__(self, path: Path) -> float:
        """Noise of the model in the file, per cent of the signal's power."""
        return 100 * max(self.ratios(onnx.load(path)).values())

    def ratios(self, model: ModelProto) -> dict[str, float]:
        """Noise power over signal power of each tensor."""
        found = self._run(model)
        return {
            name: _power(found[name], self._truth[name]) / max(_power(self._truth[name]), 1e-30)
            for name in self._tensors
        }

    def _run(self, model: ModelProto) -> dict[str, list[NDArray[np.float32]]]:
        # One thread: several processes measure in parallel.
        intermediates = Intermediates(model, self._tensors, threads=1)
        runs = [intermediates.of_batch(batch) for batch in self._feeds]
        return {name: [run[name] for run in runs] for name in self._tensors}


def head_tensors(structure: Structure) -> tuple[str, ...]:
    """The outputs of the head's last convolutions: box and class logits of every level."""
    return tuple(conv.output for name, conv in structure.convs.items() if name in structure.head)


def _power(
    images: list[NDArray[np.float32]], minus: list[NDArray[np.float32]] | None = None
) -> float:
    others = minus or [np.zeros(1, np.float32)] * len(images)
    return sum(
        float(np.square(a - b, dtype=np.float64).sum()) for a, b in zip(images, others, strict=True)
    )

"""Batches of augmented samples, determined by seed, epoch and index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from tools.training.assign import Truth
from tools.training.augment import Augmentation, Sample, augment

__all__ = ["collate", "epoch_batches"]

_MOSAIC = 4


def epoch_batches(
    samples: Sequence[Sample],
    full: int,
    side: int,
    batch: int,
    *,
    seed: int,
    epoch: int,
    how: Augmentation,
    mosaic: bool,
) -> Iterator[tuple[Tensor, Truth]]:
    """Yield all samples once, in random order; an incomplete last batch is dropped.

    Args:
        samples: the data set.
        full: side of the input that they were scaled to, pixels.
        side: of the input of this epoch, pixels.
        batch: samples per batch, at most their number.
        seed, epoch: determine order and augmentation, so that an epoch can be repeated without
            the previous ones.
        how: strengths of the augmentation.
        mosaic: combine each sample with three random ones.
    """
    order = np.random.default_rng((seed, epoch)).permutation(len(samples))
    for start in range(0, len(order) - batch + 1, batch):
        made = []
        for index in order[start : start + batch].tolist():
            rng = np.random.default_rng((seed, epoch, index))
            others = rng.integers(len(samples), size=_MOSAIC - 1).tolist() if mosaic else []
            pieces = [samples[k] for k in (index, *others)]
            made.append(augment(pieces, full, side, how, rng))
        yield collate(made)


def collate(samples: Sequence[Sample]) -> tuple[Tensor, Truth]:
    """Convert samples of one size to input, (B, 3, H, W) float32 RGB 0 to 1, and objects."""
    stack = np.stack([sample.image[..., ::-1] for sample in samples])
    images = torch.from_numpy(stack).permute(0, 3, 1, 2).float().div_(255)
    counts = torch.tensor([len(sample.boxes) for sample in samples])
    boxes = np.concatenate([sample.boxes for sample in samples])
    class_ids = np.concatenate([sample.class_ids for sample in samples])
    owner = torch.arange(len(samples)).repeat_interleave(counts)
    return images, Truth(owner, torch.from_numpy(boxes), torch.from_numpy(class_ids).long())

"""Batches of augmented pictures, the same for the same seed, epoch and place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from tools.training.assign import Truth
from tools.training.augment import Augmentation, Picture, augment

__all__ = ["collate", "epoch_batches"]

_MOSAIC = 4


def epoch_batches(
    pictures: Sequence[Picture],
    full: int,
    side: int,
    batch: int,
    *,
    seed: int,
    epoch: int,
    how: Augmentation,
    mosaic: bool,
) -> Iterator[tuple[Tensor, Truth]]:
    """Every picture once, in random order; a last batch that is not full is left out.

    Args:
        pictures: to draw from.
        full: side of the input that they were scaled for, pixels.
        side: of the input of this epoch, pixels.
        batch: pictures at a time, at most as many as there are.
        seed, epoch: choose order and augmentation; nothing else does, so that an epoch can be
            repeated without the ones before it.
        how: strengths of the augmentation.
        mosaic: whether three more random pictures are joined to each.
    """
    order = np.random.default_rng((seed, epoch)).permutation(len(pictures))
    for start in range(0, len(order) - batch + 1, batch):
        made = []
        for index in order[start : start + batch].tolist():
            rng = np.random.default_rng((seed, epoch, index))
            others = rng.integers(len(pictures), size=_MOSAIC - 1).tolist() if mosaic else []
            pieces = [pictures[k] for k in (index, *others)]
            made.append(augment(pieces, full, side, how, rng))
        yield collate(made)


def collate(pictures: Sequence[Picture]) -> tuple[Tensor, Truth]:
    """Pictures of one size as input, (B, 3, H, W) float32 RGB 0 to 1, and their objects."""
    stack = np.stack([picture.image[..., ::-1] for picture in pictures])
    images = torch.from_numpy(stack).permute(0, 3, 1, 2).float().div_(255)
    counts = torch.tensor([len(picture.boxes) for picture in pictures])
    boxes = np.concatenate([picture.boxes for picture in pictures])
    class_ids = np.concatenate([picture.class_ids for picture in pictures])
    owner = torch.arange(len(pictures)).repeat_interleave(counts)
    return images, Truth(owner, torch.from_numpy(boxes), torch.from_numpy(class_ids).long())

"""What arrives at the batch norms of a network, each seen on its own.

Each norm normalizes by the statistics of its batch, as in training, so that the layers behind it
get what the recorded statistics describe, whatever the images are. A layer that computes something
else than the original then shows at the norms directly behind it, and not further on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ghost_deploy.models.network import DetectionNet

FEWEST_VALUES = 128
"""Values of a channel in one batch from which on their variance says something."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class NormInput:
    """What arrived at a batch norm.

    Attributes:
        name: of the norm in the network, e.g. `model.1.cv1.bn`.
        mean, variance: of each channel, over images and cells, float64 (C,); averages over batches,
            and over the runs of a norm that is used several times, as training records them.
        stride: pixels of the image per cell of the map.
        values: of a channel in one batch.
        pooled: a maximum pooling ran since the norm before. Its outputs depend on the size of what
            the images show.
    """

    name: str
    mean: Floats
    variance: Floats
    stride: float
    values: int
    pooled: bool


def collect_norm_inputs(
    net: DetectionNet, batches: Iterable[NDArray[np.float32]], *, each_alone: bool = True
) -> list[NormInput]:
    """Run images through a network and collect the inputs of its batch norms.

    Args:
        net: in eval mode, with its batch norms. It is not changed.
        batches: images, float32 (B, 3, H, W), RGB, 0 to 1; sides are multiples of the stride.
        each_alone: norms normalize by their batch, so that a deviation is not passed on; otherwise
            by what they recorded, as in use, so that deviations add up.

    Returns:
        In the order in which the norms run. Norms that do not run are absent.
    """
    seen = _Seen(each_alone)
    with torch.inference_mode(), _observed(net, seen):
        for batch in batches:
            seen.height, seen.pooled = batch.shape[2], False
            features = net.features(torch.from_numpy(batch))
            for branch in net.branches:
                net.head.raw(features, branch)
    return [each.result(name) for name, each in seen.norms.items()]


@dataclass
class _Sums:
    """Sums of the moments of one norm, over its runs; `weight` counts images."""

    stride: float
    values: int
    pooled: bool
    mean: Floats
    variance: Floats
    weight: float = 0.0

    def result(self, name: str) -> NormInput:
        mean, variance = self.mean / self.weight, self.variance / self.weight
        return NormInput(name, mean, variance, self.stride, self.values, self.pooled)


@dataclass
class _Seen:
    """State of a pass: the norms that ran, the image height, whether a pooling ran since a norm."""

    each_alone: bool
    norms: dict[str, _Sums] = field(default_factory=dict)
    height: int = 0
    pooled: bool = False

    def run(self, norm: nn.BatchNorm2d, name: str, x: Tensor) -> Tensor:
        """Note the input of a norm and return its output."""
        batch = torch.native_batch_norm(x, norm.weight, norm.bias, None, None, True, 0.0, norm.eps)
        y, mean, inverse_sd = batch
        values = x.numel() // x.shape[1]
        sums = self.norms.get(name)
        if sums is None:
            zero = np.zeros(x.shape[1])
            sums = _Sums(self.height / x.shape[2], values, self.pooled, zero, zero.copy())
            self.norms[name] = sums
        variance = inverse_sd.double().numpy() ** -2 - norm.eps
        sums.mean += mean.double().numpy() * len(x)
        sums.variance += np.maximum(variance, 0.0) * len(x)
        sums.weight += len(x)
        self.pooled = False
        # The statistics of a few values would be noise for the layers behind.
        alone = self.each_alone and values >= FEWEST_VALUES
        return y if alone else nn.BatchNorm2d.forward(norm, x)

    def pool(self, *_: object) -> None:
        """Note that a maximum pooling runs."""
        self.pooled = True


@contextmanager
def _observed(net: DetectionNet, seen: _Seen) -> Iterator[None]:
    """Let the norms of `net` report to `seen` and normalize by their batch."""
    norms = [(name, part) for name, part in net.named_modules() if type(part) is nn.BatchNorm2d]
    pools = [part for part in net.modules() if isinstance(part, nn.MaxPool2d)]
    handles = [pool.register_forward_pre_hook(seen.pool) for pool in pools]
    try:
        for name, norm in norms:
            norm.forward = partial(seen.run, norm, name)  # type: ignore[method-assign]
        yield
    finally:
        for handle in handles:
            handle.remove()
        for _, norm in norms:
            norm.__dict__.pop("forward", None)

"""How far the inputs of the batch norms are from what training recorded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ghost_deploy.checkpoints.norms.norm_inputs import (
    FEWEST_VALUES,
    Floats,
    NormInput,
    collect_norm_inputs,
)
from ghost_deploy.models.network import DetectionNet

_CAP = 3.0


@dataclass(frozen=True)
class Deviation:
    """Deviation of the inputs of one norm.

    For each channel, with the recorded mean m and variance v of the norm and its eps:
    `mean` is (mean - m) / sqrt(v + eps), `sd` is log((variance + eps) / (v + eps)) / 2. The eps is
    the floor for channels that are constant.

    Attributes:
        name: of the norm.
        mean, sd: signed, float64 (C,).
        stride: pixels of the image per cell of the map.
        judged: whether the norm can be judged: enough values, and no maximum pooling before it.
    """

    name: str
    mean: Floats
    sd: Floats
    stride: float
    judged: bool

    @property
    def median_mean(self) -> float:
        """Median over the channels of the absolute deviation of the mean."""
        return float(np.median(np.abs(self.mean)))

    @property
    def median_sd(self) -> float:
        """Median over the channels of the absolute deviation of the log sd."""
        return float(np.median(np.abs(self.sd)))

    @property
    def size(self) -> float:
        """The larger of the two medians."""
        return max(self.median_mean, self.median_sd)

    @property
    def channels(self) -> Floats:
        """Distance of each channel: both deviations together, at most 3."""
        return np.minimum(np.hypot(self.mean, self.sd), _CAP)


def deviations(
    net: DetectionNet, batches: Iterable[NDArray[np.float32]], *, each_alone: bool = True
) -> list[Deviation]:
    """Compare what arrives at each batch norm with what it recorded.

    Args:
        net: in eval mode.
        batches: images, see `collect_norm_inputs`.
        each_alone: see `collect_norm_inputs`.

    Returns:
        In the order in which the norms run; norms with the statistics of a new network are absent.
    """
    inputs = collect_norm_inputs(net, batches, each_alone=each_alone)
    found = (_deviation(net, each) for each in inputs)
    return [each for each in found if each is not None]


def misfit(found: Sequence[Deviation]) -> float:
    """Mean distance of all channels of the norms that can be judged; 0.0 without any."""
    judged = [each.channels for each in found if each.judged]
    return float(np.concatenate(judged).mean()) if judged else 0.0


def _deviation(net: DetectionNet, seen: NormInput) -> Deviation | None:
    norm = net.get_submodule(seen.name)
    assert isinstance(norm, nn.BatchNorm2d)
    if norm.running_mean is None or norm.running_var is None:
        return None
    mean, variance = norm.running_mean.double().numpy(), norm.running_var.double().numpy()
    if not mean.any() and bool((variance == 1).all()):
        return None
    return Deviation(
        name=seen.name,
        mean=(seen.mean - mean) / np.sqrt(variance + norm.eps),
        sd=np.log((seen.variance + norm.eps) / (variance + norm.eps)) / 2,
        stride=seen.stride,
        judged=seen.values >= FEWEST_VALUES and not seen.pooled,
    )

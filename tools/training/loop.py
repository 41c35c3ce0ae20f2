"""The training loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from ghost_deploy.core.errors import UsageError
from ghost_deploy.models.network import DetectionNet
from tools.training.augment import Augmentation
from tools.training.batches import epoch_batches
from tools.training.ema import MovingAverage
from tools.training.loss import network_loss
from tools.training.network import start_network
from tools.training.optimize import MAX_NORM, input_side, learning_rate, make_optimizer
from tools.training.options import Options
from tools.training.samples import Data
from tools.training.state import load_state, save_state

__all__ = ["train"]


def train(
    options: Options,
    data: Data,
    state: Path,
    *,
    say: Callable[[str], None] = print,
    after_epoch: Callable[[int, DetectionNet], None] | None = None,
) -> DetectionNet:
    """Train a network; resume from `state` if it exists.

    Args:
        options: of the run, checked.
        data: the data set.
        state: file that is written after each epoch.
        say: called with a line of text after each epoch.
        after_epoch: called with the number of completed epochs and the moving average.

    Returns:
        The moving average of the weights.

    Raises:
        UsageError: fewer images than a batch, a loss that is not finite, or a state of a run
            with other options.
    """
    if len(data.samples) < options.batch:
        raise UsageError(
            "there are fewer images than a batch has",
            got=f"{len(data.samples)} images, --batch {options.batch}",
            fix="Choose a smaller --batch",
        )
    net = start_network(options, len(data.class_names))
    mean = MovingAverage(net)
    optimizer = make_optimizer(net, options.rate)
    done = load_state(state, options, net, mean, optimizer) if state.is_file() else 0
    for epoch in range(done, options.epochs):
        say(_epoch(options, data, epoch, net, mean, optimizer))
        save_state(state, options, epoch + 1, net, mean, optimizer)
        if after_epoch is not None:
            after_epoch(epoch + 1, mean.net)
    return mean.net


def _epoch(
    options: Options,
    data: Data,
    epoch: int,
    net: DetectionNet,
    mean: MovingAverage,
    optimizer: torch.optim.Optimizer,
) -> str:
    """Train on all samples once; return a line of text."""
    begin = time.monotonic()
    side = input_side(epoch, options.epochs, options.first_size, options.size)
    per_epoch = len(data.samples) // options.batch
    batches = epoch_batches(
        data.samples,
        options.size,
        side,
        options.batch,
        seed=options.seed,
        epoch=epoch,
        how=Augmentation(zoom=options.zoom, any_way_up=options.any_way_up),
        mosaic=epoch < options.epochs - options.plain,
    )
    sums: dict[str, float] = {}
    rate = 0.0
    for index, (images, truth) in enumerate(batches):
        step = epoch * per_epoch + index
        rate = learning_rate(step, options.epochs * per_epoch, options.rate)
        for group in optimizer.param_groups:
            group["lr"] = rate
        losses = network_loss(net, images, truth)
        _require_finite(losses.total, step)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(losses.total)
        nn.utils.clip_grad_norm_(net.parameters(), MAX_NORM)
        optimizer.step()
        mean.update(net)
        for name, part in losses.parts.items():
            sums[name] = sums.get(name, 0.0) + float(part.detach())
    means = ", ".join(f"{name} {value / per_epoch:.4f}" for name, value in sums.items())
    seconds = time.monotonic() - begin
    return (
        f"epoch {epoch + 1}/{options.epochs}: {means}, rate {rate:.2e}, side {side}, "
        f"{seconds:.0f} s, "
        f"{per_epoch * options.batch / seconds:.1f} images/s"
    )


def _require_finite(loss: torch.Tensor, step: int) -> None:
    if not bool(torch.isfinite(loss)):
        raise UsageError(
            f"the loss is not finite at step {step}",
            got=float(loss.detach()),
            fix="Choose a smaller --rate",
        )

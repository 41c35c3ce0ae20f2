"""The state of a training, from which it can be resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import torch

from ghost_deploy.core.errors import CorruptCheckpointError, UsageError
from ghost_deploy.core.files import write_whole
from ghost_deploy.models.network import DetectionNet
from tools.training.ema import MovingAverage
from tools.training.options import Options

__all__ = ["load_state", "save_state"]


def save_state(
    file: Path,
    options: Options,
    epoch: int,
    net: DetectionNet,
    mean: MovingAverage,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write the state atomically.

    Args:
        file: to write.
        options: of the run.
        epoch: number of completed epochs.
        net, mean, optimizer: whose states are stored.
    """
    content = {
        "options": msgspec.to_builtins(options),
        "epoch": epoch,
        "net": net.state_dict(),
        "mean": mean.net.state_dict(),
        "updates": mean.updates,
        "optimizer": optimizer.state_dict(),
    }
    write_whole(file, lambda stream: torch.save(content, stream))


def load_state(
    file: Path,
    options: Options,
    net: DetectionNet,
    mean: MovingAverage,
    optimizer: torch.optim.Optimizer,
) -> int:
    """Restore a state in place.

    Args:
        file: written by `save_state`.
        options: of the run.
        net, mean, optimizer: whose states are restored.

    Returns:
        The number of completed epochs.

    Raises:
        UsageError: the run was started with other options.
        CorruptCheckpointError: the file is damaged.
    """
    content = _read(file)
    if content["options"] != msgspec.to_builtins(options):
        old = {k: v for k, v in content["options"].items() if v != getattr(options, k)}
        raise UsageError(
            f"{file} belongs to a run with other options",
            got=", ".join(f"{name} {getattr(options, name)!r}" for name in old),
            expected=", ".join(f"{name} {value!r}" for name, value in old.items()),
            fix="Resume with the options of that run, or choose another --out",
        )
    net.load_state_dict(content["net"])
    mean.net.load_state_dict(content["mean"])
    mean.updates = int(content["updates"])
    optimizer.load_state_dict(content["optimizer"])
    return int(content["epoch"])


def _read(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = torch.load(file, weights_only=True)
    # torch passes on any exception of its unpickler and its archive reader.
    except Exception as error:
        raise CorruptCheckpointError(
            f"{file} cannot be read",
            got=f"{type(error).__name__}: {error!s:.200}",
            fix="Delete it and start again",
        ) from error
    return content

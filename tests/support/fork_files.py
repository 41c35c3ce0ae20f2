"""The small checkpoints of forks among the assets, and what they compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from ghost_deploy.checkpoints.archive import open_archive
from ghost_deploy.checkpoints.pickle_reader import read_pickle
from ghost_deploy.checkpoints.plain_values import PlainReader
from ghost_deploy.checkpoints.tensors import TensorTable
from ghost_deploy.checkpoints.tree_reader import TreeReader
from ghost_deploy.checkpoints.ultralytics import find_network
from ghost_deploy.models.tree import ModuleNode
from tests.support.assets import SHARED

FORKS = SHARED / "forks"


def fork_tree(name: str) -> tuple[ModuleNode, TensorTable]:
    """The module tree and the tensors of a fork's checkpoint."""
    path = FORKS / f"{name}.pt"
    archive = open_archive(path.name, path.read_bytes())
    found = find_network(read_pickle(archive.pickle, path.name).root, path.name)
    tensors = TensorTable(archive)
    return TreeReader(path.name, tensors, PlainReader(path.name)).read(found.record), tensors


def fork_reference(name: str) -> Any:
    """The recorded input and outputs of a fork's checkpoint, by name."""
    return np.load(FORKS / f"{name}.npz")


def fork_deviation(net: nn.Module, name: str) -> tuple[float, float]:
    """Largest deviation from the record: of boxes in pixels where a score exceeds 0.05; of scores.

    Args:
        net: with the decoded output of branch one2many.
        name: of the checkpoint.
    """
    recorded = fork_reference(name)
    x = torch.from_numpy(recorded["x"].astype(np.float32) / np.float32(255))
    with torch.no_grad():
        difference = np.abs(net(x).numpy() - recorded["out"])
    seen = recorded["out"][:, 4:].max(1) > 0.05
    assert seen.any()
    return float(difference[:, :4].max(1)[seen].max()), float(difference[:, 4:].max())

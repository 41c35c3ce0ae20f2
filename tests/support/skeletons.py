"""Networks with random weights from skeletons, the JSON files of `inspect --skeleton`."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ghost_deploy.checkpoints.skeleton import decode_skeleton
from ghost_deploy.models.instantiate import build
from ghost_deploy.models.network import DetectionNet
from ghost_deploy.models.readings import Choices
from ghost_deploy.models.tree import ModuleNode
from tests.support.module_trees import randomize


def random_tensors(tree: ModuleNode, seed: int = 0) -> dict[str, Tensor]:
    """Positive random tensors for all of a tree; the fixed weights of a DFL are 0, 1, ..."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for name, node in tree.walk():
        for part, info in {**node.parameters, **node.buffers}.items():
            if part == "num_batches_tracked":
                tensors[info.key] = torch.zeros(info.shape, dtype=torch.int64)
            elif name.endswith("dfl.conv"):
                tensors[info.key] = torch.arange(info.shape[1]).float().reshape(info.shape)
            else:
                tensors.setdefault(info.key, torch.rand(info.shape, generator=generator) + 0.1)
    return tensors


def network_of_skeleton(path: Path, choices: Choices | None = None) -> DetectionNet:
    """The network of a skeleton, with random weights as training leaves them.

    Args:
        path: of the JSON file.
        choices: the definition of each class that leaves a choice.
    """
    tree = decode_skeleton(path.read_bytes())
    net = build(tree, random_tensors(tree), choices=choices)
    randomize(net)
    return net

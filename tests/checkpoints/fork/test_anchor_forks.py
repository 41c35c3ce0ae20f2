"""Forks with anchors whose network only their own code can build."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ghost_deploy.checkpoints.fork.fork_checkpoint import open_fork_checkpoint
from ghost_deploy.checkpoints.fork.fork_folder import open_fork_folder
from ghost_deploy.core.errors import StructureError
from tests.support.fork_folders import (
    FILES,
    NAMES,
    SIDE,
    needs_confinement,
    pickle_checkpoint,
    write_fork,
)

pytestmark = needs_confinement

_HEAD_FILE = "ultralytics/nn/modules/head.py"
_HEAD = """
import torch
from torch import nn

SIZES = [[[10.0, 12.0], [20.0, 16.0]], [[30.0, 28.0], [48.0, 60.0]]]

class Detect(nn.Module):
    def __init__(self, nc, channels, strides):
        super().__init__()
        self.nc = nc
        self.stride = torch.tensor([float(s) for s in strides])
        self.register_buffer("anchors", torch.tensor(SIZES) / self.stride[:, None, None])
        self.cv3 = nn.ModuleList(nn.Sequential(nn.Conv2d(c, 2 * (5 + nc), 1)) for c in channels)

    def forward(self, maps):
        rows = []
        for i, x in enumerate(maps):
            y = self.cv3[i](x)
            b, _, h, w = y.shape
            y = y.view(b, 2, 5 + self.nc, h, w).permute(0, 1, 3, 4, 2).sigmoid()
            size = (self.anchors[i] * self.stride[i]).view(1, 2, 1, 1, 2)
            gy, gx = torch.meshgrid(torch.arange(h).to(x), torch.arange(w).to(x), indexing="ij")
            cell = torch.stack((gx, gy), 2).view(1, 1, h, w, 2)
            xy = (y[..., :2] * 2 - 0.5 + cell) * self.stride[i]
            rows.append(torch.cat((xy, (y[..., 2:4] * 2) ** 2 * size, y[..., 4:]), 4)
                        .view(b, -1, 5 + self.nc))
        return torch.cat(rows, 1), maps
"""


def test_anchors_and_thresholds_come_from_the_forks_head(tmp_path: Path) -> None:
    folder = write_fork(tmp_path / "fork", {**FILES, _HEAD_FILE: _HEAD})
    file = pickle_checkpoint(folder, tmp_path / "best.pt")
    with open_fork_checkpoint(file, open_fork_folder(folder)) as opened:
        spec = opened.spec
        output = opened.net(torch.rand(1, 3, SIDE, SIDE))
    assert spec.head.decoder == "anchors"
    wanted = (((10, 12), (20, 16)), ((30, 28), (48, 60)))
    assert torch.tensor(spec.head.anchor_sizes).allclose(torch.tensor(wanted) * 1.0, rtol=1e-3)
    assert spec.thresholds.iou == 0.45
    assert output.shape == spec.output_shape() == (1, 2 * (64 + 16), 5 + len(NAMES))


def test_a_head_that_hides_its_anchors_is_refused(tmp_path: Path) -> None:
    hidden = _HEAD.replace('"anchors"', '"sizes"').replace("self.anchors", "self.sizes")
    folder = write_fork(tmp_path / "fork", {**FILES, _HEAD_FILE: hidden})
    file = pickle_checkpoint(folder, tmp_path / "best.pt")
    with pytest.raises(StructureError, match=r"of no supported form.*anchor_sizes"):
        open_fork_checkpoint(file, open_fork_folder(folder))

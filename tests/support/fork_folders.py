"""Folders with the code of made-up forks, and checkpoints pickled with that code.

The code is written to a temporary folder and runs in processes of its own alone: no test imports
it. A checkpoint is made by a process in that folder, as a training would.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ghost_deploy.checkpoints.fork.fork_folder import open_fork_folder
from ghost_deploy.checkpoints.fork.fork_process import ForkProcess
from ghost_deploy.core.errors import UnavailableError

NAMES = ("cell", "platelet")
SIDE = 64

_CONV = """
import torch
from torch import nn

class Conv(nn.Module):
    def __init__(self, c1, c2, k=1, s=1, act=True):
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, s, k // 2, bias=False)
        self.bn = nn.BatchNorm2d(c2, eps=1e-3)
        self.act = nn.SiLU() if act else nn.Identity()

    def forward(self, x):
        return self.act(self.bn(self.conv(x)))
"""

_BLOCK = '''
import torch
from torch import nn
from .conv import Conv

class Whisper(nn.Module):
    """No definition fits this: the two halves are mixed by an operator of its own."""

    def __init__(self, c):
        super().__init__()
        self.left, self.right = Conv(c, c // 2), Conv(c, c // 2, 3)
        self.mix = nn.Parameter(torch.rand(1, c, 1, 1))

    def forward(self, x):
        halves = torch.cat((self.right(x), self.left(x)), 1)
        return x + halves * torch.tanh(self.mix * halves)
'''

_HEAD = """
import torch
from torch import nn
from .conv import Conv

class Detect(nn.Module):
    dynamic, export, shape = False, False, None

    def __init__(self, nc, channels, strides):
        super().__init__()
        self.nc, self.nl, self.reg_max = nc, len(channels), 16
        self.register_buffer("stride", torch.tensor([float(s) for s in strides]))
        self.cv2 = nn.ModuleList(
            nn.Sequential(Conv(c, 16, 3), nn.Conv2d(16, 64, 1)) for c in channels
        )
        self.cv3 = nn.ModuleList(
            nn.Sequential(Conv(c, 16, 3), nn.Conv2d(16, nc, 1)) for c in channels
        )

    def forward(self, maps):
        boxes, scores = [], []
        for i, x in enumerate(maps):
            b, _, h, w = x.shape
            y, column = torch.arange(h).to(x), torch.arange(w).to(x)
            grid_y, grid_x = torch.meshgrid(y + 0.5, column + 0.5, indexing="ij")
            sides = self.cv2[i](x).view(b, 4, self.reg_max, h, w).softmax(2)
            bins = torch.arange(self.reg_max).to(x).view(1, 1, -1, 1, 1)
            left, top, right, bottom = (sides * bins).sum(2).unbind(1)
            box = torch.stack((grid_x + (right - left) / 2, grid_y + (bottom - top) / 2,
                               left + right, top + bottom), 1) * self.stride[i]
            boxes.append(box.flatten(2))
            scores.append(self.cv3[i](x).sigmoid().flatten(2))
        y = torch.cat((torch.cat(boxes, 2), torch.cat(scores, 2)), 1)
        return y if self.export else (y, maps)
"""

_TASKS = """
import torch
from torch import nn
from ultralytics.nn.modules import Conv, Detect, Whisper

class DetectionModel(nn.Module):
    def __init__(self, names):
        super().__init__()
        self.names = dict(enumerate(names))
        self.stem = nn.Sequential(Conv(3, 8, 3, 2), Conv(8, 16, 3, 2), Whisper(16))
        self.p3 = nn.Sequential(Conv(16, 32, 3, 2), Whisper(32))
        self.p4 = nn.Sequential(Conv(32, 32, 3, 2), Whisper(32))
        self.head = Detect(len(names), (32, 32), (8, 16))
        self.stride = self.head.stride

    def forward(self, x):
        x = self.p3(self.stem(x))
        return self.head([x, self.p4(x)])
"""

_MAKE = f"""
import sys
import torch
from ultralytics.nn.tasks import DetectionModel

torch.manual_seed(0)
net = DetectionModel({NAMES!r})
net.train()
with torch.no_grad():
    for _ in range(20):
        net(torch.rand(4, 3, {SIDE}, {SIDE}))
    for level in net.head.cv3:
        level[-1].weight.mul_(8)
        level[-1].bias.fill_(-1.5)
net.eval()
torch.save({{"epoch": -1, "model": net.half(), "train_args": {{"imgsz": {SIDE}, "task": "detect"}},
            "version": "8.3.0"}}, sys.argv[1])
"""

_STOCK_BLOCK = """
import torch
from torch import nn
from .conv import Conv

class GhostConv(nn.Module):
    def __init__(self, c1, c2, k=1, s=1):
        super().__init__()
        self.cv1 = Conv(c1, c2 // 2, k, s)
        self.cv2 = Conv(c2 // 2, c2 // 2, 5, 1)
        self.cv2.conv = nn.Conv2d(c2 // 2, c2 // 2, 5, 1, 2, groups=c2 // 2, bias=False)

    def forward(self, x):
        y = self.cv1(x)
        return torch.cat((y, self.cv2(y)), 1)

class DFL(nn.Module):
    def __init__(self, c1=16):
        super().__init__()
        self.conv = nn.Conv2d(c1, 1, 1, bias=False).requires_grad_(False)
        self.conv.weight.data[:] = torch.arange(c1, dtype=torch.float).view(1, c1, 1, 1)
        self.c1 = c1

    def forward(self, x):
        b, _, a = x.shape
        return self.conv(x.view(b, 4, self.c1, a).transpose(2, 1).softmax(1)).view(b, 4, a)
"""

_STOCK_HEAD = """
import torch
from torch import nn
from .block import DFL
from .conv import Conv

class Detect(nn.Module):
    def __init__(self, nc, channels, strides):
        super().__init__()
        self.nc, self.nl, self.reg_max, self.no = nc, len(channels), 16, nc + 64
        self.stride = torch.tensor([float(s) for s in strides])
        self.cv2 = nn.ModuleList(
            nn.Sequential(Conv(c, 16, 3), Conv(16, 16, 3), nn.Conv2d(16, 64, 1)) for c in channels
        )
        self.cv3 = nn.ModuleList(
            nn.Sequential(Conv(c, 16, 3), Conv(16, 16, 3), nn.Conv2d(16, nc, 1)) for c in channels
        )
        self.dfl = DFL(16)

    def forward(self, maps):
        raw = [torch.cat((self.cv2[i](x), self.cv3[i](x)), 1) for i, x in enumerate(maps)]
        points, strides = [], []
        for x, stride in zip(maps, self.stride):
            h, w = x.shape[2:]
            y, column = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
            points.append(torch.stack((column, y)).flatten(1).to(x))
            strides.append(torch.full((1, h * w), float(stride)).to(x))
        points, strides = torch.cat(points, 1), torch.cat(strides, 1)
        box, scores = torch.cat([x.flatten(2) for x in raw], 2).split((64, self.nc), 1)
        left_top, right_bottom = self.dfl(box).chunk(2, 1)
        low, high = points - left_top, points + right_bottom
        boxes = torch.cat(((low + high) / 2, high - low), 1) * strides
        return torch.cat((boxes, scores.sigmoid()), 1), maps
"""

_STOCK_TASKS = """
import torch
from torch import nn
from ultralytics.nn.modules import Conv, Detect, GhostConv

class DetectionModel(nn.Module):
    def __init__(self, names):
        super().__init__()
        layers = [Conv(3, 8, 3, 2), GhostConv(8, 16, 3, 2), GhostConv(16, 32, 3, 2),
                  GhostConv(32, 32, 3, 2), Detect(len(names), (32, 32), (8, 16))]
        for i, layer in enumerate(layers):
            layer.i, layer.f, layer.type = i, -1, type(layer).__name__
            layer.np = sum(p.numel() for p in layer.parameters())
        layers[-1].f = [2, 3]
        self.model, self.save = nn.Sequential(*layers), [2, 3]
        self.names, self.stride = dict(enumerate(names)), layers[-1].stride
        self.yaml = {"nc": len(names), "yaml_file": "yolov8n-ghost.yaml"}

    @property
    def head(self):
        return self.model[-1]

    def forward(self, x):
        kept = []
        for layer in self.model:
            x = layer(x if layer.f == -1 else [kept[i] for i in layer.f])
            kept.append(x)
        return x
"""

_MODULES = "ultralytics/nn/modules"
STOCK_FILES = {
    "ultralytics/__init__.py": '__version__ = "8.3.0"\n',
    "ultralytics/nn/__init__.py": "",
    f"{_MODULES}/__init__.py": "from .block import DFL, GhostConv\nfrom .conv import Conv\n"
    "from .head import Detect\n",
    f"{_MODULES}/conv.py": _CONV,
    f"{_MODULES}/block.py": _STOCK_BLOCK,
    f"{_MODULES}/head.py": _STOCK_HEAD,
    "ultralytics/nn/tasks.py": _STOCK_TASKS,
}
"""A fork that a definition of ours fits, by path."""

OTHER_ORDER = {
    **STOCK_FILES,
    f"{_MODULES}/block.py": _STOCK_BLOCK.replace("(y, self.cv2(y))", "(self.cv2(y), y)"),
}
"""The same fork with the halves of `GhostConv` exchanged: equal parts, another arithmetic."""

FILES = {
    "ultralytics/__init__.py": '__version__ = "8.3.0"\n',
    "ultralytics/nn/__init__.py": "",
    "ultralytics/nn/modules/__init__.py": "from .block import Whisper\nfrom .conv import Conv\n"
    "from .head import Detect\n",
    "ultralytics/nn/modules/conv.py": _CONV,
    "ultralytics/nn/modules/block.py": _BLOCK,
    "ultralytics/nn/modules/head.py": _HEAD,
    "ultralytics/nn/tasks.py": _TASKS,
}
"""A fork as a checkout of its own `ultralytics`, by path."""


_V5_COMMON = """
import torch
from torch import nn
from utils.general import autopad

class Conv(nn.Module):
    def __init__(self, c1, c2, k=1, s=1):
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, s, autopad(k), bias=False)
        self.bn = nn.BatchNorm2d(c2)
        self.act = nn.SiLU()

    def forward(self, x):
        return self.act(self.bn(self.conv(x)))

class Whisper(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.cv = Conv(c, c, 3)

    def forward(self, x):
        return x + torch.tanh(self.cv(x)) * x
"""

_V5_YOLO = """
import torch
from torch import nn
from models.common import Conv, Whisper

class Detect(nn.Module):
    dynamic, export = False, False

    def __init__(self, nc, anchors, channels, strides):
        super().__init__()
        self.nc, self.no, self.nl, self.na = nc, nc + 5, len(anchors), len(anchors[0]) // 2
        self.stride = torch.tensor([float(s) for s in strides])
        sizes = torch.tensor(anchors).float().view(self.nl, -1, 2)
        self.register_buffer("anchors", sizes / self.stride.view(-1, 1, 1))
        self.m = nn.ModuleList(nn.Conv2d(c, self.no * self.na, 1) for c in channels)

    def forward(self, maps):
        rows = []
        for i, x in enumerate(maps):
            b, _, h, w = self.m[i](x).shape
            x = self.m[i](x).view(b, self.na, self.no, h, w).permute(0, 1, 3, 4, 2).sigmoid()
            y, column = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            grid = torch.stack((column, y), 2).to(x) - 0.5
            centre = (x[..., :2] * 2 + grid) * self.stride[i]
            size = (x[..., 2:4] * 2) ** 2 * (self.anchors[i] * self.stride[i]).view(1, -1, 1, 1, 2)
            rows.append(torch.cat((centre, size, x[..., 4:]), 4).reshape(b, -1, self.no))
        return (torch.cat(rows, 1),) if self.export else (torch.cat(rows, 1), maps)

class DetectionModel(nn.Module):
    def __init__(self, names):
        super().__init__()
        self.names = list(names)
        self.stem = nn.Sequential(Conv(3, 8, 3, 2), Conv(8, 16, 3, 2), Whisper(16))
        self.p3, self.p4 = Conv(16, 32, 3, 2), Conv(32, 32, 3, 2)
        sizes = ((10, 13, 16, 30, 33, 23), (30, 61, 62, 45, 59, 60))
        self.head = Detect(len(names), sizes, (32, 32), (8, 16))
        self.stride = self.head.stride

    def forward(self, x):
        x = self.p3(self.stem(x))
        return self.head([x, self.p4(x)])
"""

V5_FILES = {
    "models/__init__.py": "",
    "models/common.py": _V5_COMMON,
    "models/yolo.py": _V5_YOLO,
    "utils/__init__.py": "",
    "utils/general.py": "def autopad(k):\n    return k // 2\n",
}
"""A fork of the layout and with the head of YOLOv5, by path."""

V5_MAKE = f"""
import sys
import torch
from models.yolo import DetectionModel

torch.manual_seed(0)
net = DetectionModel({NAMES!r}).train()
with torch.no_grad():
    for _ in range(20):
        net(torch.rand(4, 3, {SIDE}, {SIDE}))
    for level in net.head.m:
        level.weight.mul_(8)
torch.save({{"epoch": -1, "model": net.half().eval(), "opt": {{"imgsz": {SIDE}}}}}, sys.argv[1])
"""
"""The program that makes a checkpoint of it."""


def write_fork(folder: Path, files: dict[str, str] | None = None, **extra: str) -> Path:
    """Write a fork's files; returns the folder.

    Args:
        folder: made if it is not there.
        files: content by path; `FILES` by default.
        extra: text that is added at the end of a file, by its stem.
    """
    for name, text in (FILES if files is None else files).items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + extra.get(file.stem, ""))
    return folder


def pickle_checkpoint(folder: Path, target: Path, program: str = _MAKE) -> Path:
    """Make a checkpoint with the code of a fork, in a process of its own; returns `target`."""
    subprocess.run(
        [sys.executable, "-c", program, str(target)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
    )
    return target


@functools.cache
def confinement_refusal() -> str:
    """Why the kernel here does not confine a fork's code; empty where it does."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "a.py").write_text("")
        try:
            ForkProcess(open_fork_folder(folder)).close()
        except UnavailableError as error:
            return str(error.got)
    return ""


needs_confinement = pytest.mark.skipif(
    bool(confinement_refusal()), reason=f"no confinement here: {confinement_refusal()}"
)
"""Marks a test that runs a fork's code in namespaces of its own."""

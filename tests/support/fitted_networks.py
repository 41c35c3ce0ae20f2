"""Networks overfitted to a few scenes: in a minute a detector with labels to judge it on."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import torch

from ghost_deploy.demo.scenes import CLASS_NAMES, make_scene
from ghost_deploy.models.network import DetectionNet
from tests.support.training_data import scene_samples
from tools.training.batches import collate
from tools.training.loss import network_loss


def fit_scenes(net: DetectionNet, count: int, side: int, steps: int) -> None:
    """Train a network on a few scenes, without augmentation, until it finds their objects.

    Args:
        net: with the classes of the scenes; it is trained in place and ends in eval mode.
        count: of scenes, all of them in each step.
        side: of the scenes and of the input, pixels.
        steps: of training.
    """
    net.train().requires_grad_(True)
    images, truth = collate(scene_samples(count, side))
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 4e-3 * (0.52 + 0.48 * math.cos(math.pi * step / steps))
        optimizer.zero_grad()
        torch.autograd.backward(network_loss(net, images, truth).total)
        optimizer.step()
    net.eval().requires_grad_(False)


def write_fitted_scenes(folder: Path, count: int, side: int) -> Path:
    """The same scenes as a data set; its data.yaml."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for seed in range(count):
        scene = make_scene(seed, (side, side))
        cv2.imwrite(str(folder / "images" / f"{seed}.png"), scene.image)
        lines = [
            f"{class_id} {(x1 + x2) / 2 / side} {(y1 + y2) / 2 / side} "
            f"{(x2 - x1) / side} {(y2 - y1) / side}"
            for class_id, (x1, y1, x2, y2) in zip(
                scene.class_ids.tolist(), scene.boxes.tolist(), strict=True
            )
        ]
        (folder / "labels" / f"{seed}.txt").write_text("\n".join(lines))
    names = ", ".join(CLASS_NAMES)
    file = folder / "data.yaml"
    file.write_text(f"train: images\nval: images\nnames: [{names}]\n")
    return file

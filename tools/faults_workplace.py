"""A bundle, and the commands that work on it."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import cv2

from ghost_deploy.demo.embedded import MODEL_FILE
from ghost_deploy.demo.scene_files import LABELS, write_scenes
from tools.pretend_gpu import pretend_gpu

MODULE = (sys.executable, "-m", "ghost_deploy.cli.main")
_SCENES = range(9_000, 9_008)
_TENSORRT = "10.13"
_SIDE = 64  # of the input: what is computed is small, what is written is the same


@dataclass
class Workplace:
    """A folder with a finished bundle, and how long each command takes on it.

    Attributes:
        root: of everything.
        checkpoint, images, labels: to work on.
        seconds: the time of each command, uninterrupted.
        new: the ids of the artifacts that each command leaves, uninterrupted.
    """

    root: Path
    checkpoint: Path
    images: Path
    labels: Path
    seconds: dict[str, float] = field(default_factory=dict)
    new: dict[str, frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.temporary.mkdir()
        self.cache.mkdir()
        write_video(self.root / "video.mp4", self.images)
        self.environment = {
            **os.environ,
            **pretend_gpu(_TENSORRT, self.root),
            "TMPDIR": str(self.temporary),
            "XDG_CACHE_HOME": str(self.cache),
        }

    @property
    def finished(self) -> Path:
        """The bundle from which each round starts."""
        return self.root / "finished"

    @property
    def temporary(self) -> Path:
        """The temporary folder of the commands."""
        return self.root / "tmp"

    @property
    def cache(self) -> Path:
        """The cache of the commands."""
        return self.root / "cache"

    def command(self, name: str, target: Path) -> list[str]:
        """The words of a command that reads or writes the bundle `target`."""
        images, place = str(self.images), target.parent
        words = {
            "export": [
                *("export", str(self.checkpoint), "-o", str(target), "--images", images),
                *("--imgsz", str(_SIDE), "--onnx", "--openvino", "--overwrite"),
            ],
            "calibrate": [
                *("calibrate", str(target), "--calib", images, "--onnx", "--no-speed"),
                "--allow-small-calibration",
            ],
            "build": ["build", str(target), "--trt", "--fp16"],
            "validate": ["validate", str(target), "--data", str(self.labels)],
            "check": ["check", str(target)],
            "stream": [
                *("infer", str(target), str(self.root / "video.mp4"), "-o", str(place / "videos")),
                *("--jsonl", str(place / "lines.jsonl"), "--snapshots", str(place / "snapshots")),
            ],
        }
        return [*MODULE, *words[name]]


def make_workplace(root: Path, args: argparse.Namespace) -> Workplace:
    if args.checkpoint:
        labels = args.labels.resolve() if args.labels else root
        return Workplace(root, args.checkpoint.resolve(), args.images.resolve(), labels)
    scenes = root / "scenes"
    write_scenes(scenes, _SCENES)
    return Workplace(root, MODEL_FILE, scenes / "images", scenes / LABELS)


def write_video(target: Path, images: Path, frames: int = 120) -> None:
    """Write a video that shows the images of a folder in turn, all in the size of the first."""
    found = [cv2.imread(str(path)) for path in sorted(images.iterdir())]
    shown = [image for image in found if image is not None]
    height, width = shown[0].shape[:2]
    writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"mp4v"), 30, (width, height))
    for index in range(frames):
        writer.write(cv2.resize(shown[index % len(shown)], (width, height)))
    writer.release()


def run_to_end(place: Workplace, name: str, target: Path) -> float:
    """Run a command to its end; the seconds that it took."""
    started = time.monotonic()
    done = subprocess.run(
        place.command(name, target), capture_output=True, check=False, env=place.environment
    )
    if done.returncode not in (0, 1):  # 1: a gate, e.g. of a detector in another size
        raise SystemExit(f"{name} fails without any fault:\n{done.stderr.decode()}")
    return time.monotonic() - started


class RoundFolder:
    """A fresh folder for one round; gives the place of its bundle."""

    def __init__(self, place: Workplace) -> None:
        self.folder = place.root / "round"

    def __enter__(self) -> Path:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        return self.folder / "bundle"

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

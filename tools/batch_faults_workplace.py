"""An archive of images and videos, a bundle, and what was found wrong with a run over it."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from ghost_deploy.demo.embedded import MODEL_FILE

ROOT = Path(__file__).resolve().parents[1]
_SIDE = 64
_VIDEO_FRAMES = 250


@dataclass
class Workplace:
    """A bundle and an archive.

    Attributes:
        root: of everything.
        bundle: a small model.
        images: how many there are.
        videos: how many there are; they take the place of a tenth of the images.
        broken: images that cannot be read.
    """

    root: Path
    bundle: Path
    images: int
    videos: int = 0
    broken: int = 0

    @property
    def archive(self) -> Path:
        """The folder of the sources."""
        return self.root / "archive"

    def expected(self) -> set[tuple[str, int]]:
        """The keys of all rows."""
        names = [str(self.archive / f"{k % 50}" / f"{k}.jpg") for k in range(self.images)]
        keys = {(name, 0) for name in names}
        for number in range(self.videos):
            keys |= {(str(self.archive / f"{number}.avi"), k) for k in range(_VIDEO_FRAMES)}
        return keys

    def words(self, out: Path | str, *more: str) -> list[str]:
        """The words of the command."""
        return [
            *(sys.executable, "-m", "ghost_deploy.cli.main", "batch", str(self.bundle)),
            *(str(self.archive), "-o", str(out), "--runtime", "ort", "--no-check", "--json"),
            *more,
        ]


@dataclass
class Faults:
    """What was counted and what was wrong."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def check(self, is_right: bool, what: str) -> None:
        """Note a fault."""
        if not is_right:
            self.wrong.append(what)
            print(f"FAULT: {what}", flush=True)


def make_workplace(root: Path, args: argparse.Namespace) -> Workplace:
    bundle = args.bundle or root / "bundle"
    if not args.bundle:
        from ghost_deploy.demo.scene_files import write_scenes

        scenes = write_scenes(root / "scenes", range(9_000, 9_004))
        words = [sys.executable, "-m", "ghost_deploy.cli.main", "export", str(MODEL_FILE)]
        words += ["-o", str(bundle), "--images", str(scenes[0].parent), "--imgsz", str(_SIDE)]
        subprocess.run([*words, "--onnx"], check=True, cwd=ROOT)
    videos = args.images // 10 // _VIDEO_FRAMES
    place = Workplace(
        root, bundle, args.images - videos * _VIDEO_FRAMES, videos, args.images // 1000
    )
    chance = np.random.default_rng(args.seed)
    for number in range(place.images):
        path = place.archive / f"{number % 50}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number < place.broken:
            path.write_bytes(b"broken")
            continue
        image = chance.integers(0, 256, (_SIDE // 4, _SIDE // 4, 3), np.uint8)
        cv2.imwrite(str(path), cv2.resize(image, (_SIDE, _SIDE)))
    for number in range(videos):
        name = str(place.archive / f"{number}.avi")
        writer = cv2.VideoWriter(name, cv2.VideoWriter.fourcc(*"MJPG"), 25, (_SIDE, _SIDE))
        for _ in range(_VIDEO_FRAMES):
            writer.write(chance.integers(0, 256, (_SIDE, _SIDE, 3), np.uint8))
        writer.release()
    return place


def part_of(place: Workplace, images: int) -> Workplace:
    """A smaller archive of links to the same images."""
    small = Workplace(place.root / "small", place.bundle, min(images, place.images), 0)
    small.broken = min(place.broken, small.images)
    for number in range(small.images):
        path = small.archive / f"{number % 50}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            os.link(place.archive / f"{number % 50}" / f"{number}.jpg", path)
    return small

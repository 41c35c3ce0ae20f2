"""What a type checker, and with it an editor, knows of the Python interface."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

SOURCE = """\
from pathlib import Path
from typing import Any
import numpy as np
from numpy.typing import NDArray
from PIL import Image
import ghost_deploy as gd

def use(detector: gd.Detector, array: NDArray[np.uint8], image: Image.Image) -> None:
    reveal_type(detector(array))  # Detections
    reveal_type(detector(image, conf=0.5, classes=["WBC"]))  # Detections
    reveal_type(detector(b"bytes of a file"))  # Detections
    reveal_type(detector("image.jpg"))  # Detections | Any
    reveal_type(detector(Path("image.jpg"), classes=0))  # Detections | Any
    reveal_type(detector([array, array]))  # list[Detections]
    reveal_type(detector(["a.jpg", Path("b.jpg"), image]))  # list[Detections]
    reveal_type(detector.detect("folder"))  # list[Detections]
    reveal_type(detector.names)  # dict[int, str]
    found = detector(array)
    for each in found:
        reveal_type(each)  # Detection
        reveal_type(each.confidence)  # float
        x1, y1, x2, y2 = each.xyxy
        reveal_type(x1)  # float
        reveal_type(each.name)  # str
    reveal_type(found[0])  # Detection
    reveal_type(found[found.confidence > 0.5])  # Detections
    reveal_type(found[[0, 1]])  # Detections
    reveal_type(found[:3])  # Detections
    reveal_type(len(found))  # int
    reveal_type(gd.load("bundle"))  # Detector
    reveal_type(gd.validate("bundle", "data.yaml").passed)  # bool
    reveal_type(gd.bench("bundle", "images").complete)  # bool
    reveal_type(gd.report("bundle").verdict.headline)  # str
    reveal_type(gd.check("bundle"))  # CheckReport
    reveal_type(gd.export("best.pt", "out"))  # Bundle

def loop(detector: gd.Detector) -> None:
    for result in gd.stream([0, "rtsp://camera", Path("a.mp4")], detector, track=True):
        reveal_type(result.frame)  # Frame
        reveal_type(result.detections)  # Detections
        reveal_type(result.position_s)  # float | None
        reveal_type(result.age_ms)  # float
    for frame, found in gd.infer(detector, "images"):
        reveal_type(frame.source)  # str
        reveal_type(found)  # Detections

def misuse(detector: gd.Detector, array: NDArray[np.uint8]) -> None:
    detector(3)  # error
    detector([1, 2])  # error
    detector({"image": array})  # error
    detector(None)  # error
    detector(array, conf="high")  # error
    detector(array, confidence=0.5)  # error
    detector.detect(2.5)  # error
"""


def test_types(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    pytest.importorskip("PIL")
    path = tmp_path / "use.py"
    path.write_text(SOURCE)
    # The cache of the checkout, where it has one, saves most of the time.
    command = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    said: dict[int, str] = {}
    for number, text in re.findall(r"use\.py:(\d+): (?:note|error): (.*)", done.stdout):
        said.setdefault(int(number), text)
    for number, line in enumerate(SOURCE.splitlines(), 1):
        want = line.rpartition("  # ")[2] if "  # " in line else None
        got = said.get(number)
        if want is None:
            assert got is None, (line, got)
        elif want == "error":
            assert got is not None, line
            assert "Revealed" not in got
        else:
            assert got is not None, (line, done.stdout, done.stderr)
            shown = re.sub(r"[\w.]+\.(?=\w)", "", got.removeprefix("Revealed type is ").strip('"'))
            assert shown == want, line

"""Does our exported file, run by Ultralytics' own `YOLO()`, give the boxes that we give?

Run it in a throw-away environment that has `ultralytics`; ghost-deploy need not be there:

    ghost-deploy infer BUNDLE photos --runtime ort --jsonl ours.jsonl
    python tools/check_under_ultralytics.py BUNDLE/model.fp32.onnx ours.jsonl

Exit code 1 if an image has another number of boxes, another class, or a box or score that is
off by more than --pixels or --score.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ultralytics import YOLO


def theirs(model: Any, image: str) -> np.ndarray:
    """Rows of x1, y1, x2, y2, score, class in source pixels, sorted as ours are."""
    # A static export takes a full square; rect=False keeps YOLO() from padding less.
    boxes = model.predict(image, conf=0.25, iou=0.7, rect=False, verbose=False)[0].boxes
    return ordered(boxes.data.cpu().numpy())


def ours(line: dict[str, Any]) -> np.ndarray:
    rows = [[*d["xyxy"], d["score"], d["class_id"]] for d in line["detections"]]
    return ordered(np.asarray(rows, np.float32).reshape(-1, 6))


def ordered(rows: np.ndarray) -> np.ndarray:
    return rows[np.lexsort((rows[:, 0], rows[:, 5], -rows[:, 4]))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="model.fp32.onnx, or a folder model.fp32_openvino_model")
    parser.add_argument("jsonl", type=Path, help="what `ghost-deploy infer --jsonl` wrote")
    parser.add_argument("--pixels", type=float, default=0.05)
    parser.add_argument("--score", type=float, default=1e-4)
    arguments = parser.parse_args()
    model = YOLO(arguments.model, task="detect")
    worst_box = worst_score = 0.0
    failed = boxes = images = 0
    for text in arguments.jsonl.read_text().splitlines():
        line = json.loads(text)
        a, b = theirs(model, line["source"]), ours(line)
        images, boxes = images + 1, boxes + len(b)
        if a.shape != b.shape or not np.array_equal(a[:, 5], b[:, 5]):
            print(f"{line['source']}: {len(a)} boxes under YOLO(), {len(b)} of ours")
            failed += 1
        elif len(a):
            worst_box = max(worst_box, float(np.abs(a[:, :4] - b[:, :4]).max()))
            worst_score = max(worst_score, float(np.abs(a[:, 4] - b[:, 4]).max()))
    print(f"{images} images, {boxes} boxes: box {worst_box:.2g} px, score {worst_score:.2g}")
    within = worst_box <= arguments.pixels and worst_score <= arguments.score
    return 0 if boxes and not failed and within else 1


if __name__ == "__main__":
    sys.exit(main())

"""pycocotools used in the plain way, on a whole data set at once, to compare with."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ghost_deploy.core.detections import Detections
from ghost_deploy.judge.datasets.labels import Labels


@dataclass(frozen=True)
class Case:
    """Objects and detections of each image, both in pixels."""

    objects: Sequence[Labels]
    found: Sequence[Detections]
    classes: int


def random_case(seed: int, images: int = 12, classes: int = 3, *, crowd: bool = False) -> Case:
    """Noisy detections of random objects, false ones, missed ones, equal scores, empty images."""
    rng = np.random.default_rng(seed)
    objects, found = [], []
    for _ in range(images):
        count = int(rng.integers(0, 9))
        corner, size = rng.uniform(0, 80, (count, 2)), rng.uniform(4, 40, (count, 2))
        boxes = np.hstack((corner, corner + size))
        class_id = rng.integers(0, classes, count)
        crowds = rng.random(count) < (0.3 if crowd else 0.0)
        objects.append(Labels(boxes, class_id.astype(np.int32), crowds))
        hit = rng.random(count) < 0.8
        noisy = boxes[hit] + rng.normal(0, 2, (int(hit.sum()), 4))
        noisy[:, 2:] = np.maximum(noisy[:, 2:], noisy[:, :2] + 1)
        extra = int(rng.integers(0, 6))
        corner, size = rng.uniform(0, 80, (extra, 2)), rng.uniform(4, 40, (extra, 2))
        all_boxes = np.vstack((noisy, np.hstack((corner, corner + size))))
        ids = np.concatenate((class_id[hit], rng.integers(0, classes, extra)))
        score = np.round(rng.random(len(ids)), 2)  # equal scores occur
        found.append(Detections(all_boxes, score, ids))
    return Case(objects, found, classes)


def evaluate(case: Case, max_det: int = 300) -> COCOeval:
    """pycocotools' own evaluation: `.eval["precision"]` is (10, 101, K, 4 areas, 3 limits)."""
    annotations, results = [], []
    for image_id, (labels, found) in enumerate(zip(case.objects, case.found, strict=True), 1):
        for box, class_id, crowd in zip(
            labels.xyxy.tolist(), labels.class_id.tolist(), labels.crowd.tolist(), strict=True
        ):
            x1, y1, x2, y2 = box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": class_id + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": int(crowd),
                }
            )
        results += found.to_coco(image_id)
    truth = COCO()
    truth.dataset = {
        "images": [{"id": i} for i in range(1, len(case.objects) + 1)],
        "annotations": annotations,
        "categories": [{"id": i + 1} for i in range(case.classes)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluator.params.maxDets = [1, 10, max_det]
        evaluator.evaluate()
        evaluator.accumulate()
    return evaluator


def mean_precision(evaluator: COCOeval) -> float:
    """AP50-95 over all classes, areas together, at the largest detection limit."""
    precision = evaluator.eval["precision"][:, :, :, 0, 2]
    return float(precision[precision > -1].mean())

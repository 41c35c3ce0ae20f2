"""Labels made by the float model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import ImageError, InputError
from ghost_deploy.judge.accuracy.agreement import label_by_model
from tests.support.images import write_image


def detector(*found: Sequence[float]) -> Any:
    """Finds the same boxes, x1 y1 x2 y2 score class, in every image."""
    rows = np.array(found, np.float32).reshape(-1, 6)
    detections = Detections(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int32))

    def detect(image: Any) -> Detections:
        return detections

    detect.spec = SimpleNamespace(class_names=("cat", "dog"))  # type: ignore[attr-defined]
    detect.thresholds = SimpleNamespace(conf=0.25)  # type: ignore[attr-defined]
    return detect


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write_image(tmp_path / "a.png")


def test_no_image_and_no_detection_say_nothing(image: Path) -> None:
    with pytest.raises(InputError, match="finds nothing") as caught:
        label_by_model(detector(), [image])
    assert "0.25" in str(caught.value)
    with pytest.raises(InputError, match="finds nothing"):
        label_by_model(detector((1, 2, 30, 20, 0.9, 1)), [])


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"b\.png"):
        label_by_model(detector((1, 2, 30, 20, 0.9, 1)), [tmp_path / "b.png"])


def test_detections_become_labels_in_pixels(image: Path) -> None:
    told: list[tuple[str, int, int]] = []
    boxes = ((1, 2, 30, 20, 0.9, 1), (5, 6, 55, 38, 0.5, 0))
    data = label_by_model(detector(*boxes), [image, image], lambda *step: told.append(step))
    assert (data.num_boxes, len(data.images), data.class_names) == (4, 2, ("cat", "dog"))
    first = data.images[0]
    assert first.boxes_px((40, 60)).tolist() == [[1, 2, 30, 20], [5, 6, 55, 38]]
    assert first.labels.class_id.tolist() == [1, 0]
    assert [step[1:] for step in told] == [(0, 2), (1, 2)]

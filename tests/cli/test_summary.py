from __future__ import annotations

import io

import numpy as np

from ghost_deploy.cli.console import Console
from ghost_deploy.cli.summary import Summary
from ghost_deploy.core.detections import Detections
from ghost_deploy.core.frame import Frame

IMAGE = np.zeros((10, 10, 3), np.uint8)


def found(*class_ids: int) -> Detections:
    count = len(class_ids)
    boxes = [[1.25, 2, 3, 4]] * count
    return Detections(boxes, np.linspace(0.9, 0.5, count), class_ids, ("cat", "dog"))


def printed(*results: tuple[str, Detections]) -> list[str]:
    summary, out = Summary(), io.StringIO()
    for index, (source, detections) in enumerate(results):
        summary.add(Frame(IMAGE, index=index, source=source), detections)
    summary.print(Console(io.StringIO(), io.StringIO()), out)
    return out.getvalue().splitlines()


def test_nothing() -> None:
    assert printed() == ["0 images, 0 detections"]


def test_one_image_without_detections() -> None:
    assert printed(("a.jpg", found())) == ["1 image, 0 detections"]


def test_one_image_shows_its_boxes() -> None:
    lines = printed(("a.jpg", found(1, 0)))
    assert lines[0].split() == ["class", "score", "x1", "y1", "x2", "y2"]
    assert lines[1].split() == ["dog", "0.900", "1.2", "2.0", "3.0", "4.0"]
    assert lines[-1] == "1 image, 2 detections"


def test_several_images_show_counts_and_class_totals() -> None:
    lines = printed(("x/a.jpg", found(0, 0, 1)), ("x/b.jpg", found()), ("x/c.jpg", found(1)))
    assert lines[1].split(maxsplit=2) == ["a.jpg", "3", "2 cat, 1 dog"]
    assert lines[2].split() == ["b.jpg", "0"]
    assert ["cat", "2", "1"] in [line.split() for line in lines]
    assert ["dog", "2", "2"] in [line.split() for line in lines]
    assert lines[-1] == "3 images, 4 detections"


def test_a_document_is_printed_as_what_it_was_made_of() -> None:
    summary, out = Summary(), io.StringIO()
    for index, (source, each) in enumerate((("x/a.jpg", found(1, 0, 0)), ("x/b.jpg", found()))):
        summary.add(Frame(IMAGE, index=index, source=source), each)
    Summary.of(summary.document()).print(Console(io.StringIO(), io.StringIO()), out)
    assert out.getvalue().splitlines() == printed(("x/a.jpg", found(1, 0, 0)), ("x/b.jpg", found()))


def test_hundreds_of_images_are_cut_short() -> None:
    lines = printed(*((f"{i}.jpg", found(0)) for i in range(300)))
    assert len(lines) < 30
    assert "... and 280 more images" in lines
    assert lines[-1] == "300 images, 300 detections"


def test_hundreds_of_detections_are_cut_short() -> None:
    lines = printed(("a.jpg", found(*[0] * 300)))
    assert len(lines) < 30
    assert "... and 280 more detections" in lines

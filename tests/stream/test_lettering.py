"""Class names of any script. What a machine lacks is simulated: fonts, fontconfig, OpenCV 5."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from ghost_deploy.core import said_once
from ghost_deploy.core.detections import Detections
from ghost_deploy.stream import lettering
from ghost_deploy.stream.draw import draw

HAS_FACES = hasattr(cv2, "FontFace")
DEJAVU = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")
needs_faces = pytest.mark.skipif(not HAS_FACES, reason="OpenCV before 5 has no fonts built in")
needs_dejavu = pytest.mark.skipif(
    not DEJAVU.is_file() or not (HAS_FACES or lettering._has_pillow()),
    reason="no DejaVu font here, or nothing that draws it",
)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(said_once, "_said", set())
    lettering._letters_for.cache_clear()
    lettering._open.cache_clear()
    yield
    lettering._letters_for.cache_clear()
    lettering._open.cache_clear()


@pytest.fixture
def without_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with OpenCV 4."""
    monkeypatch.delattr(cv2, "FontFace", raising=False)


@pytest.fixture
def without_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering, "_BUILT_IN", ())
    monkeypatch.setattr(lettering, "_font_files", lambda needed: iter(()))


def labelled(*names: str) -> tuple[np.ndarray, ...]:
    """An image for each name, with one box of that class."""
    found = (Detections([[40, 80, 250, 250]], [0.9], [0], (name,)) for name in names)
    return tuple(draw(np.full((300, 300, 3), 128, np.uint8), each) for each in found)


@pytest.mark.parametrize("name", ["", " ", "\n\t", "\u200b"])
def test_a_name_without_letters_is_a_number(name: str) -> None:
    assert lettering.drawable(name, 7) == "class 7"


@pytest.mark.parametrize("name", ["RBC", "traffic light", "~!@#%", "cat, black"])
def test_ascii_is_left_alone(name: str, without_fonts: None) -> None:
    assert lettering.drawable(name, 0) == name


@needs_faces
@pytest.mark.parametrize(
    "name", ["红细胞", "血小板", "ひらがな", "혈소판", "Größe", "Кошка", "Ελλάς"]
)
def test_opencv_5_draws_many_scripts(name: str) -> None:
    assert lettering.drawable(name, 0) == name
    drawn, number, questions = labelled(name, "class 0", "?" * len(name))
    assert not np.array_equal(drawn, number)
    assert not np.array_equal(drawn, questions)


@needs_faces
def test_names_of_one_length_are_drawn_differently() -> None:
    one, other = labelled("红细胞", "白细胞")
    assert not np.array_equal(one, other)


@needs_dejavu
@pytest.mark.skipif(shutil.which("fc-list") is None, reason="no fontconfig here")
def test_a_font_that_has_the_letters_is_looked_for() -> None:
    """Georgian and Armenian: not built in, and in DejaVu."""
    for name in ("კატა", "կատու"):
        needed = frozenset(name)
        files = list(lettering._font_files(needed))
        assert files[0].endswith("DejaVuSans.ttf")
        assert lettering.drawable(name, 0) == name


@needs_dejavu
def test_without_fontconfig_the_usual_folders_are_searched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "broken.ttf").write_text("no font")
    shutil.copy(DEJAVU, tmp_path / "deep" / "DejaVuSans.ttf")
    monkeypatch.setattr(shutil, "which", lambda program: None)
    monkeypatch.setattr(lettering, "_FOLDERS", (str(tmp_path / "absent"), str(tmp_path)))
    assert lettering.drawable("კატა", 0) == "კატა"
    assert lettering.drawable("हिन्दी", 0) == "class 0"


@needs_dejavu
def test_opencv_4_draws_with_pillow(without_faces: None) -> None:
    pytest.importorskip("PIL.ImageFont")
    assert lettering.drawable("Größe", 0) == "Größe"
    assert lettering.drawable("Кошка", 1) == "Кошка"
    drawn, plain = labelled("Größe", "Groe")
    assert not np.array_equal(drawn, plain)


def test_what_nothing_can_draw_is_a_number_and_said_once(
    without_fonts: None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "ghost_deploy"):
        assert [lettering.drawable("红细胞", 3) for _ in range(3)] == ["class 3"] * 3
        assert lettering.drawable("Größe", 0) == "Groe"
    first, second = (record.message for record in caplog.records)
    assert "'红细胞'" in first
    assert "'class 3'" in first
    assert "Install a font" in first
    assert "'Größe'" in second


def test_opencv_4_without_pillow(
    without_faces: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lettering, "_has_pillow", lambda: False)
    drawn, number = labelled("红细胞", "class 0")
    assert np.array_equal(drawn, number)


@pytest.mark.parametrize("size_hw", [(1, 1), (10, 300), (300, 10), (1080, 1920)])
@pytest.mark.parametrize("faces", [True, False])
def test_any_size_of_image(
    faces: bool, size_hw: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not faces:
        monkeypatch.delattr(cv2, "FontFace", raising=False)
    height, width = size_hw
    boxes = [[0, 0, width, height], [width - 1, height - 1, width, height]]
    ids = np.array([1, 2], np.int32)
    found = Detections(boxes, [0.9, 0.8], [0, 1], ("Größe", "Кошка"), track_id=ids)
    drawn = draw(np.full((*size_hw, 3), 128, np.uint8), found)
    assert drawn.shape == (*size_hw, 3)

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import ghost_deploy as gd
from ghost_deploy.core.errors import ImageError
from ghost_deploy.core.frame import Frame
from ghost_deploy.processing.images import as_bgr, list_images, read_image


@pytest.fixture
def pixels():
    """Smooth, so that JPEG changes it little; no two corners are alike."""
    y, x = np.mgrid[:24, :40]
    return np.stack((x * 6, y * 10, 255 - x * 3 - y * 5), axis=2).astype(np.uint8)


def write(path, image, *options):
    ok, data = cv2.imencode(path.suffix, image, *options)
    assert ok
    path.write_bytes(data.tobytes())
    return path


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.jpg", b"", "is empty"),
        ("text.png", b"this is no image", "is damaged or of an unknown format"),
        ("film.mp4", b"\0\0\0\x18ftypmp42" + bytes(64), "is damaged or of an unknown format"),
    ],
)
def test_files_that_are_no_images_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=f"{name} {message}"):
        read_image(tmp_path / name)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(ImageError, match=r"there is no image .*gone\.jpg"):
        read_image(tmp_path / "gone.jpg")
    with pytest.raises(ImageError, match="Name a file, not a folder"):
        read_image(tmp_path)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_truncated_file_is_refused(tmp_path, pixels, suffix):
    path = write(tmp_path / f"cut{suffix}", pixels)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ImageError, match=f"cut{suffix} is damaged"):
        read_image(path)


@pytest.mark.parametrize("name", ["plain.png", "Größe 測試 🩸.png", "UPPER.PNG", "pixels.tif"])
def test_lossless_files_are_read_exactly(tmp_path, pixels, name):
    found = read_image(str(write(tmp_path / name, pixels)))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, pixels)


def test_the_content_decides_not_the_suffix(tmp_path, pixels):
    path = write(tmp_path / "a.png", pixels).rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(read_image(path), pixels)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_keep_the_high_byte(tmp_path, suffix):
    deep = np.random.default_rng(0).integers(0, 2**16, (20, 30, 3), np.uint16)
    np.testing.assert_array_equal(read_image(write(tmp_path / f"d{suffix}", deep)), deep >> 8)
    grey = write(tmp_path / f"g{suffix}", np.ascontiguousarray(deep[..., 0]))
    np.testing.assert_array_equal(read_image(grey), (deep[..., :1] >> 8).repeat(3, axis=2))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_grey_becomes_three_equal_channels(tmp_path, pixels, suffix):
    found = read_image(write(tmp_path / f"grey{suffix}", pixels[..., 0]))
    assert found.shape == (24, 40, 3)
    assert (found == found[..., :1]).all()
    np.testing.assert_allclose(found[..., 0], pixels[..., 0], atol=4)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_alpha_is_dropped_without_blending(tmp_path, pixels, suffix):
    alpha = np.random.default_rng(0).integers(0, 256, (24, 40, 1), np.uint8)
    path = write(tmp_path / f"alpha{suffix}", np.concatenate((pixels, alpha), axis=2))
    found = read_image(path)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, pixels)


@pytest.mark.skipif(not hasattr(cv2, "imencodemulti"), reason="needs OpenCV 4.10 to write one")
def test_the_first_page_of_several_is_read(tmp_path, pixels):
    path = tmp_path / "pages.tiff"
    ok, data = cv2.imencodemulti(".tiff", [pixels, pixels[::-1].copy(), pixels])
    assert ok
    path.write_bytes(data.tobytes())
    np.testing.assert_array_equal(read_image(path), pixels)


class PilLike:
    """What is used of PIL: `mode`, `convert` and NumPy's array protocol."""

    def __init__(self, rgb, mode="RGB"):
        self.rgb, self.mode = rgb, mode

    def convert(self, mode):
        assert mode == "RGB"
        return PilLike(self.rgb)

    def __array__(self, dtype=None, copy=None):
        assert self.mode == "RGB"
        return np.array(self.rgb)


@pytest.mark.parametrize("wrong", [None, 3, [[1, 2]], object()])
def test_other_things_are_refused(wrong):
    with pytest.raises(ImageError, match=f"got {type(wrong).__name__}"):
        as_bgr(wrong)


@pytest.mark.parametrize("wrong", [b"", b"image.jpg", bytearray(100)])
def test_bytes_that_are_no_image_are_refused(wrong):
    with pytest.raises(ImageError, match=f"the image of {len(wrong)} bytes is"):
        as_bgr(wrong)


def test_every_kind_of_image_gives_the_same_array(tmp_path, pixels):
    path = write(tmp_path / "a.png", pixels)
    rgb = pixels[..., ::-1].copy()
    assert as_bgr(pixels) is pixels
    assert as_bgr(Frame(pixels)) is pixels
    for image in (path, str(path), Frame(rgb, color="rgb"), PilLike(rgb), PilLike(rgb, "CMYK")):
        found = as_bgr(image)
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, pixels)


def test_one_file_is_taken_whatever_its_name(tmp_path, pixels):
    odd = write(tmp_path / "a.png", pixels).rename(tmp_path / "image[1].data")
    assert list_images(odd) == [odd]
    assert list_images(str(odd)) == [odd]


@pytest.mark.parametrize("pattern", ["", "*.jpg", "nothing", "notes.*"])
def test_no_image_is_an_error(tmp_path, pattern):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ImageError, match=r"no image (in the folder|at) .*\.png"):
        list_images(tmp_path / pattern)


def test_folders_and_patterns_in_natural_order(tmp_path):
    names = ["img10.jpg", "img2.JPG", "img1.png", ".hidden.jpg", "notes.txt", "b.jpg", "IMG3.tif"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "img5.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    in_order = ["b.jpg", "img1.png", "img2.JPG", "IMG3.tif", "img10.jpg"]
    assert [path.name for path in list_images(tmp_path)] == in_order
    assert [path.name for path in list_images(f"{tmp_path}/*")] == in_order
    assert [path.name for path in list_images(tmp_path / "img1*")] == ["img1.png", "img10.jpg"]
    deep = [path.name for path in list_images(tmp_path / "**" / "*.jpg")]
    assert sorted(deep) == ["b.jpg", "img10.jpg", "img5.jpg"]


def test_a_relative_pattern(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").touch()
    monkeypatch.chdir(tmp_path)
    assert list_images("*.jpg") == [Path("a.jpg")]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads it all")
def test_a_file_without_permission_is_named(tmp_path, pixels):
    path = write(tmp_path / "secret.png", pixels)
    path.chmod(0)
    with pytest.raises(ImageError, match=r"secret\.png cannot be read"):
        read_image(path)


def test_without_opencv_the_message_says_how_to_get_it():
    code = "import sys; sys.modules['cv2'] = None; import ghost_deploy.processing"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "MissingExtraError" in run.stderr
    assert "pip install opencv-python-headless" in run.stderr
    assert "python3-opencv" in run.stderr


@pytest.mark.parametrize("name", ["x" * 300, "x" * 5000, "a\0b", "x" * 300 + ".txt"])
def test_a_name_that_no_file_can_have(name: str) -> None:
    """The system raises OSError for it, and Python ValueError."""
    with pytest.raises(ImageError, match="no image at"):
        list_images(name)
    with pytest.raises(ImageError, match="no image at"):
        gd.infer("no model", name)


@pytest.mark.parametrize("kind", ["pipe", "link", "device"])
def test_what_is_no_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("absent")
    else:
        path = Path("/dev/null")
    with pytest.raises(ImageError, match="a device, a pipe or a link that leads nowhere"):
        list_images(path)

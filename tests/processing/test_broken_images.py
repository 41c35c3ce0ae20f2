from __future__ import annotations

import pytest

from ghost_deploy.core.errors import ImageError, UsageError
from ghost_deploy.processing.broken_images import readable_images
from tests.support.images import write_images


@pytest.fixture
def paths(tmp_path):
    """Six images, of which the second, cut off, and the fifth, a text, cannot be read."""
    paths = write_images(tmp_path, 6)
    paths[1].write_bytes(paths[1].read_bytes()[:-200])
    paths[4].write_text("no image")
    return paths


def test_no_image_is_nothing():
    found = readable_images([])
    assert (found.paths, found.broken, found.note) == ((), (), "")


@pytest.mark.parametrize("wrong", ["", "raise", None, True])
def test_an_unknown_choice(wrong):
    with pytest.raises(UsageError, match="expected skip or stop"):
        readable_images([], wrong)


def test_broken_images_are_left_out_and_counted(paths):
    steps = []
    found = readable_images(paths, "skip", lambda *step: steps.append(step))
    assert found.paths == (paths[0], paths[2], paths[3], paths[5])
    assert [path for path, _ in found.broken] == [paths[1], paths[4]]
    assert found.note == "2 of 6 images could not be read: 1.png, 4.png"
    assert steps == [("checking images", index, 6) for index in range(6)]


def test_the_first_broken_image_stops(paths):
    with pytest.raises(ImageError, match=r"1\.png is damaged"):
        readable_images(paths, "stop")


def test_good_images_stop_nothing(paths):
    assert readable_images(paths[2:4], "stop").paths == tuple(paths[2:4])


def test_images_of_which_none_can_be_read(paths):
    with pytest.raises(ImageError, match="none of 2 images can be read"):
        readable_images([paths[1], paths[4]])


def test_a_long_list_is_cut(tmp_path):
    paths = write_images(tmp_path, 8)
    for path in paths[1:]:
        path.write_bytes(b"")
    assert readable_images(paths).note.endswith(": 1.png, 2.png, 3.png, 4.png, 5.png, ...")

"""Data sets of the YOLO form: what is read, what is refused, and by which words."""

from __future__ import annotations

import glob
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghost_deploy.core.errors import GhostDeployError, InputError, UsageError
from ghost_deploy.judge.datasets.open_dataset import DataSet, open_dataset
from tests.support.assets import BCCD, SHARED, needs_assets, val_images
from tests.support.images import solid_image, write_image

GOOD = "0 0.5 0.5 0.2 0.4\n"


def make(
    root: Path,
    labels: Mapping[str, str | None],
    yaml: str = "path: .\nval: images/val\nnames: [cat, dog]\n",
) -> Path:
    """A data set of one split; an image whose label is None gets no label file."""
    for name, text in labels.items():
        write_image(root / "images" / "val" / f"{name}.png", solid_image((20, 40)))
        if text is not None:
            label = root / "labels" / "val" / f"{name}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(text)
    file = root / "data.yaml"
    file.write_text(yaml)
    return file


def boxes(data: DataSet) -> list[list[float]]:
    return [box for image in data.images for box in image.boxes_px((20, 40)).tolist()]


@pytest.mark.parametrize(
    ("yaml", "says"),
    [
        ("", "NoneType"),
        ("[1, 2]", "list"),
        ("a: [", "cannot be read"),
        ("val: images/val\n", "no names"),
        ("val: images/val\nnc: 0\n", "nc 0"),
        ("val: images/val\nnames: []\n", "names []"),
        ("val: images/val\nnames: {0: cat, 2: dog}\n", "without a gap"),
        ("val: images/val\nnames: [cat, dog]\nnc: 3\n", "nc 3 and 2 names"),
        ("names: [cat]\ntrain: images/train\n", "train"),
        ("val: images/absent\nnames: [cat]\n", "do not exist"),
        ("val: labels\nnames: [cat]\n", "no images"),
        ("path: /nowhere\nval: images/val\nnames: [cat]\n", "do not exist"),
        ("val: list.txt\nnames: [cat, dog]\n", "list.txt:2: no image"),
    ],
)
def test_a_description_that_cannot_be_used(yaml: str, says: str, tmp_path: Path) -> None:
    file = make(tmp_path, {"a": GOOD}, yaml)
    (tmp_path / "list.txt").write_text("./images/val/a.png\nimages/val/absent.png\n")
    with pytest.raises(InputError) as caught:
        open_dataset(file)
    assert says in str(caught.value)


@pytest.mark.parametrize("name", ["absent.yaml", "absent.json", "absent"])
def test_a_description_that_is_not_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no data set description"):
        open_dataset(tmp_path / name)


def test_neither_form(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("x")
    with pytest.raises(UsageError, match="neither of the known forms"):
        open_dataset(tmp_path / "data.csv")
    with pytest.raises(UsageError, match="--images"):
        open_dataset(make(tmp_path, {"a": GOOD}), images=tmp_path)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("0 0.5 0.5 0.2", "4 columns instead of 5"),
        ("0 0.5 0.5 0.2 0.4 0.9", "6 columns instead of 5"),
        ("0 0.1 0.1 0.9 0.1 0.9 0.9", "boxes and polygons are mixed"),
        ("cat 0.5 0.5 0.2 0.4", "'cat' is not a number"),
        ("0 0,5 0.5 0.2 0.4", "'0,5' is not a number"),
        ("0 nan 0.5 0.2 0.4", "not a finite number"),
        ("0 0.5 inf 0.2 0.4", "not a finite number"),
        ("0.5 0.5 0.5 0.2 0.4", "not a whole number"),
        ("2 0.5 0.5 0.2 0.4", "class 2 is out of range"),
        ("-1 0.5 0.5 0.2 0.4", "class -1 is out of range"),
        ("0 120 40 30 30", "outside the image"),
        ("0 1.02 0.5 0.2 0.4", "outside the image"),
        ("0 0.5 -0.02 0.2 0.4", "outside the image"),
        ("0 0.5 0.5 1.02 0.4", "outside the image"),
        ("0 0.5 0.5 0 0.4", "without area"),
        ("0 0.5 0.5 0.2 -0.4", "without area"),
    ],
)
def test_a_broken_row_is_named_by_file_and_line(row: str, says: str, tmp_path: Path) -> None:
    file = make(tmp_path, {"a": f"{GOOD}\n{row}\n", "b": GOOD})
    with pytest.raises(InputError) as caught:
        open_dataset(file)
    text = str(caught.value)
    assert f"{Path('labels', 'val', 'a.txt')}:3: " in text
    assert says in text
    assert "1 broken label " in text
    assert "--skip-broken-labels" in caught.value.fix

    data = open_dataset(file, skip_broken=True)
    assert data.num_boxes == 2
    assert "1 broken label left out" in data.notes[0]
    assert says in data.notes[0]


def test_the_first_ten_of_many_broken_rows_are_listed(tmp_path: Path) -> None:
    file = make(tmp_path, {"a": "x\n" * 25, "b": GOOD})
    with pytest.raises(InputError) as caught:
        open_dataset(file)
    assert str(caught.value).count("columns instead") == 10
    assert "25 broken labels" in str(caught.value)
    assert "and 15 more" in str(caught.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    file = make(tmp_path, {"a": "", "b": GOOD})
    (tmp_path / "labels" / "val" / "a.txt").write_bytes(b"\xff\xfe0 0.5")
    with pytest.raises(InputError, match=r"a\.txt:1: cannot be read"):
        open_dataset(file)


def test_boxes_in_pixels_of_the_image(tmp_path: Path) -> None:
    # A byte order mark, Windows line ends, blank lines and a class as 1.0 are all in use.
    data = open_dataset(make(tmp_path, {"a": "\ufeff1.0 0.5 0.5 0.2 0.4\r\n\r\n0 0 0 1 1\r\n"}))
    assert data.images[0].labels.class_id.tolist() == [1, 0]
    np.testing.assert_allclose(boxes(data), [[16, 6, 24, 14], [-20, -10, 20, 10]])
    assert data.class_names == ("cat", "dog")
    assert (data.name, data.form, data.split) == ("data.yaml", "yolo", "val")


def test_a_box_over_the_edge_is_kept_and_named(tmp_path: Path) -> None:
    data = open_dataset(make(tmp_path, {"a": "0 0.95 0.5 0.2 0.4\n", "b": "0 0.9 0.5 0.2 0.4\n"}))
    assert data.num_boxes == 2
    assert [note for note in data.notes if "reach out" in note and "a.txt:1" in note]
    assert not any("b.txt" in note for note in data.notes)


def test_polygons_become_boxes(tmp_path: Path) -> None:
    data = open_dataset(make(tmp_path, {"a": "1 0.1 0.2 0.5 0.2 0.5 0.6\n"}))
    np.testing.assert_allclose(boxes(data), [[4, 4, 20, 12]])
    assert "1 polygons were replaced by their bounding boxes" in data.notes


def test_repeated_rows_count_once(tmp_path: Path) -> None:
    # 0.2 and 0.20000000001 are one number in float32, in which Ultralytics compares rows.
    text = f"{GOOD}{GOOD}1 0.5 0.5 0.2 0.4\n0 0.5 0.5 0.20000000001 0.4\n"
    data = open_dataset(make(tmp_path, {"a": text}))
    assert data.images[0].labels.class_id.tolist() == [0, 1]
    assert "2 rows that repeat another were left out" in data.notes


def test_images_that_show_nothing_and_labels_without_image(tmp_path: Path) -> None:
    file = make(tmp_path, {"a": GOOD, "b": "", "c": None})
    (tmp_path / "labels" / "val" / "ghost.txt").write_text(GOOD)
    (tmp_path / "labels" / "val" / "classes.txt").write_text("cat\n")
    data = open_dataset(file)
    facts = data.facts()
    assert (facts.images, facts.negatives, facts.boxes) == (3, 2, {"cat": 1, "dog": 0})
    assert facts.notes == (
        "1 images without a label file count as images that show nothing",
        "1 label files have no image: ghost.txt",
    )


def test_no_label_file_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no image .* has a label file") as caught:
        open_dataset(make(tmp_path, {"a": None, "b": None}))
    assert str(Path("labels", "val", "a.txt")) in str(caught.value)


@pytest.mark.parametrize(
    "entry",
    [
        "images/val",
        "../images/val",  # as Roboflow writes it
        "[images/val]",
        "val.txt",
        "[val.txt, images/val]",
    ],
)
def test_the_ways_to_name_images(entry: str, tmp_path: Path) -> None:
    file = make(tmp_path, {"a": GOOD, "b": GOOD}, f"val: {entry}\nnc: 1\n")
    (tmp_path / "val.txt").write_text("./images/val/b.png\n\nimages/val/a.png\n")
    data = open_dataset(file)
    assert [image.path.name for image in data.images] == ["a.png", "b.png"]
    assert data.num_boxes == 2
    assert data.class_names == ()


def test_the_path_of_the_data_set_and_the_split(tmp_path: Path) -> None:
    make(tmp_path / "set", {"a": GOOD}, "")
    file = tmp_path / "data.yaml"
    file.write_text("path: set\nval: none\ntest: images/val\nnames: {1: dog, 0: cat}\n")
    assert open_dataset(file, split="test").class_names == ("cat", "dog")
    assert open_dataset(tmp_path, split="test").split == "test"
    with pytest.raises(InputError, match="no split 'extra'") as caught:
        open_dataset(file, split="extra")
    assert "val, test" in str(caught.value)


def test_only_the_last_folder_of_that_name_is_replaced(tmp_path: Path) -> None:
    file = make(tmp_path / "images" / "set", {"a": GOOD})
    assert open_dataset(file).num_boxes == 1


def test_an_image_that_is_not_the_labelled_one(tmp_path: Path) -> None:
    data = open_dataset(make(tmp_path, {"a": GOOD}))
    assert data.images[0].boxes_px((20, 40)).tolist() != data.images[0].boxes_px((40, 20)).tolist()


@needs_assets
def test_bccd() -> None:
    data = open_dataset(BCCD / "data.yaml")
    facts = data.facts()
    assert [image.path for image in data.images] == val_images()
    assert facts.boxes == {"RBC": 967, "WBC": 87, "Platelets": 83}
    assert (facts.images, facts.negatives, facts.notes) == (87, 0, ())


def test_every_error_has_a_next_step(tmp_path: Path) -> None:
    with pytest.raises(GhostDeployError) as caught:
        open_dataset(make(tmp_path, {"a": "nonsense"}))
    assert caught.value.fix


def link_elsewhere(root: Path) -> None:
    """Link a folder of two more images, with their labels, into the split."""
    for kind, suffix in (("images", ".png"), ("labels", ".txt")):
        other = root / "elsewhere" / kind
        other.mkdir(parents=True)
        for name in ("x", "y"):
            (other / f"{name}{suffix}").write_bytes(
                (root / kind / "val" / f"a{suffix}").read_bytes()
            )
        (root / kind / "val" / "linked").symlink_to(other)


def link_back(root: Path) -> None:
    (root / "images" / "val" / "loop").symlink_to(root / "images")


def link_to_itself(root: Path) -> None:
    (root / "images" / "val" / "self").symlink_to(root / "images" / "val" / "self")


def link_a_file(root: Path) -> None:
    (root / "images" / "val" / "b.png").symlink_to(root / "images" / "val" / "a.png")
    (root / "labels" / "val" / "b.txt").symlink_to(root / "labels" / "val" / "a.txt")


def hide(root: Path) -> None:
    hidden = root / "images" / "val" / ".thumbnails"
    hidden.mkdir()
    (root / "images" / "val" / ".a.png").write_bytes(b"x")
    (hidden / "a.png").write_bytes(b"x")


def dangle(root: Path) -> None:
    (root / "images" / "val" / "gone.png").symlink_to(root / "gone.png")


def name_another_format(root: Path) -> None:
    (root / "images" / "val" / "b.MPO").write_bytes(b"x")


LINKS = {
    "a linked folder": (link_elsewhere, 3),
    "a link to a folder above": (link_back, 1),
    "a link to itself": (link_to_itself, 1),
    "a linked folder and a loop": ((link_elsewhere, link_back), 3),
    "a linked image": (link_a_file, 2),
    "hidden folders and files": (hide, 1),
    "a link to nothing": (dangle, 1),
    "a format of other cameras": (name_another_format, 2),
}


@pytest.mark.parametrize(("change", "count"), LINKS.values(), ids=LINKS)
def test_what_is_found_is_what_ultralytics_finds(tmp_path: Path, change: Any, count: int) -> None:
    file = make(tmp_path, {"a": GOOD})
    for each in change if isinstance(change, tuple) else (change,):
        each(tmp_path)
    data = open_dataset(file)
    assert len(data.images) == count
    # As Ultralytics looks for them, without the copies that it finds in a loop.
    pattern = str(tmp_path / "images" / "val" / "**" / "*.*")
    known = {"png", "mpo"}
    theirs = [Path(name) for name in glob.glob(pattern, recursive=True)]
    theirs = [path for path in theirs if path.suffix[1:].lower() in known and path.is_file()]
    assert {path.resolve() for path in theirs} == {image.path.resolve() for image in data.images}
    if change is link_elsewhere:
        assert all(len(image.labels) == 1 for image in data.images)


@needs_assets
def test_a_linked_folder_of_real_images(tmp_path: Path) -> None:
    script = SHARED / "cases" / "linked_folder.py"
    if not script.is_file():
        pytest.skip(f"no {script}")
    folders = [str(BCCD / kind / "val") for kind in ("images", "labels")]
    subprocess.run([sys.executable, str(script), *folders, str(tmp_path)], check=True)
    data = open_dataset(tmp_path / "data.yaml")
    assert len(data.images) == 8
    assert all(len(image.labels) for image in data.images)

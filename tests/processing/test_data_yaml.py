"""Which images a data.yaml names. That they are read as Ultralytics reads them is shown in
tests/validate/test_yolo_form.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from ghost_deploy.core.errors import InputError
from ghost_deploy.processing.data_yaml import (
    listed_images,
    read_description,
    split_images,
    splits,
)


def write(file: Path, text: str = "") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.mark.parametrize("text", ["", "- a", "a: [", "just text"])
def test_what_is_no_description(text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.yaml"):
        read_description(write(tmp_path / "data.yaml", text))


def test_splits_are_the_keys_that_name_images() -> None:
    description = {"path": ".", "nc": 1, "names": ["a"], "train": "x", "val": "y", "test": None}
    assert splits(description) == ["train", "val"]
    assert splits({}) == []


def test_a_split_that_is_not_there(tmp_path: Path) -> None:
    file = write(tmp_path / "data.yaml")
    with pytest.raises(InputError, match="no split 'train'"):
        split_images(file, {"val": "x"}, "train")
    with pytest.raises(InputError, match="do not exist"):
        split_images(file, {"train": "x"}, "train")
    (tmp_path / "x").mkdir()
    with pytest.raises(InputError, match="no images"):
        split_images(file, {"train": "x"}, "train")


def test_folders_and_lists_together(tmp_path: Path) -> None:
    file = write(tmp_path / "data.yaml")
    deep, listed = write(tmp_path / "a" / "b" / "1.jpg"), write(tmp_path / "c" / "2.png")
    write(tmp_path / "a" / "notes.txt")
    write(tmp_path / "list.txt", "./c/2.png\n\nc/gone.png\n")
    found, absent = split_images(file, {"train": ["a", "list.txt"]}, "train")
    assert found == [deep, listed]
    assert [where for where, _ in absent] == [f"{tmp_path / 'list.txt'}:3"]


def test_a_list_in_another_folder(tmp_path: Path) -> None:
    image = write(tmp_path / "images" / "1.jpg")
    lists = write(tmp_path / "lists" / "all.txt", "images/1.jpg\n./images/1.jpg\n")
    found, absent = listed_images(lists, tmp_path)
    assert found == [image]
    assert len(absent) == 1

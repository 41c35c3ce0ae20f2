"""Which images a data.yaml names. That they are read as Ultralytics reads them is shown in
tests/judge/datasets/test_yolo.py."""

from __future__ import annotations

import contextlib
import os
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


BILLION_LAUGHS = "a: &a [x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, after in pairwise("abcdefghi")
)
HOSTILE = {
    "no such day": "nc: 2024-02-30",
    "no integer": "nc: !!int x",
    "empty integer": "nc: !!int ''",
    "no float": "nc: !!float x",
    "no truth value": "nc: !!bool x",
    "no time": "nc: !!timestamp x",
    "5,000 digits": f"nc: {'9' * 5000}",
    "deep lists": "[" * 5000,
    "deep mappings": "{a: " * 5000,
    "deep in flow and block": "\n".join("  " * i + "a:" for i in range(200)),
    "aliases of aliases": BILLION_LAUGHS,
    "a list as a key": "? [a]\n: b",
    "an object of Python": "a: !!python/object/apply:os.system [ls]",
    "two documents": "a: 1\n--- \nb: 2",
    "a control character": "a: \x00",
    "too long": "a: " + "x" * (5 << 20),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_yaml_is_one_clear_error(kind: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read") as caught:
        read_description(write(tmp_path / "data.yaml", HOSTILE[kind]))
    assert "data.yaml" in str(caught.value)
    assert len(str(caught.value)) < 1000


# Fragments of the grammar of YAML, from which documents are drawn.
_SCALARS = st.sampled_from(
    [
        "1",
        "-0",
        "0x1g",
        "1e5",
        ".inf",
        "2024-13-01",
        "12:61",
        "~",
        "true",
        "''",
        '"\\ud800"',
        "é",
        "@",
    ]
)
_TAGS = st.sampled_from(
    ["", "!!int ", "!!float ", "!!bool ", "!!timestamp ", "!!binary ", "!!set ", "!!omap ", "!!x "]
)
_MARKS = st.sampled_from(["", "&a ", "*a", "<<: "])
_LEAVES = st.builds("{}{}{}".format, _MARKS, _TAGS, _SCALARS)
_NODES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda items: f"[{', '.join(items)}]", st.lists(inner, max_size=4)),
        st.builds(
            lambda items: "{" + ", ".join(f"{k}: {v}" for k, v in items) + "}",
            st.lists(st.tuples(inner, inner), max_size=3),
        ),
    ),
    max_leaves=12,
)


@given(
    st.lists(st.tuples(st.sampled_from(["path", "val", "names", "nc", "x"]), _NODES), max_size=4)
)
def test_any_document_is_read_or_one_error(parts: list[tuple[str, str]]) -> None:
    text = "\n".join(f"{key}: {node}" for key, node in parts)
    with tempfile.TemporaryDirectory() as folder:
        file = write(Path(folder) / "data.yaml", text)
        with contextlib.suppress(InputError):
            assert isinstance(read_description(file), dict)


def test_a_list_of_images_that_never_ends(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a regular file"):
        listed_images(Path("/dev/zero"), tmp_path)
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(InputError, match="not a regular file"):
        listed_images(tmp_path / "pipe.txt", tmp_path)


def test_a_listed_name_that_no_file_system_takes(tmp_path: Path) -> None:
    file = write(tmp_path / "list.txt", f"{'x' * 5000}.jpg\na\0b.jpg\n")
    found, absent = listed_images(file, tmp_path)
    assert (found, len(absent)) == ([], 2)


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

"""What a board sends back is put in place only if it is an output of what was sent."""

from __future__ import annotations

import argparse
import io
import os
from pathlib import Path

import pytest

from ghost_deploy.cli import returned_files
from ghost_deploy.cli.board_sources import put_results
from ghost_deploy.core.errors import BoardError, UsageError

PLACES = {"/b/data/1/cell.jpg": "/here/cell.jpg", "/b/data/1/a drive.avi": "/here/a drive.avi"}


def put(results: Path, target: Path, places: dict[str, str] = PLACES, **given: object) -> str:
    """Put results in place as `infer -o` does; what went to standard output."""
    facts = {"out": str(target), "save_uncertain": None, "jsonl": None, "overwrite": False}
    output = io.StringIO()
    args = argparse.Namespace(**{**facts, "save": None, **given})
    put_results(args, results, "board", places, output, several=False)
    return output.getvalue()


def returned(results: Path, *names: str, place: str = "out") -> Path:
    for name in names:
        path = results / place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return results


def held(target: Path) -> set[str]:
    return {p.relative_to(target).as_posix() for p in target.rglob("*") if not p.is_dir()}


@pytest.mark.parametrize(
    "name",
    [
        ".ssh/authorized_keys",
        ".bashrc",
        "cell",
        "cell.py",
        "other.jpg",
        "cellar.jpg",
        "images/cell.jpg",  # no --save
        "data.yaml",
        "crops/cell/cell-1.jpg",
        "..jpg",
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_names_of_nothing_that_was_sent_are_refused(
    tmp_path: Path, name: str, overwrite: bool
) -> None:
    target = tmp_path / "home"
    with pytest.raises(BoardError, match="no output of the files that were sent"):
        put(returned(tmp_path / "r", "cell.jpg", name), target, overwrite=overwrite)
    assert held(target) == set()


@pytest.mark.parametrize(
    "name",
    [".profile", "images/.x.jpg", "labels/cell.sh", "crops/.ssh/cell-1.jpg", "bin/cell.jpg",
     "images/a/cell.jpg", "labels/other.txt"],
)  # fmt: skip
def test_forms_have_names_too(tmp_path: Path, name: str) -> None:
    with pytest.raises(BoardError, match="no output of the files that were sent"):
        put(returned(tmp_path / "r", name), tmp_path / "home", save=["yolo,crops"])
    assert held(tmp_path / "home") == set()


@pytest.mark.parametrize(
    ("save", "names"),
    [
        (None, {"cell.jpg", "cell-2.jpg", "a drive.mp4", "a_drive-2026-12-01T00-00-00Z.mp4"}),
        (["yolo"], {"images/cell.jpg", "labels/cell.txt", "data.yaml", "classes.txt"}),
        (["labelme"], {"images/cell.json", "images/a_drive-000012.jpg"}),
        (["coco,csv,crops"], {"coco.json", "detections.csv", "crops/RBC/cell-2-1.jpg"}),
    ],
)
def test_outputs_are_put_in_place(tmp_path: Path, save: list[str] | None, names: set[str]) -> None:
    put(returned(tmp_path / "r", *names), tmp_path / "out", save=save)
    assert held(tmp_path / "out") == names


def test_a_long_name_and_one_that_is_no_text(tmp_path: Path) -> None:
    long, odd = "w" * 220, os.fsdecode(b"c\xff")
    places = {"1": f"/h/{long}.jpg", "2": f"/h/{odd}.jpg"}
    names = (f"{long[:200]}.jpg", f"{long}.jpg", f"{odd}.jpg")
    put(returned(tmp_path / "r", *names), tmp_path / "out", places)
    assert len(held(tmp_path / "out")) == 3


def test_links_are_refused(tmp_path: Path) -> None:
    results = returned(tmp_path / "r", "other/x")
    (results / "out" / "other" / "x").unlink()
    (tmp_path / "secret").write_text("secret")
    (results / "out" / "cell.jpg").symlink_to(tmp_path / "secret")
    with pytest.raises(BoardError, match="no output"):
        put(results, tmp_path / "home")
    (results / "out" / "cell.jpg").unlink()
    (results / "out" / "images").symlink_to(tmp_path)
    with pytest.raises(BoardError, match="no output"):
        put(results, tmp_path / "home", save=["yolo"])


def test_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(returned_files, "MOST_FILES", 2)
    names = ("cell.jpg", "cell-2.jpg", "cell-3.jpg")
    with pytest.raises(BoardError, match="more than 2 files"):
        put(returned(tmp_path / "r", *names), tmp_path / "home")


def test_a_source_is_never_replaced(tmp_path: Path) -> None:
    source = tmp_path / "images" / "cell.jpg"
    source.parent.mkdir()
    source.write_bytes(b"source")
    with pytest.raises(UsageError, match="exists already"):
        put(returned(tmp_path / "r", "cell.jpg"), source.parent, {"1": str(source)}, overwrite=True)
    assert source.read_bytes() == b"source"


@pytest.mark.parametrize(
    "line",
    [b"[1]", b"5", b'{"source":5}', b"\xff", b"x", b"[" * 200_000, b"", b'{"source":"\xff"}'],
)
def test_lines_that_are_no_results(tmp_path: Path, line: bytes) -> None:
    results = returned(tmp_path / "r", "cell.jpg")
    (results / "lines.jsonl").write_bytes(b'{"source":"/b/data/1/cell.jpg"}\n' + line + b"\n")
    target = tmp_path / "lines"
    with pytest.raises(BoardError, match="the board board answered something that is not a line"):
        put(results, tmp_path / "home", jsonl=str(target))
    assert not target.exists()
    assert held(tmp_path / "home") == set()


def test_lines_name_files_here(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "lines.jsonl").write_bytes(b'{"source":"/b/data/1/cell.jpg","n":1}\n')
    assert put(tmp_path / "r", tmp_path, jsonl="-") == '{"source":"/here/cell.jpg","n":1}\n'

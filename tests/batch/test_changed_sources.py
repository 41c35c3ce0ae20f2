"""Sources that change between two runs are told, and with `redo_changed` detected again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from ghost_deploy.batch import changed_sources
from ghost_deploy.batch.source_stamps import UNKNOWN, Stamp, stamp_of_file, stamp_of_stream
from tests.support.batch_runs import keys_twice, rows_in, run_pretended
from tests.support.images import solid_image, write_image
from tests.support.videos import write_video

pytest.importorskip("pyarrow")


def write_grey(folder: Path, count: int) -> None:
    for k in range(count):
        write_image(folder / f"{k:03}.png", solid_image((64, 64), k))


def run(inputs: Path, out: Path, **options: Any) -> tuple[Any, list[str]]:
    notes: list[str] = []
    report = run_pretended([inputs], out, note=notes.append, part_rows=8, **options)
    assert report.complete
    assert not keys_twice(rows_in(out))
    return report, [note for note in notes if "changed" in note]


def sizes(out: Path) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for row in rows_in(out):
        found.setdefault(Path(row["source"]).name, set()).add(row["width"])
    return found


def test_images(tmp_path: Path) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    write_grey(images, 20)
    (images / "bad.png").write_bytes(b"bad")
    assert run(images, out)[1] == []
    assert run(images, out)[1] == []
    for row in rows_in(out):
        assert Stamp(row["file_bytes"], row["modified_ns"]) == stamp_of_file(row["source"])
    write_image(images / "003.png", solid_image((32, 48), 3))
    write_image(images / "bad.png", solid_image((32, 48), 3))
    (images / "004.png").unlink()  # its row stays
    report, notes = run(images, out)
    assert (report.rows, report.changed) == (0, 2)
    (note,) = notes
    assert note.startswith("2 of 21 sources have changed since their rows were written, e.g. ")
    assert "--redo-changed detects them again" in note
    report, notes = run(images, out, redo_changed=True)
    assert (report.rows, report.changed, report.total_rows, report.total_errors) == (2, 2, 21, 0)
    assert sizes(out)["003.png"] == sizes(out)["bad.png"] == {48}
    assert run(images, out, redo_changed=True)[0].rows == 0


def test_all_images_of_a_part(tmp_path: Path) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    write_grey(images, 8)
    run(images, out)
    for path in images.iterdir():
        write_image(path, solid_image((32, 48), 3))
    report, _ = run(images, out, redo_changed=True)
    assert (report.rows, report.total_rows, report.parts) == (8, 8, 1)


def test_only_some_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    write_grey(images, 30)
    run(images, out)
    for path in images.iterdir():
        os.utime(path, ns=(5, 5))
    monkeypatch.setattr(changed_sources, "MOST_LOOKED_AT", 10)
    report, notes = run(images, out)
    assert report.changed == 10
    assert notes[0].startswith("10 of 10 sources that were looked at (of 30) have changed")
    assert run(images, out, redo_changed=True)[0].rows == 30
    monkeypatch.setattr(changed_sources, "_MOST_S", -1.0)
    monkeypatch.setattr(changed_sources, "MOST_LOOKED_AT", 10_000)
    for path in images.iterdir():
        os.utime(path, ns=(7, 7))
    (note,) = run(images, out)[1]
    assert "16 of 16 sources that were looked at (of 30)" in note


def test_a_video_that_became_shorter(tmp_path: Path) -> None:
    clips, out = tmp_path / "clips", tmp_path / "out"
    clips.mkdir()
    write_video(clips / "a.avi", 30, size_hw=(64, 64))
    write_video(clips / "b.avi", 5, size_hw=(64, 64))
    run(clips, out)
    write_video(clips / "a.avi", 10, size_hw=(64, 96))
    report, notes = run(clips, out)
    assert (report.rows, len(notes)) == (0, 1)
    report, _ = run(clips, out, redo_changed=True)
    assert (report.rows, report.total_rows) == (10, 15)
    assert sizes(out) == {"a.avi": {96}, "b.avi": {64}}


def test_a_half_done_video_that_changed_begins_anew(tmp_path: Path) -> None:
    clips, out = tmp_path / "clips", tmp_path / "out"
    clips.mkdir()
    write_video(clips / "a.avi", 30, size_hw=(64, 64))
    run(clips, out)
    max(out.glob("*.parquet")).unlink()
    write_video(clips / "a.avi", 30, size_hw=(64, 96))
    report, notes = run(clips, out)
    assert report.rows == 30
    assert "changed while it was half done" in notes[-1]
    assert sizes(out) == {"a.avi": {96}}


@pytest.mark.parametrize("first", ["image", "video"])
def test_another_kind_of_the_same_name(tmp_path: Path, first: str) -> None:
    """A name without a suffix, of which the content decides."""
    image = write_image(tmp_path / "one.png", solid_image((64, 64), 1))
    video = tmp_path / "one.avi"
    write_video(video, 9, size_hw=(64, 96))
    source, listed, out = tmp_path / "clip", tmp_path / "list.txt", tmp_path / "out"
    listed.write_text("clip\n")
    order = [image, video] if first == "image" else [video, image]
    counts = [1, 9] if first == "image" else [9, 1]
    shutil.copy(order[0], source)
    assert run(listed, out)[0].rows == counts[0]
    shutil.copy(order[1], source)
    report, notes = run(listed, out)
    assert (report.rows, report.changed, len(notes)) == (0, 1, 1)
    report, _ = run(listed, out, redo_changed=True)
    assert (report.rows, report.total_rows) == (counts[1], counts[1])


def test_a_folder_that_became_a_file(tmp_path: Path) -> None:
    """Its images are no longer there: their rows stay, and the file is a new source."""
    images, out = tmp_path / "images", tmp_path / "out"
    write_grey(images / "x.png", 3)
    run(images, out)
    shutil.rmtree(images / "x.png")
    write_image(images / "x.png")
    report, notes = run(images, out, redo_changed=True)
    assert (report.rows, report.total_rows, notes) == (1, 4, [])


STAMPS = [
    (UNKNOWN, Stamp(1, 2), False),
    (Stamp(1, None), Stamp(1, 2), False),
    (Stamp(1, None), Stamp(2, 2), True),
    (Stamp(1, 2), Stamp(1, 2), False),
    (Stamp(1, 2), Stamp(1, 3), True),
]


@pytest.mark.parametrize(("one", "other", "differs"), STAMPS)
def test_stamps(one: Stamp, other: Stamp, differs: bool) -> None:
    assert one.differs(other) == other.differs(one) == differs


HEADERS: list[tuple[dict[str, bytes] | None, int | None]] = [
    (None, None),
    ({}, None),
    ({"Last-Modified": b"yesterday"}, None),
    ({"Last-Modified": b"2026-12-01T03:22:02Z"}, 1796095322 * 10**9),
]


@pytest.mark.parametrize(("facts", "modified"), HEADERS)
def test_what_a_store_says(facts: dict[str, bytes] | None, modified: int | None) -> None:
    assert stamp_of_stream(3, facts) == Stamp(3, modified)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert stamp_of_file(str(tmp_path / "none")) == stamp_of_file("a\0b") == UNKNOWN

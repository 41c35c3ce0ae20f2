"""Videos: which frames are taken, what is a row, and where a run goes on."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from ghost_deploy.batch.part_files import PartFiles
from ghost_deploy.batch.part_worker import FrameChoice, PartWorker, WorkerSetup
from ghost_deploy.batch.video_frames_task import LAST, WHOLE
from ghost_deploy.batch.work_tasks import ArchiveFile, VideoTask
from tests.support.batch_runs import PretendModel, keys_twice, rows_in, run_pretended
from tests.support.numbered_frames import numbered_frame

pytest.importorskip("pyarrow")
FRAMES, RATE = 50, 25


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.avi")


def write_video(path: Path, frames: int = FRAMES) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), RATE, (320, 240))
    for number in range(frames):
        writer.write(numbered_frame(number))
    writer.release()
    return path


def run_task(video: Path, out: Path, done: frozenset[int] = frozenset(), rows: int = 20) -> None:
    setup = WorkerSetup(PretendModel(), "a" * 64, PartFiles(str(out)), part_rows=rows)
    with PartWorker(setup) as worker:
        worker.run(VideoTask("video-x", ArchiveFile(str(video)), done))


CHOICES = [
    (FrameChoice(), list(range(FRAMES))),
    (FrameChoice(every=7), list(range(0, FRAMES, 7))),
    (FrameChoice(every=1000), [0]),
    (FrameChoice(every_s=0.2), list(range(0, FRAMES, 5))),
    (FrameChoice(every_s=0.1), [0, 3, 5, 8, 10, 13, 15, 18, 20, 23, 25, 28, 30, 33, 35, 38, 40, 43,
                                45, 48]),
    (FrameChoice(every_s=100.0), [0]),
]  # fmt: skip


@pytest.mark.parametrize(("choice", "expected"), CHOICES)
def test_which_frames_are_taken(
    video: Path, tmp_path: Path, choice: FrameChoice, expected: list[int]
) -> None:
    setup = WorkerSetup(PretendModel(), "a" * 64, PartFiles(str(tmp_path / "out")), frames=choice)
    with PartWorker(setup) as worker:
        worker.run(VideoTask("video-x", ArchiveFile(str(video))))
    rows = rows_in(tmp_path / "out")
    assert [row["frame"] for row in rows] == expected
    assert [round(row["position_s"] * RATE) for row in rows] == expected
    assert {(row["width"], row["height"], len(row["boxes"])) for row in rows} == {(320, 240, 2)}


@pytest.mark.parametrize("content", [b"", b"no video", b"\0\0\0\x18ftypmp42" + bytes(200)])
def test_a_video_that_cannot_be_opened_is_one_row(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "clip.mp4").write_bytes(content)
    run_task(tmp_path / "clip.mp4", tmp_path / "out")
    (row,) = rows_in(tmp_path / "out")
    assert row["frame"] == WHOLE
    assert row["error"]


def test_a_video_that_is_gone_and_one_that_is_cut_short(video: Path, tmp_path: Path) -> None:
    run_task(tmp_path / "gone.mp4", tmp_path / "gone")
    assert [row["frame"] for row in rows_in(tmp_path / "gone")] == [WHOLE]
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    run_task(video, tmp_path / "out")
    rows = rows_in(tmp_path / "out")
    good = [row for row in rows if not row["error"]]
    assert 0 < len(good) < FRAMES
    assert any(row["error"] for row in rows)
    assert not keys_twice(rows)


@pytest.mark.parametrize("size", [10, 20, 25, 49, 50, 51])
def test_parts_and_where_it_goes_on(video: Path, tmp_path: Path, size: int) -> None:
    out = tmp_path / "out"
    run_task(video, out, rows=size)
    whole = rows_in(out)
    parts = sorted(out.glob("*.parquet"))
    assert len(parts) == -(-FRAMES // size)
    assert [LAST.encode() in metadata_of(part) for part in parts] == [False] * (len(parts) - 1) + [
        True
    ]
    for part in parts[1:]:
        part.unlink()
    run_task(video, out, frozenset({0}), rows=size)
    assert rows_in(out) == whole


@pytest.mark.parametrize("gone", [[1], [0, 2]])
def test_a_part_that_is_removed_comes_back(video: Path, tmp_path: Path, gone: list[int]) -> None:
    out = tmp_path / "out"
    run_pretended([video], out, part_rows=20)
    whole, parts = rows_in(out), sorted(out.glob("*.parquet"))
    for number in gone:
        parts[number].unlink()
    report = run_pretended([video], out)
    assert (report.skipped, report.total_rows, report.complete) == (0, FRAMES, True)
    assert (rows_in(out), sorted(out.glob("*.parquet"))) == (whole, parts)
    assert run_pretended([video], out).skipped == 1


@pytest.mark.parametrize(("gone", "frames"), [([0], 5), ([1], 25), ([0, 1], 0)])
def test_a_removed_part_of_a_video_that_changed(
    video: Path, tmp_path: Path, gone: list[int], frames: int
) -> None:
    """What cannot be read again is an error, not a gap without a word."""
    out = tmp_path / "out"
    run_pretended([video], out, part_rows=20)
    parts = sorted(out.glob("*.parquet"))
    for number in gone:
        parts[number].unlink()
    write_video(video, frames)
    report = run_pretended([video], out)
    assert (sorted(out.glob("*.parquet")), report.complete) == (parts, True)
    assert report.errors
    assert not keys_twice(rows_in(out))
    assert run_pretended([video], out).skipped == 1


def test_errors_of_a_video_that_are_read_again_add_no_part(video: Path, tmp_path: Path) -> None:
    out, bad = tmp_path / "out", PretendModel(fails=200)
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    first = run_pretended([video], out, bad, part_rows=10)
    assert first.errors
    for _ in range(2):
        again = run_pretended([video], out, bad, retry_errors=True)
        assert (again.parts, again.total_rows) == (first.parts, first.total_rows)


def test_a_video_that_has_become_shorter(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_task(video, out, rows=20)
    (out / "video-x-000002.parquet").unlink()
    write_video(video, 25)
    run_task(video, out, frozenset({0, 1}), rows=20)
    assert LAST.encode() in metadata_of(out / "video-x-000002.parquet")


def metadata_of(part: Path) -> dict[bytes, bytes]:
    from pyarrow import parquet

    return parquet.read_schema(part).metadata or {}


def test_videos_of_a_run(video: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", write_video(tmp_path / "b.avi", 15)
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    inputs = [video, other, tmp_path / "bad.mp4"]
    identity = {"every": 2}
    report = run_pretended(inputs, out, frames=FrameChoice(2), identity=identity, part_rows=10)
    assert (report.sources, report.rows, report.errors, report.complete) == (3, 34, 1, True)
    again = run_pretended(inputs, out, frames=FrameChoice(2), identity=identity)
    assert (again.rows, again.skipped) == (0, 3)
    write_video(tmp_path / "bad.avi", 30).replace(tmp_path / "bad.mp4")
    again = run_pretended(inputs, out, frames=FrameChoice(2), identity=identity, retry_errors=True)
    assert (again.total_rows, again.total_errors, again.complete) == (48, 0, True)
    assert not keys_twice(rows_in(out))

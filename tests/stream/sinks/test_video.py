from __future__ import annotations

import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ghost_deploy.core.errors import InputError, MissingExtraError
from tests.support.stream_results import make_result

av = pytest.importorskip("av")

from ghost_deploy.stream.sinks.retrying import RetryingSink  # noqa: E402
from ghost_deploy.stream.sinks.video import VideoSink  # noqa: E402


def frames_of(path: Path) -> list[tuple[float, NDArray[np.uint8]]]:
    """(milliseconds, image) of each frame, as OpenCV reads them."""
    video, found = cv2.VideoCapture(str(path)), []
    while (read := video.read())[0]:
        found.append((video.get(cv2.CAP_PROP_POS_MSEC), np.asarray(read[1], np.uint8)))
    video.release()
    return found


def test_no_result_makes_no_file(tmp_path: Path) -> None:
    VideoSink(tmp_path / "new").close()
    assert list((tmp_path / "new").iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        VideoSink(tmp_path / "file")


def test_without_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"\[stream\]"):
        VideoSink(tmp_path)


def test_frames_stand_at_their_time_of_capture(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path, annotate=lambda result: result.frame.image)
    moments = [5000, 5040, 5080, 7500, 7500, 7540]
    for i, at_ms in enumerate(moments):
        sink.write(make_result(index=i, at_ms=at_ms, shade=30 + 40 * i))
    sink.close()
    frames = frames_of(tmp_path / "cam1.mp4")
    assert [round(at) for at, _ in frames] == [0, 40, 80, 2500, 2500, 2540]
    for i, (_, image) in enumerate(frames):
        assert abs(image.mean() - (30 + 40 * i)) < 3


@pytest.mark.parametrize("base", [None, "1/1000", "1/90000", "1/12800", "1001/30000", "1/10"])
def test_frames_of_a_video_stand_where_they_stood(tmp_path: Path, base: str | None) -> None:
    unit = Fraction(base) if base else None
    sink = VideoSink(tmp_path, time_base_of=lambda _: unit)
    ticks = [3, 4, 9, 10, 300]
    times = [float(tick * (unit or Fraction(1, 90_000))) for tick in ticks]
    for index, at in enumerate(times):
        sink.write(make_result("clip", index=index, at_ms=index, position_s=at))
    sink.close()
    with av.open(str(tmp_path / "clip.mp4")) as container:
        found = [
            (frame.pts * frame.time_base, container.streams[0].time_base)
            for frame in container.decode(video=0)
        ]
    assert [float(at) for at, _ in found] == times
    if unit:  # the unit is kept, or a part of it
        assert all((unit / base).denominator == 1 for _, base in found)


def test_a_later_file_of_a_video_begins_with_its_first_frame(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path)
    for at, size_hw in ((1.0, (48, 64)), (2.0, (96, 64)), (2.5, (96, 64))):
        sink.write(make_result("clip", size_hw=size_hw, position_s=at))
    sink.close()
    assert [round(at) for at, _ in frames_of(tmp_path / "clip-2.mp4")] == [0, 500]


def test_a_name_that_is_taken_is_told(tmp_path: Path) -> None:
    (tmp_path / "drive.mp4").write_bytes(b"mine")
    said: list[str] = []
    sink = VideoSink(tmp_path, stem_of=lambda source: "drive", note=said.append)
    for source in ("0", "1"):
        sink.write(make_result(source))
    sink.close()
    assert (tmp_path / "drive.mp4").read_bytes() == b"mine"
    assert [len(frames_of(tmp_path / f"drive-{n}.mp4")) for n in (2, 3)] == [1, 1]
    assert [line.split(" holds ")[0].rpartition("/")[2] for line in said] == [
        "drive-2.mp4",
        "drive-3.mp4",
    ]


@pytest.mark.parametrize("size_hw", [(48, 64), (47, 63), (1, 1)])
def test_sizes(tmp_path: Path, size_hw: tuple[int, int]) -> None:
    sink = VideoSink(tmp_path)
    sink.write(make_result(size_hw=size_hw))
    sink.close()
    (frame,) = frames_of(tmp_path / "cam1.mp4")
    assert frame[1].shape == (size_hw[0] + size_hw[0] % 2, size_hw[1] + size_hw[1] % 2, 3)


def test_colours(tmp_path: Path) -> None:
    colors = np.array([[40, 60, 220], [200, 80, 30], [50, 190, 70], [128, 128, 128]], np.uint8)
    image = np.repeat(np.repeat(colors[None], 64, 0), 32, 1)
    sink = VideoSink(tmp_path, annotate=lambda _: image)
    sink.write(make_result(size_hw=(64, 128)))
    sink.close()
    ((_, image),) = frames_of(tmp_path / "cam1.mp4")
    assert np.abs(image[32, 16::32].astype(int) - colors).max() < 12


def test_another_size_and_another_run_begin_another_file(tmp_path: Path) -> None:
    for _ in range(2):
        sink = VideoSink(tmp_path)
        for i, size_hw in enumerate([(48, 64), (48, 64), (96, 64)]):
            sink.write(make_result(index=i, size_hw=size_hw))
            sink.write(make_result("cam2", index=i))
        sink.close()
    lengths = {path.name: len(frames_of(path)) for path in sorted(tmp_path.iterdir())}
    assert lengths == {
        "cam1.mp4": 2,
        "cam1-2.mp4": 1,
        "cam1-3.mp4": 2,
        "cam1-4.mp4": 1,
        "cam2.mp4": 3,
        "cam2-2.mp4": 3,
    }


PROGRAM = """
import sys, time
from fractions import Fraction
from pathlib import Path
from ghost_deploy.stream.sinks.video import VideoSink
from tests.support.stream_results import make_result
sink = VideoSink(Path(sys.argv[1]))
for i in range(55):
    sink.write(make_result(index=i, at_ms=100 * i))
print("written", flush=True)
time.sleep(600)
"""


def test_a_killed_process_loses_the_last_second_at_most(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        process.kill()
    assert 45 <= len(frames_of(tmp_path / "cam1.mp4")) <= 55


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A full disk: no file may grow beyond `size` bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 240, 320, 3), np.uint8)
    sink = VideoSink(tmp_path, annotate=lambda result: noise[result.frame.index % 8])

    def fill() -> None:
        for i in range(500):
            sink.write(make_result(index=i, at_ms=100 * i, size_hw=(240, 320)))

    with files_of_at_most(200_000), pytest.raises(InputError, match=r"cannot write .*cam1\.mp4"):
        fill()
    # There is room again: the next result begins another file, and the first can be played.
    sink.write(make_result(index=0, at_ms=0, size_hw=(240, 320)))
    sink.close()
    assert len(frames_of(tmp_path / "cam1.mp4")) >= 1
    assert len(frames_of(tmp_path / "cam1-2.mp4")) == 1


def test_a_disk_that_takes_nothing_is_not_littered(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path)

    def fill() -> None:
        for i in range(40):
            sink.write(make_result(index=i))

    with files_of_at_most(10):
        for _ in range(3):
            with pytest.raises(InputError, match="cannot write"):
                fill()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_somebody_takes_away_is_begun_anew(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path)
    sink.write(make_result(index=0, at_ms=0))
    (tmp_path / "cam1.mp4").unlink()
    with pytest.raises(InputError, match="cannot write"):
        sink.write(make_result(index=1, at_ms=2000))
    sink.write(make_result(index=2, at_ms=3000))
    sink.close()
    assert len(frames_of(tmp_path / "cam1.mp4")) == 1


def test_no_more_than_the_budget_is_kept(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    for name in ("mine.mp4", "cam1.mp4", "cam1-20261122.mp4"):
        (tmp_path / name).write_bytes(b"x" * 600_000)
    before = set(tmp_path.iterdir())
    budget = 1_000_000
    for run in range(2):  # what an earlier run left counts too
        sink = VideoSink(tmp_path, annotate=lambda _: noise, most_bytes=budget)
        for i in range(60):
            at_ms = 1_000_000 * run + 600 * i
            sink.write(make_result(index=i, at_ms=at_ms, size_hw=(240, 320)))
            ours = [path for path in tmp_path.iterdir() if path not in before]
            assert sum(path.stat().st_size for path in ours) <= 1.3 * budget
        sink.close()
    ours = sorted(set(tmp_path.iterdir()) - before)
    assert len(ours) >= 2
    assert all(frames_of(path) for path in ours)
    assert before <= set(tmp_path.iterdir())


def test_a_file_of_a_budget_ends_after_ten_minutes(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path, most_bytes=1 << 30)
    for at_s in (0, 300, 599, 600, 700):
        sink.write(make_result(at_ms=1000 * at_s))
    sink.close()
    assert [len(frames_of(path)) for path in sorted(tmp_path.iterdir())] == [3, 2]


def test_frames_count_as_written_when_they_can_be_played(tmp_path: Path) -> None:
    """Against a copy of the file: what a process that is killed now would leave."""
    for name, base, position in (("live", None, False), ("clip", Fraction(1, 1000), True)):
        sink = VideoSink(tmp_path, time_base_of=lambda _, base=base: base)
        guard = RetryingSink(sink)
        for i in range(35):
            at = i * 0.1 if position else None
            guard.write(make_result(name, index=i, at_ms=1000 + 100 * i, position_s=at))
            if i % 5 == 4:
                stats = guard.stats()
                copy = tmp_path / "copy.mp4"
                copy.write_bytes((tmp_path / f"{name}.mp4").read_bytes())
                playable = len(frames_of(copy)) if stats.sent else 0
                assert (stats.sent, stats.sent + stats.waiting) == (playable, i + 1)
                assert stats.waiting <= 10
        guard.close()
        assert (guard.stats().sent, guard.stats().waiting) == (35, 0)
        assert len(frames_of(tmp_path / f"{name}.mp4")) == 35


def test_a_full_disk_works_again_when_a_fragment_is_written(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 240, 320, 3), np.uint8)
    sink = VideoSink(tmp_path, annotate=lambda result: noise[result.frame.index % 8])
    guard = RetryingSink(sink, first_wait_s=0.0, longest_wait_s=0.0)

    def write(index: int) -> None:
        guard.write(make_result(index=index, at_ms=100 * index, size_hw=(240, 320)))

    with files_of_at_most(200_000):
        for index in range(60):
            write(index)
        full = guard.stats()
        assert full.dropped
        whole = sum(len(frames_of(path)) for path in tmp_path.iterdir())
        assert full.sent <= whole
    for index in range(60, 65):
        write(index)
    assert guard.stats().sent == full.sent  # taken, and not written yet
    for index in range(65, 90):
        write(index)
    assert guard.stats().sent > full.sent
    guard.close()
    stats = guard.stats()
    assert (stats.sent + stats.dropped, stats.waiting) == (90, 0)

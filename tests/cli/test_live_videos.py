"""`infer` on videos that are damaged, of variable rate, or among images; with a pretended model."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import pytest

from ghost_deploy.cli.main import main
from tests.cli.test_live import Capture, asked, lines  # noqa: F401
from tests.support.images import write_image
from tests.support.numbered_frames import numbered_frame
from tests.support.videos import halve, wipe, write_video

av: Any = pytest.importorskip("av")
pytestmark = pytest.mark.usefixtures("asked")

MJPEG = {"codec": "mjpeg", "size_hw": (96, 320)}


def infer(*words: object) -> int:
    return main(["infer", "b", *map(str, words)])


@pytest.mark.parametrize(
    ("wiped", "options", "code"),
    [
        ([], [], 0),
        ([7], [], 1),
        ([7], ["--max-broken", "1"], 1),
        ([7], ["--max-broken", "5%"], 0),
        ([], ["--max-broken", "0"], 0),
        ([7, 8, 9], ["--max-broken", "4.9"], 1),
    ],
)
def test_lost_frames_and_the_exit_code(
    wiped: list[int], options: list[str], code: int, tmp_path: Path, capsys: Capture
) -> None:
    whole = write_video(tmp_path / "whole.avi", 60, **MJPEG)
    path = wipe(whole, tmp_path / "clip.avi", wiped)
    assert infer(path, "--jsonl", tmp_path / "lines", *options) == code
    rows = lines((tmp_path / "lines").read_text())
    assert [row["frame"] for row in rows] == [n for n in range(60) if n not in wiped]
    assert [row["position_s"] for row in rows] == pytest.approx([r["frame"] / 30 for r in rows])
    said = capsys.readouterr().out
    lost = f"source 0: {len(wiped)} of 60 frames lost: {len(wiped)} do not decode"
    assert (lost in said) == bool(wiped)


def test_the_rate_is_that_of_the_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", 60, **MJPEG)
    assert infer(path, "--jsonl", tmp_path / "lines", "--fps", 5) == 0
    rows = lines((tmp_path / "lines").read_text())
    assert [row["frame"] for row in rows] == list(range(0, 60, 6))


def test_without_pyav_a_line_says_so(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "clip.avi", 6, **MJPEG)
    assert infer(path) == 0
    assert "OpenCV reads" not in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "av", None)
    assert infer(path) == 0
    said = capsys.readouterr()
    assert said.err.count("PyAV gives exact times") == 1
    assert "6 frames" in said.out


def test_one_of_many_is_no_failure(tmp_path: Path, capsys: Capture) -> None:
    whole = write_video(tmp_path / "whole.avi", 200, **{**MJPEG, "size_hw": (32, 64)})
    assert infer(wipe(whole, tmp_path / "clip.avi", [100])) == 0
    assert "1 of 200 frames lost" in capsys.readouterr().out


def test_half_a_file_is_told(tmp_path: Path, capsys: Capture) -> None:
    path = halve(write_video(tmp_path / "whole.avi", 60, **MJPEG), tmp_path / "half.avi")
    assert infer(path) == 1
    said = capsys.readouterr().out
    assert "of 60 frames lost" in said
    assert "are not there" in said


def test_a_percentage_is_asked_for(capsys: Capture) -> None:
    assert infer("a.avi", "--max-broken", "many") == 2
    assert "--max-broken" in capsys.readouterr().err


def times_of(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]


TIMES = [*range(0, 1000, 40), 1000, 1333, 1667, 2000, 5000]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_the_annotated_video_keeps_the_times(suffix: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / f"clip{suffix}", times=TIMES, time_base=Fraction(1, 1000))
    assert infer(path, "-o", tmp_path / "out", "--jsonl", tmp_path / "lines") == 0
    rows = lines((tmp_path / "lines").read_text())
    assert [row["position_s"] for row in rows] == [at / 1000 for at in TIMES]
    assert times_of(tmp_path / "out" / "clip.mp4") == [at / 1000 for at in TIMES]


def test_frames_that_were_left_out_leave_their_time(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mkv", times=TIMES, time_base=Fraction(1, 1000))
    assert infer(path, "-o", tmp_path / "out", "--every", 5) == 0
    assert times_of(tmp_path / "out" / "clip.mp4") == [at / 1000 for at in TIMES[::5]]


def test_videos_are_named_after_their_inputs(tmp_path: Path, capsys: Capture) -> None:
    for folder in ("east", "west"):
        (tmp_path / folder).mkdir()
        write_video(tmp_path / folder / "gate 1.mkv", 3)
    write_video(tmp_path / "2026-01-01T10:00:00.mkv", 4)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.mp4").write_bytes(b"mine")
    write_video(tmp_path / "mine.mkv", 5)
    sources = ["east/gate 1.mkv", "west/gate 1.mkv", "2026-01-01T10:00:00.mkv", "mine.mkv"]
    assert infer(*(tmp_path / name for name in sources), "-o", tmp_path / "out") == 0
    counts = {path.name: len(times_of(path)) for path in (tmp_path / "out").glob("*[0-9].mp4")}
    assert counts == {
        "gate 1.mp4": 3,
        "gate 1-2.mp4": 3,
        "2026-01-01T10:00:00.mp4": 4,
        "mine-2.mp4": 5,
    }
    assert (tmp_path / "out" / "mine.mp4").read_bytes() == b"mine"
    said = capsys.readouterr().err
    assert "gate 1-2.mp4 holds" in said
    assert "mine-2.mp4 holds" in said


@pytest.mark.parametrize("pattern", ["", "/*", "/*[0-9ab].*"])
def test_a_folder_of_videos_and_images(pattern: str, tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    for number, name in enumerate(("a.png", "b.png")):
        write_image(folder / name, numbered_frame(number, (96, 320)))
    write_video(folder / "clip1.mkv", 3)
    write_video(folder / "clip2.avi", 4, **MJPEG)
    (folder / "notes.txt").write_text("x")
    words = [f"{folder}{pattern}", "-o", tmp_path / "out", "--jsonl", tmp_path / "lines"]
    assert infer(*words) == 0
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made == {"a.png", "b.png", "clip1.mp4", "clip2.mp4"}
    assert cv2.imread(str(tmp_path / "out" / "b.png")).shape == (96, 320, 3)
    rows = [json.loads(line) for line in (tmp_path / "lines").read_text().splitlines()]
    found = {
        name: sum(Path(row["source"]).name == name for row in rows)
        for name in ("a.png", "clip2.avi")
    }
    assert (len(rows), found) == (9, {"a.png": 1, "clip2.avi": 4})
    assert ("1 .txt" in capsys.readouterr().err) == (pattern != "/*[0-9ab].*")


def test_frames_of_a_video_are_saved_as_a_data_set(tmp_path: Path, capsys: Capture) -> None:
    write_video(tmp_path / "clip.avi", 12, **MJPEG)
    write_image(tmp_path / "still.png")
    words = ["--every", 4, "--save", "yolo,csv", "-o", tmp_path / "out"]
    assert infer(tmp_path / "clip.avi", tmp_path / "still.png", *words) == 0
    stems = ["clip-000000", "clip-000004", "clip-000008", "still"]
    for folder in ("images", "labels"):
        assert sorted(path.stem for path in (tmp_path / "out" / folder).iterdir()) == stems
    table = (tmp_path / "out" / "detections.csv").read_text()
    assert f"{tmp_path / 'clip.avi'},4,{4 / 30}" in table
    assert f"results: {tmp_path / 'out'}" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*.mp4"))
    assert infer(tmp_path / "clip.avi", *words) == 2
    assert "has results of an earlier run" in capsys.readouterr().err
    assert infer(tmp_path / "clip.avi", "--every", 4, *words[2:], "--overwrite") == 0


@pytest.mark.parametrize(
    ("source", "words", "expected"),
    [
        ("rtsp://127.0.0.1:1/x", ["--save", "yolo", "-o", "out"], "the results of a camera"),
        ("clip.avi", ["--save", "yolo"], "no folder to write to"),
        ("clip.avi", ["--save", "voc", "-o", "out"], "no form of results 'voc'"),
    ],
)
def test_what_cannot_be_saved(
    source: str,
    words: list[str],
    expected: str,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "clip.avi", 2, **MJPEG)
    assert infer(source, *words) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_uncertain_frames_of_a_video(tmp_path: Path, capsys: Capture) -> None:
    """The pretended model finds the same in all frames: one of them is kept."""
    write_video(tmp_path / "clip.avi", 12, **MJPEG)
    words = ["--save-uncertain", tmp_path / "hard", "--budget", 3, "--conf", 0.55]
    assert infer(tmp_path / "clip.avi", *words, "--jsonl", tmp_path / "with") == 0
    assert infer(tmp_path / "clip.avi", "--conf", 0.55, "--jsonl", tmp_path / "without") == 0
    both = [lines((tmp_path / name).read_text()) for name in ("with", "without")]
    assert [row["detections"] for row in both[0]] == [row["detections"] for row in both[1]]
    kept = list((tmp_path / "hard" / "labels").iterdir())
    assert 1 <= len(kept) <= 3
    told = f"uncertain frames: {tmp_path / 'hard'} ({len(kept)} frame"
    assert told in capsys.readouterr().err
    assert infer(tmp_path / "clip.avi", "--budget", 3) == 2
    assert "--budget is that of --save-uncertain" in capsys.readouterr().err

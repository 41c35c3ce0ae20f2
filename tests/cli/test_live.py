"""`infer` on videos and live streams, with a pretended model."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest

from ghost_deploy import api
from ghost_deploy.cli.main import main
from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import UnavailableError
from ghost_deploy.detector import Detector
from ghost_deploy.runtimes.fake import FakeRuntime
from ghost_deploy.stream.sources import gstreamer
from ghost_deploy.stream.sources.gstreamer import GStreamer
from tests.support.camera_servers import MjpegCamera, jpeg
from tests.support.images import write_image
from tests.support.model_specs import make_spec
from tests.support.numbered_frames import numbered_frame
from tests.support.waiting import wait_until

Capture = pytest.CaptureFixture[str]
SPEC = make_spec((64, 64))
FOUND = Detections([[8, 8, 40, 24], [30, 30, 60, 60]], [0.9, 0.6], [0, 2])
ROOT = Path(__file__).resolve().parents[2]
CHILD = """
import sys
from ghost_deploy import api
from ghost_deploy.cli.main import main
from ghost_deploy.detector import Detector
from ghost_deploy.core.errors import UnavailableError
from ghost_deploy.runtimes.fake import FakeRuntime
from tests.cli.test_live import FOUND, SPEC
api.load = lambda *args, **options: Detector(FakeRuntime.for_spec(SPEC, FOUND), SPEC)
sys.exit(main(["infer", "b", *sys.argv[1:]]))
"""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A model that finds two things in every image; the options that `load` was given."""
    calls: list[dict[str, Any]] = []

    def load(*_: Any, **options: Any) -> Detector:
        calls.append(options)
        return Detector(FakeRuntime.for_spec(SPEC, FOUND), SPEC)

    monkeypatch.setattr(api, "load", load)
    return calls


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (320, 240))
    assert writer.isOpened()
    for number in range(12):
        writer.write(numbered_frame(number))
    writer.release()
    return path


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def start(*words: str, code: str = CHILD, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_a_video_frame_by_frame(asked: list[Any], video: Path, capsys: Capture) -> None:
    assert main(["infer", "b", str(video), "--jsonl", "-"]) == 0
    said = capsys.readouterr()
    rows = lines(said.out)
    assert [row["index"] for row in rows] == list(range(12))
    assert {row["source"] for row in rows} == {str(video)}
    assert {row["source_id"] for row in rows} == {"0"}
    assert all(row["age_ms"] > 0 and row["time"] for row in rows)
    assert "12 frames, 24 detections: 12 RBC, 12 Platelets" in said.err
    assert "source 0" in said.err
    assert asked[0]["hint"] == "throughput"


def test_the_final_table_is_a_result(asked: list[Any], video: Path, capsys: Capture) -> None:
    assert main(["infer", "b", str(video), "--every", "3"]) == 0
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if line.startswith("0 ")).split()
    assert row[1:6] == ["ended", "12", "4", "8", "0"]
    assert f"source 0: {video}, 320 x 240 pixels" in out
    assert "dropped: 8 skipped" in out


def test_two_videos_and_images_in_one_run(
    asked: list[Any], video: Path, tmp_path: Path, capsys: Capture
) -> None:
    for number in range(3):
        write_image(tmp_path / f"{number}.png", numbered_frame(number))
    (tmp_path / "bad.png").write_bytes(b"broken")
    words = [str(video), str(tmp_path), "--jsonl", "-", "--classes", "RBC"]
    assert main(["infer", "b", *words]) == 2
    said = capsys.readouterr()
    rows = lines(said.out)
    assert len(rows) == 12 + 3
    names = {str(tmp_path / f"{number}.png") for number in range(3)}
    assert {row["source"] for row in rows} == names | {str(video)}
    assert {each["class_name"] for row in rows for each in row["detections"]} == {"RBC"}
    assert "1 broken" in said.err
    assert "bad.png" in said.err


def test_annotated_video(asked: list[Any], video: Path, tmp_path: Path, capsys: Capture) -> None:
    pytest.importorskip("av")
    assert main(["infer", "b", str(video), "-o", str(tmp_path / "out")]) == 0
    capture = cv2.VideoCapture(str(tmp_path / "out" / "clip.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 12
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(10, abs=1)  # of so short a file
    capture.release()


def test_a_video_that_is_none(asked: list[Any], tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    assert main(["infer", "b", str(tmp_path / "bad.mp4")]) == 2
    assert "source 0" in (err := capsys.readouterr().err)
    assert "has failed" in err


def test_limits_by_class(asked: list[Any], video: Path, capsys: Capture) -> None:
    words = ["--conf", "0.8", "--conf", "Platelets=0.5", "--jsonl", "-"]
    assert main(["infer", "b", str(video), *words]) == 0
    assert asked[0]["conf"] == 0.8
    assert len(lines(capsys.readouterr().out)[0]["detections"]) == 2
    assert main(["infer", "b", str(video), "--conf", "RBC=0.95", "--jsonl", "-"]) == 0
    assert len(lines(capsys.readouterr().out)[0]["detections"]) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--roi", "1,2"], "no region"),
        (["--classes", "cow"], "no class 'cow'"),
        (["--classes", ""], "names no class"),
        (["--conf", "cow=0.5"], "no class 'cow'"),
    ],
)
def test_wrong_options(
    words: list[str], message: str, asked: list[Any], video: Path, capsys: Capture
) -> None:
    assert main(["infer", "b", str(video), *words]) == 2
    assert message in capsys.readouterr().err


def test_a_sink_that_loses_results_makes_the_run_a_failure(
    asked: list[Any], video: Path, capsys: Capture
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no device that is always full")
    assert main(["infer", "b", str(video), "--jsonl", "/dev/full"]) == 2
    said = capsys.readouterr()
    assert "lines: 0 results written, 12 lost; last error: cannot write /dev/full" in said.out
    assert "lines: results are being lost" in said.err


def test_what_is_kept_may_be_limited(
    asked: list[Any], video: Path, tmp_path: Path, capsys: Capture
) -> None:
    pytest.importorskip("av")
    words = ["-o", str(tmp_path), "--snapshots", str(tmp_path), "--keep", "1M"]
    assert main(["infer", "b", str(video), *words]) == 0
    out = capsys.readouterr().out
    assert "videos: 12 results written\n" in out
    assert {path.suffix for path in tmp_path.iterdir()} == {".mp4", ".jpg"}


@pytest.mark.parametrize(
    "word",
    ["--keep=5", "--keep=0M", "--keep=x", "--fps=0", "--every=0", "--max-age=x", "--conf=a=2"],
)
def test_options_that_do_not_parse(word: str, video: Path, capsys: Capture) -> None:
    assert main(["infer", "b", str(video), word]) == 2
    assert word.split("=", maxsplit=1)[0] in capsys.readouterr().err


def test_live_options_say_nothing_about_images(
    asked: list[Any], tmp_path: Path, capsys: Capture
) -> None:
    assert main(["infer", "b", str(tmp_path), "--fps", "5"]) == 2
    assert "--fps is for cameras" in capsys.readouterr().err


def test_gstreamer_that_is_not_there(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    absent = GStreamer(problem="libgstreamer-1.0.so.0: cannot open shared object file")
    monkeypatch.setattr(gstreamer, "probe_gstreamer", lambda: absent)
    for word in ("csi://0", "videotestsrc ! appsink"):
        assert main(["infer", "b", word]) == UnavailableError.exit_code
        err = capsys.readouterr().err
        assert "needs GStreamer" in err
        assert "apt install" in err
    assert not asked


@pytest.mark.parametrize("words", [[""], [" "], ["image.jpg", ""]])
def test_an_empty_source(words: list[str], asked: list[Any], capsys: Capture) -> None:
    assert main(["infer", "b", *words]) == 2
    err = capsys.readouterr().err
    assert "a source is empty" in err
    assert "image, folder, glob" in err
    assert not asked


def test_standard_input_once(asked: list[Any], capsys: Capture) -> None:
    assert main(["infer", "b", "-", "raw:64x48"]) == 2
    assert "more than once" in capsys.readouterr().err


def test_a_source_that_is_required(asked: list[Any], capsys: Capture) -> None:
    with MjpegCamera() as gone:
        pass
    assert main(["infer", "b", gone.address, "--require-all"]) == 2
    err = capsys.readouterr().err
    assert "--require-all" in err
    assert "refused" in err
    assert "secret" not in err


def test_images_on_standard_input(video: Path) -> None:
    empty = start("-", "--jsonl", "-", stdin=subprocess.DEVNULL)
    pipe = start("-", stdin=subprocess.PIPE)
    assert pipe.stdin is not None
    os.write(pipe.stdin.fileno(), b"".join(jpeg(number) for number in range(5)))
    out, err = pipe.communicate(timeout=60)  # closes the pipe
    assert pipe.returncode == 0, err
    row = next(line for line in out.splitlines() if line.startswith("0 ")).split()
    assert row[1:3] == ["ended", "5"]
    out, err = empty.communicate(timeout=60)
    assert (empty.returncode, out) == (0, ""), err


def test_raw_images_on_standard_input() -> None:
    pipe = start("raw:320x240", "--jsonl", "-", stdin=subprocess.PIPE)
    assert pipe.stdin is not None
    # One at a time: of a live source only the newest is kept.
    data = b"".join(numbered_frame(number).tobytes() for number in range(5))
    with open(os.dup(pipe.stdin.fileno()), "wb") as stream:
        stream.write(data)
    out, err = pipe.communicate(timeout=60)
    assert pipe.returncode == 0, err
    assert lines(out)[-1]["index"] == 4
    assert lines(out)[-1]["size_hw"] == [240, 320]


def test_a_signal_while_a_source_hangs() -> None:
    """The server takes connections and says nothing: the run ends before the read does."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"user:secret@127.0.0.1:{silent.getsockname()[1]}"
        with MjpegCamera() as camera:
            child = start(f"rtsp://{host}/1", f"http://{host}/1", camera.address, "--timeout", "60")
            assert child.stderr is not None
            said = ""
            while "is live" not in said:
                said += child.stderr.readline()
            child.terminate()
            out, err = child.communicate(timeout=60)
    assert child.returncode == 143, err
    assert "stopped by SIGTERM" in err
    assert "secret" not in out + said + err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_frame_and_says_why(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    path = tmp_path / "lines.jsonl"
    with MjpegCamera() as camera:
        child = start(camera.address, "--jsonl", str(path))
        wait_until(lambda: path.exists() and path.read_bytes().count(b"\n") > 3, 60)
        child.send_signal(number)
        child.send_signal(number)  # as `timeout` does
        out, err = child.communicate(timeout=60)
    assert child.returncode == code, err
    assert f"stopped by {number.name}" in err
    rows = lines(path.read_text())
    assert rows
    frames = next(line for line in out.splitlines() if "detections" in line)
    assert frames.startswith(f"{len(rows)} frames")
    assert "secret" not in out + err + path.read_text()
    assert "hidden" not in out + err + path.read_text()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_the_model_loads(number: signal.Signals, code: int, tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    slow = "print('loading', file=sys.stderr, flush=True) or __import__('time').sleep(60)"
    code_of_child = re.sub(r"(lambda .*?: ).*", rf"\1{slow}", CHILD)
    child = start("raw:8x8", "--jsonl", str(path), code=code_of_child, stdin=subprocess.PIPE)
    assert child.stderr is not None
    while "loading" not in child.stderr.readline():
        pass
    child.send_signal(number)
    out, err = child.communicate(timeout=60)
    assert child.returncode == code, err
    assert f"stopped by {number.name}" in err
    assert "Traceback" not in err
    assert out == ""
    assert not path.exists()


def test_lines_survive_sigkill_and_the_next_run_adds_to_them(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    with MjpegCamera() as camera:
        for more in (3, 6):
            child = start(camera.address, "--jsonl", str(path))
            wanted = path.read_bytes().count(b"\n") + more if path.exists() else more
            wait_until(
                lambda: path.exists() and path.read_bytes().count(b"\n") >= wanted,  # noqa: B023
                60,
            )
            child.kill()
            child.communicate(timeout=60)
    whole = [line for line in path.read_text().splitlines() if line.endswith("}")]
    assert len(lines("\n".join(whole))) >= 9


def test_images_do_not_load_the_live_part(tmp_path: Path) -> None:
    write_image(tmp_path / "1.png", numbered_frame(1))
    code = CHILD.replace("sys.exit(", "code = (") + (
        "live = ('pipeline', 'sources.opencv', 'sources.mjpeg', 'web', 'sinks.video')\n"
        "loaded = [name for name in live if f'ghost_deploy.stream.{name}' in sys.modules]\n"
        "sys.exit(f'loaded: {loaded}' if loaded else code)\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

"""`gd.stream`: results of videos, live sources and images in a loop, and how it ends."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import ghost_deploy as gd
from ghost_deploy.core.detections import Detections
from ghost_deploy.detector import Detector
from ghost_deploy.runtimes.fake import FakeRuntime
from tests.support.camera_servers import MjpegCamera
from tests.support.constant_model import write_constant_bundle
from tests.support.images import solid_image, write_image
from tests.support.model_specs import make_spec
from tests.support.numbered_frames import numbered_frame, read_number
from tests.support.waiting import wait_until

SPEC = make_spec((64, 64))
FOUND = Detections([[8, 8, 40, 24], [30, 30, 60, 60]], [0.9, 0.7], [0, 2])
FRAMES = 12


@pytest.fixture
def detector() -> Detector:
    return Detector(FakeRuntime.for_spec(SPEC, FOUND), SPEC)


def write_video(path: Path, first: int = 0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (320, 240))
    for number in range(first, first + FRAMES):
        writer.write(numbered_frame(number))
    writer.release()
    return path


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.avi")


def test_wrong_arguments(detector: Detector, video: Path, tmp_path: Path) -> None:
    threads = threading.active_count()
    for sources, options, error, match in (
        ([], {}, gd.UsageError, "no source"),
        ("", {}, gd.UsageError, "a source is empty"),
        (tmp_path / "gone.mp4", {}, gd.UsageError, "gone.mp4"),
        (video, {"classes": ["horse"]}, gd.UsageError, "no class 'horse'"),
        (video, {"conf": 2.0}, gd.SpecError, "conf"),
        (video, {"policy": gd.LivePolicy(batch=9)}, gd.UsageError, "9 images at once"),
    ):
        with pytest.raises(error, match=match):
            gd.stream(sources, detector, **options)
    with pytest.raises(gd.UsageError, match="no bundle or model"):
        gd.stream(video, tmp_path / "absent")
    assert threading.active_count() == threads
    assert len(detector(solid_image())) == 2


def test_a_video(detector: Detector, video: Path) -> None:
    results = list(gd.stream(video, detector))
    assert all(isinstance(each, gd.Result) for each in results)
    assert [read_number(each.frame.image) for each in results] == list(range(FRAMES))
    assert [each.frame.index for each in results] == list(range(FRAMES))
    positions = [each.position_s for each in results]
    np.testing.assert_allclose(positions, np.arange(FRAMES) / 25, atol=1e-3)
    assert {(each.source, each.label) for each in results} == {("0", str(video))}
    assert all(each.age_ms > 0 for each in results)
    assert [len(each.detections) for each in results] == [2] * FRAMES
    assert results[0].detections.track_id is None


def test_settings_and_classes(detector: Detector, video: Path) -> None:
    def counts(**options: Any) -> set[int]:
        return {len(each.detections) for each in gd.stream(video, detector, **options)}

    assert counts(conf=0.8) == {1}
    assert counts(classes=["Platelets"]) == {1}
    assert counts(classes=[0, 2], class_conf={"RBC": 0.95}) == {1}
    assert detector.thresholds == SPEC.thresholds


def test_tracked(detector: Detector, video: Path) -> None:
    results = list(gd.stream(video, detector, track=True))
    ids = [[row.track_id for row in each.detections] for each in results]
    assert ids == [[0, 0]] + [[1, 2]] * (FRAMES - 1)


def test_several_sources(detector: Detector, video: Path, tmp_path: Path) -> None:
    other = write_video(tmp_path / "other.avi", first=100)
    write_image(tmp_path / "one.png", solid_image((64, 64), 7))
    found: dict[str, list[int]] = {"0": [], "1": [], "2": []}
    with gd.stream([video, str(other), tmp_path / "one.png"], detector) as results:
        for each in results:
            seen = each.frame.image
            found[each.source].append(7 if each.source == "2" else read_number(seen))
    wanted = list(range(FRAMES)), list(range(100, 100 + FRAMES)), [7]
    assert tuple(found.values()) == wanted
    assert [each.processed for each in results.stats()] == [FRAMES, FRAMES, 1]
    assert {each.state for each in results.stats()} == {"ended"}


def threads_of_streams() -> list[str]:
    return [each.name for each in threading.enumerate() if each is not threading.main_thread()]


def test_leaving_the_loop_ends_everything(detector: Detector, video: Path) -> None:
    before = threads_of_streams()
    for each in gd.stream(video, detector):
        if each.frame.index == 2:
            break
    assert threads_of_streams() == before

    def fail() -> None:
        for _ in gd.stream(video, detector):
            raise KeyError("in the body")

    with pytest.raises(KeyError):
        fail()
    gc.collect()
    assert threads_of_streams() == before
    assert len(list(gd.stream(video, detector))) == FRAMES


def test_closing(detector: Detector, video: Path) -> None:
    results = gd.stream(video, detector)
    next(results)
    results.close()
    results.close()
    assert list(results) == []
    unused = gd.stream(video, detector)
    unused.close()
    assert list(unused) == []
    assert len(detector(solid_image())) == 2


def test_a_model_that_was_opened_is_closed(video: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    model = write_constant_bundle(tmp_path / "bundle", batch=(1, 1))
    for results in (gd.stream(video, model), gd.stream(video, str(model.path))):
        closed: list[None] = []
        results._resources.callback(lambda closed=closed: closed.append(None))
        next(results)
        results.close()
        assert closed == [None]
    assert len(list(gd.stream(video, model))) == FRAMES


def test_a_model_that_fails(video: Path) -> None:
    def fail(_: object) -> dict[str, Any]:
        raise gd.BackendError("the model failed", fix="Look at it")

    good = FakeRuntime.for_spec(SPEC, FOUND)
    bad = FakeRuntime(inputs=good.inputs, outputs=good.outputs, function=fail)
    results = gd.stream(video, Detector(bad, SPEC))
    with pytest.raises(gd.BackendError, match="the model failed"):
        next(results)
    assert list(results) == []


def test_what_cannot_be_read_is_raised_behind_the_other_results(
    detector: Detector, video: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.avi"
    broken.write_bytes(b"no video")
    images = tmp_path / "images"
    images.mkdir()
    (images / "bad.png").write_bytes(b"no image")
    for source, match in ((broken, "broken"), (images / "bad.png", "bad")):
        results = gd.stream([video, source], detector)
        for _ in range(FRAMES):
            next(results)
        with pytest.raises(gd.InputError, match=match):
            next(results)
        assert list(results) == []


def test_threads_share_the_results(detector: Detector, video: Path) -> None:
    results = gd.stream(video, detector)
    seen: list[int] = []

    def read() -> None:
        seen.extend(each.frame.index for each in results)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(FRAMES))


def test_closing_from_another_thread_ends_a_wait(detector: Detector) -> None:
    """Of a camera that is not there."""
    results = gd.stream("http://127.0.0.1:9/live.mjpg", detector)
    ended: list[list[Any]] = []
    reader = threading.Thread(target=lambda: ended.append(list(results)))
    reader.start()
    wait_until(lambda: results.stats()[0].last_error)
    results.close()
    reader.join()
    assert ended == [[]]


def test_a_slow_reader_gets_the_newest_frame_of_a_camera(detector: Detector) -> None:
    with MjpegCamera() as camera, gd.stream(camera.address, detector) as results:
        ages: list[float] = []
        numbers: list[int] = []
        for each in results:
            ages.append(each.age_ms)
            numbers.append(read_number(each.frame.image))
            if len(numbers) == 6:
                break
            time.sleep(0.5)
        # Whatever the machine is busy with: all but a few of the frames in between are left out.
        assert numbers == sorted(set(numbers))
        assert numbers[-1] - numbers[0] > 15
    (stats,) = results.stats()
    assert stats.dropped["newer"] > 0
    assert stats.captured == stats.processed + sum(stats.dropped.values())


def test_a_process_that_ends_amid_a_run(video: Path) -> None:
    """Its threads do not run any more then, and nothing waits for them."""
    code = (
        "import ghost_deploy as gd, sys\n"
        "from tests.test_stream_results import FOUND, SPEC, Detector, FakeRuntime\n"
        "detector = Detector(FakeRuntime.for_spec(SPEC, FOUND), SPEC)\n"
        "results = gd.stream(sys.argv[1], detector)\n"
        "print(next(results).frame.index)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(video)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")

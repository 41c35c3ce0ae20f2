"""GStreamer in a process of its own, run for real."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ghost_deploy.core.errors import ImageError, InputError, UnavailableError
from ghost_deploy.stream.pipeline import Pipeline
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources import gstreamer, rtsp
from ghost_deploy.stream.sources.gst_reader import GstReader
from ghost_deploy.stream.sources.gstreamer import GStreamer, probe_gstreamer
from ghost_deploy.stream.sources.rtsp import uses_gstreamer
from ghost_deploy.stream.sources.source_table import (
    SourceAddress,
    check_readable,
    open_source,
    source_backends,
)
from ghost_deploy.stream.sources.uri import parse_source
from tests.support.camera_servers import needs_gstreamer
from tests.support.images import solid_image, write_image
from tests.support.running_pipeline import FAST, Running, assert_exact, make_detector
from tests.support.waiting import wait_until

POLICY = dataclasses.replace(FAST, open_timeout_s=20.0)
SINK = "videoconvert ! video/x-raw,format=BGR ! appsink sync=false"
LIVE = f"videotestsrc is-live=true pattern=ball ! video/x-raw,width=64,height=48 ! {SINK}"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def there() -> None:
    needs_gstreamer()


def opened(pipeline: str, policy: LivePolicy = POLICY) -> GstReader:
    return gstreamer.open_reader(parse_source(pipeline), policy)


def read_to_the_end(pipeline: str, policy: LivePolicy, seen: list[NDArray[np.uint8]]) -> None:
    """Put the images into `seen` until the pipeline is lost, which raises."""
    reader = opened(pipeline, policy)
    try:
        for _ in range(50):
            reader.grab()
            seen.append(reader.load()())
    finally:
        reader.close()


def why_lost(pipeline: str, policy: LivePolicy = POLICY) -> str:
    """Why the pipeline, which fails at once or after some frames, is lost."""
    with pytest.raises(InputError) as caught:
        read_to_the_end(pipeline, policy, [])
    assert "secret" not in str(caught.value)
    return str(caught.value.got)


@pytest.mark.parametrize("size_hw", [(48, 64), (35, 33), (16, 16)])
def test_pixels(size_hw: tuple[int, int]) -> None:
    size = f"height={size_hw[0]},width={size_hw[1]}"
    reader = opened(
        f"videotestsrc pattern=solid-color foreground-color=0xff102030 ! "
        f"video/x-raw,format=BGRx,{size} ! {SINK}"
    )
    for _ in range(3):
        reader.grab()
        image = reader.load()()
        assert image.shape == (*size_hw, 3)
        assert image.flags.c_contiguous
        assert (image == (0x30, 0x20, 0x10)).all()
    reader.close()


def test_frames_are_dated_at_their_capture() -> None:
    reader = opened(f"videotestsrc is-live=true ! identity sleep-time=20000 ! {SINK}")
    times = [reader.grab() or 0 for _ in range(5)]
    now_ns = time.monotonic_ns()
    reader.close()
    assert times == sorted(set(times))
    # What keeps a frame up on its way counts as its age.
    assert 20_000_000 <= now_ns - times[-1] < 10_000_000_000


@pytest.mark.parametrize(
    ("pipeline", "why"),
    [
        ("nosuch ! appsink", 'no element "nosuch"'),
        ("videotestsrc colour=3 ! appsink", 'no property "colour"'),
        ("videotestsrc ! video/x-raw,format=I420 ! appsink", "not-negotiated"),
        ("v4l2src device=/dev/video99 ! " + SINK, "No such file or directory"),
        ("videotestsrc num-buffers=3 ! " + SINK, "came to its end"),
        ('videotestsrc ! videoconvert ! appsink name="a', "does not end in an appsink"),
        ("rtspsrc location=rtsp://u:secret@127.0.0.1:9 ! decodebin ! " + SINK, "Failed to connect"),
        ("souphttpsrc user-pw=secret is-live=secret ! " + SINK, '"is-live"'),
    ],
)
def test_a_pipeline_that_fails_says_why(pipeline: str, why: str) -> None:
    assert why in why_lost(pipeline)


def test_a_pipeline_is_no_way_into_a_shell(tmp_path: Path) -> None:
    for trick in ("$(touch {})", "`touch {}`", "; touch {} ;", "| touch {}", "&& touch {} #"):
        made = tmp_path / "made"
        why_lost(f"videotestsrc num-buffers=1 {trick.format(made)} ! {SINK}")
        why_lost(f"videotestsrc num-buffers=1 ! {SINK} {trick.format(made)}")
        assert not made.exists()


def test_a_silent_pipeline_is_given_up_and_its_process_is_gone() -> None:
    silent = "appsrc is-live=true caps=video/x-raw,format=BGR,width=8,height=8 ! " + SINK
    quick = dataclasses.replace(POLICY, open_timeout_s=1.0)
    assert why_lost(silent, quick) == "no frame came in 1 s"
    paused = f"videotestsrc is-live=true ! identity sleep-time=600000 ! {SINK}"
    quick = dataclasses.replace(POLICY, read_timeout_s=0.3)
    assert why_lost(paused, quick) == "no frame came in 0.3 s"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV])
def test_a_process_that_dies_or_hangs_is_replaced(number: signal.Signals) -> None:
    policy = dataclasses.replace(POLICY, read_timeout_s=0.5)
    readers: list[GstReader] = []

    def opener(source: SourceAddress, policy: LivePolicy) -> GstReader:
        readers.append(gstreamer.open_reader(source, policy))
        return readers[-1]

    pipeline = Pipeline(make_detector(), [parse_source(LIVE)], policy, opener=opener)
    with Running(pipeline) as running:
        running.until(lambda: running.stats().processed >= 3)
        os.kill(readers[0]._child.pid, number)
        running.until(lambda: running.stats().reconnects == 1, 60)
        target = running.stats().processed + 3
        running.until(lambda: running.stats().processed >= target)
    stats = running.stats()
    assert (stats.reconnects, stats.state) == (1, "live")
    expected = "no frame came" if number == signal.SIGSTOP else f"was ended by {number.name}"
    assert expected in stats.last_error
    assert_exact([stats])
    assert all(reader._child.returncode is not None for reader in readers)


def test_another_size_in_mid_stream(tmp_path: Path) -> None:
    sizes = [(48, 64), (48, 64), (33, 35), (96, 128)]
    for number, size_hw in enumerate(sizes):
        write_image(tmp_path / f"{number}.png", solid_image(size_hw, 60 * number))
    pipeline = (
        f"multifilesrc location={tmp_path}/%d.png caps=image/png,framerate=20/1 ! pngdec ! "
        "videoconvert ! video/x-raw,format=BGR ! appsink sync=true"
    )
    images: list[NDArray[np.uint8]] = []
    with pytest.raises(InputError):
        read_to_the_end(pipeline, POLICY, images)
    seen = [(image.shape[:2], round(image.mean() / 60)) for image in images]
    # Some may be overtaken, none may be torn.
    assert seen == [each for each in zip(sizes, range(4), strict=True) if each in seen]
    assert len({size for size, _ in seen}) >= 2


def test_opening_again_and_again_keeps_nothing() -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    opened(LIVE).close()
    before = count()
    for _ in range(3):
        opened(LIVE).close()
        why_lost("nosuch ! appsink")
    assert count() == before


PARENT = """
import sys, time
from ghost_deploy.stream.sources.gstreamer import open_reader
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources.uri import parse_source
reader = open_reader(parse_source(sys.argv[1]), LivePolicy(open_timeout_s=20))
print(reader._child.pid, flush=True)
time.sleep(600)
"""


def test_the_process_ends_with_the_one_that_started_it() -> None:
    words = [sys.executable, "-c", PARENT, LIVE]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout
        child = Path("/proc") / parent.stdout.readline().strip()
        parent.kill()
    wait_until(lambda: not child.exists() or "(zombie)" in (child / "status").read_text())


def test_the_list_of_processes_shows_no_secret() -> None:
    secret = LIVE.replace("videotestsrc", "videotestsrc name=password=secret")
    reader = opened(secret)
    shown = Path(f"/proc/{reader._child.pid}/cmdline").read_bytes()
    reader.close()
    assert b"gst_child" in shown
    assert b"secret" not in shown


def test_damaged_records() -> None:
    reader = opened(LIVE)
    reader._hw = (48, 65)
    with pytest.raises(ImageError):
        reader.load()()
    reader.close()


ABSENT = GStreamer(problem="libgstreamer-1.0.so.0: cannot open shared object file")
DESKTOP = GStreamer("1.22.0", frozenset({"rtspsrc", "decodebin", "videoconvert"}))
JETSON = GStreamer("1.20.3", DESKTOP.elements | {"nvarguscamerasrc", "nvv4l2decoder", "nvvidconv"})


@pytest.mark.parametrize(
    ("found", "machine", "csi", "rtsp"),
    [
        (ABSENT, "x86_64", "nothing: csi://0 needs GStreamer", "FFmpeg in OpenCV"),
        (DESKTOP, "x86_64", "needs GStreamer's nvargus", "with --rtsp-by gstreamer"),
        (DESKTOP, "aarch64", "needs GStreamer's nvargus", "with --rtsp-by gstreamer"),
        (JETSON, "aarch64", "GStreamer 1.20.3, in a process", "decoded in hardware"),
    ],
)
def test_what_reads_a_source_by_what_there_is(
    found: GStreamer, machine: str, csi: str, rtsp: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("gstreamer", "rtsp"):
        name = f"ghost_deploy.stream.sources.{module}"
        monkeypatch.setattr(sys.modules[name], "probe_gstreamer", lambda: found)
    monkeypatch.setattr("platform.machine", lambda: machine)
    told = source_backends()
    assert csi in told["csi://0"]
    assert rtsp in told["rtsp://"]
    for word, kind in (("csi://0", "csi"), (LIVE, "gstreamer"), ("rtsp://h/1", "rtsp")):
        source = parse_source(word)
        policy = LivePolicy(rtsp_by="gstreamer")
        if found is ABSENT or (kind == "csi" and found is DESKTOP):
            with pytest.raises(UnavailableError, match="needs GStreamer"):
                check_readable([source], policy)
        else:
            check_readable([source], policy)
    assert uses_gstreamer(LivePolicy(rtsp_by="gstreamer"))
    assert uses_gstreamer(LivePolicy()) == (found is JETSON)


@pytest.mark.parametrize("word", ["csi://1", "rtsp://user:secret@h/1"])
def test_the_pipelines_of_a_jetson(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They were never run on one; here it is seen that GStreamer is asked for them."""
    asked: list[Any] = []
    monkeypatch.setattr(gstreamer, "probe_gstreamer", lambda: JETSON)
    monkeypatch.setattr(gstreamer, "GstReader", lambda *words: asked.append(words))
    monkeypatch.setattr(rtsp, "probe_gstreamer", lambda: JETSON)
    policy = dataclasses.replace(POLICY, rtsp_by="gstreamer")
    open_source(parse_source(word), policy)
    ((_, pipeline, _, settings),) = asked
    assert "nvvidconv ! video/x-raw,format=BGRx ! videoconvert" in pipeline
    if word.startswith("csi"):
        assert pipeline.startswith("nvarguscamerasrc sensor-id=1 !")
    else:
        assert "nvv4l2decoder" in pipeline
        assert "secret" not in pipeline
        assert settings == {"camera": {"location": word}}


def test_gstreamer_is_looked_at_once() -> None:
    assert probe_gstreamer() is probe_gstreamer()
    assert {"rtspsrc", "videoconvert"} <= probe_gstreamer().elements


def test_the_first_look_on_a_machine_may_take_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GStreamer looks through all its plug-ins when it has no list of them yet."""
    monkeypatch.setenv("GST_REGISTRY", str(tmp_path / "registry.bin"))
    found = probe_gstreamer.__wrapped__()
    assert found == probe_gstreamer()
    assert (tmp_path / "registry.bin").exists()

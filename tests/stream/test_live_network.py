"""Images polled over HTTP, HLS, videos over HTTP, RTMP and UDP, from real servers on loopback."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest

from ghost_deploy.core.errors import MissingExtraError, UsageError
from ghost_deploy.stream.pipeline import Pipeline
from ghost_deploy.stream.sources.av_stream import Pace
from ghost_deploy.stream.sources.source_table import check_readable
from ghost_deploy.stream.sources.uri import parse_source
from tests.support.camera_servers import jpeg, part
from tests.support.numbered_frames import numbered_frame
from tests.support.plain_http import PlainHttp, body
from tests.support.running_pipeline import FAST, Running, assert_exact, make_detector
from tests.support.videos import ffmpeg, needs_ffmpeg, write_video

POLICY = dataclasses.replace(FAST, fps=20.0)
NETWORK = dataclasses.replace(FAST, open_timeout_s=15.0, read_timeout_s=5.0)


def live(address: str, policy: object = POLICY) -> Running:
    return Running(Pipeline(make_detector(), [parse_source(address)], policy))  # type: ignore[arg-type]


def png(number: int) -> bytes:
    return cv2.imencode(".png", numbered_frame(number, (96, 320)))[1].tobytes()


def counted(
    encode: Callable[[int], bytes], kind: str
) -> Callable[[], tuple[int, dict[str, str], bytes]]:
    numbers = itertools.count()
    return lambda: body(encode(next(numbers)), kind)


@pytest.mark.parametrize(
    ("path", "encode", "kind"),
    [
        ("/snapshot", jpeg, "image/jpeg"),
        ("/cgi-bin/image.jpg", jpeg, "image/jpeg"),
        ("/x.png", png, "image/png"),
        ("/untold", jpeg, "application/octet-stream"),
    ],
)
def test_an_image_is_polled(path: str, encode: Callable[[int], bytes], kind: str) -> None:
    with PlainHttp({path: counted(encode, kind)}) as server, live(server.url(path)) as running:
        running.until(lambda: running.stats().processed >= 8)
    numbers = running.seen.numbers()
    assert numbers == list(range(len(numbers)))
    times = [result.frame.t_capture_ns / 1e9 for result in running.seen.results]
    assert (times[-1] - times[0]) / (len(times) - 1) > 0.04, "20 a second, not more"
    assert "skipped" not in running.stats().dropped
    assert_exact(running.pipeline.stats())


def test_an_image_is_polled_once_a_second_by_default() -> None:
    with (
        PlainHttp({"/s": counted(jpeg, "image/jpeg")}) as server,
        live(server.url("/s"), FAST) as running,
    ):
        running.until(lambda: running.stats().processed >= 2)
    first, second = (result.frame.t_capture_ns for result in running.seen.results[:2])
    assert second - first > 900_000_000


def test_images_that_are_cut_off_are_broken_and_polling_goes_on() -> None:
    bodies = itertools.cycle([jpeg(1), jpeg(2)[:-300], b"x" * 30, jpeg(3)])
    cut = itertools.cycle([None, len(jpeg(2)), None, None])
    answer = lambda: body(next(bodies), "image/jpeg", declared=next(cut))  # noqa: E731
    with PlainHttp({"/s": answer}) as server, live(server.url("/s")) as running:
        running.until(lambda: running.stats().captured >= 8)
        running.until(lambda: running.stats().processed >= 4)
    assert set(running.seen.numbers()) == {1, 3}
    assert running.stats().reconnects == 0
    assert running.stats().dropped["broken"] >= 2
    assert_exact(running.pipeline.stats())


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((401, {}, b""), "user or password is refused: HTTP status 401"),
        ((404, {}, b""), "HTTP status 404"),
        (body(b"<html>", "text/html"), "an answer of type text/html"),
        (body(b"hello", "application/octet-stream"), "an answer of type application/octet-stream"),
        (body(b"", "text/plain"), "an answer of type text/plain"),
    ],
)
def test_what_is_no_source_is_named(answer: tuple[int, dict[str, str], bytes], why: str) -> None:
    with PlainHttp({"/x": lambda: answer}) as server, live(server.url("/x")) as running:
        running.until(lambda: running.stats().state == "lost")
        assert why in running.stats().last_error


def test_a_server_that_begins_to_refuse_is_lost_and_comes_back() -> None:
    good = counted(jpeg, "image/jpeg")
    calls = itertools.count()
    answer = lambda: (503, {}, b"") if next(calls) in {3, 4} else good()  # noqa: E731
    with PlainHttp({"/s": answer}) as server, live(server.url("/s")) as running:
        running.until(lambda: running.stats().reconnects == 1)
        running.until(lambda: running.stats().processed >= 6)
    numbers = running.seen.numbers()
    assert numbers == sorted(set(numbers))  # type: ignore[type-var]


def test_multipart_under_another_name() -> None:
    data = b"".join(part(number) for number in range(5))
    answer = 200, {"Content-Type": "text/plain"}, data
    with PlainHttp({"/v": lambda: answer}) as server, live(server.url("/v")) as running:
        running.until(lambda: running.stats().captured >= 5)
    assert None not in running.seen.numbers()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainHttp]:
    """A video, a playlist of it that has ended, and one that goes on."""
    needs_ffmpeg()
    folder = tmp_path_factory.mktemp("served")
    options = {"g": "10", "bf": "2", "preset": "fast"}.items()
    video = write_video(folder / "video.mp4", 60, options=options)
    ffmpeg(
        "-i",
        video,
        "-c",
        "copy",
        "-f",
        "hls",
        "-hls_time",
        "0.3",
        "-hls_list_size",
        "0",
        folder / "all.m3u8",
    )
    parts = sorted(folder.glob("all*.ts"), key=lambda path: int(path.stem[3:]))
    ffmpeg("-i", video, "-c", "copy", "-movflags", "faststart", folder / "index-first.mp4")
    kinds = {".mp4": "video/mp4", ".ts": "video/mp2t", ".m3u8": "application/vnd.apple.mpegurl"}
    answers = {
        f"/{path.name}": lambda path=path: body(path.read_bytes(), kinds[path.suffix])
        for path in folder.iterdir()
    }
    calls = itertools.count()

    def going_on() -> tuple[int, dict[str, str], bytes]:
        """A playlist that moves on by a part with each request."""
        first = min(next(calls), len(parts) - 3)
        lines = [
            "#EXTM3U",
            "#EXT-X-VERSION:3",
            "#EXT-X-TARGETDURATION:1",
            f"#EXT-X-MEDIA-SEQUENCE:{first}",
        ]
        for each in parts[first : first + 3]:
            lines += ["#EXTINF:0.333,", each.name]
        return body("\n".join(lines).encode(), kinds[".m3u8"])

    answers["/live.m3u8"] = going_on
    with PlainHttp(answers) as server:
        yield server


@pytest.mark.parametrize("path", ["/video.mp4", "/index-first.mp4", "/all.m3u8"])
def test_every_frame_of_a_video_over_http_comes(served: PlainHttp, path: str) -> None:
    pytest.importorskip("av")
    with live(served.url(path), NETWORK) as running:
        running.wait()
    assert running.seen.numbers() == list(range(60))
    assert running.stats().state == "ended"
    positions = [result.frame.position_s for result in running.seen.results]
    assert positions == pytest.approx([number / 30 for number in range(60)], abs=1e-3)


def test_live_hls_comes_at_its_own_pace(served: PlainHttp) -> None:
    pytest.importorskip("av")
    with live(served.url("/live.m3u8"), NETWORK) as running:
        running.until(lambda: running.stats().processed >= 20)
    numbers = [number for number in running.seen.numbers() if number is not None]
    assert len(numbers) == len(running.seen.results)
    assert numbers == sorted(set(numbers))
    # In a burst, all but the last frame of a part would be replaced before its turn.
    assert running.stats().dropped.get("newer", 0) <= running.stats().processed / 2
    assert_exact(running.pipeline.stats())


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        return int(udp.getsockname()[1])


@contextlib.contextmanager
def sender(*words: object) -> Iterator[None]:
    process = subprocess.Popen(["ffmpeg", "-v", "quiet", "-re", *map(str, words)])
    try:
        yield
    finally:
        process.kill()
        process.wait(10)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs_ffmpeg()
    pytest.importorskip("av")
    options = {"g": "10", "bf": "0", "tune": "zerolatency", "preset": "ultrafast"}.items()
    return write_video(tmp_path_factory.mktemp("sent") / "clip.mp4", 300, options=options)


@pytest.mark.parametrize("form", ["udp://127.0.0.1:{}", "udp://:{}?fifo_size=10000"])
def test_udp(clip: Path, form: str) -> None:
    port = free_port()
    copy = ("-stream_loop", "-1", "-i", clip, "-c", "copy", "-f", "mpegts")
    with (
        sender(*copy, f"udp://127.0.0.1:{port}?pkt_size=1316"),
        live(form.format(port), NETWORK) as running,
    ):
        running.until(lambda: running.stats().processed >= 30)
    assert None not in running.seen.numbers()
    assert_exact(running.pipeline.stats())


def test_rtmp(clip: Path) -> None:
    port = free_port()
    address = f"rtmp://127.0.0.1:{port}/live/cam"
    # The server sends to the one client that asks.
    with (
        sender("-i", clip, "-c", "copy", "-f", "flv", "-listen", "1", "-timeout", "20", address),
        live(address, NETWORK) as running,
    ):
        running.until(lambda: running.stats().processed >= 30, 40.0)
    numbers = [number for number in running.seen.numbers() if number is not None]
    assert len(numbers) == len(running.seen.results)
    assert numbers == sorted(set(numbers))


def test_nothing_is_sent() -> None:
    pytest.importorskip("av")
    policy = dataclasses.replace(FAST, open_timeout_s=0.5)
    with live(f"udp://127.0.0.1:{free_port()}", policy) as running:
        running.until(lambda: running.stats().state == "lost")
        assert "does not answer" in running.stats().last_error


def test_without_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    for address in ("rtmp://h/live", "udp://h:1", "http://h/x.m3u8"):
        with pytest.raises(MissingExtraError, match="stream"):
            check_readable([parse_source(address)], FAST)
    check_readable([parse_source("http://h/x.jpg")], FAST)


def test_addresses() -> None:
    kinds = {
        "rtmp://user:secret@h/live/key": "network",
        "RTMPS://h/live": "network",
        "udp://@239.0.0.1:1234": "network",
        "http://h/live/x.M3U8?token=secret": "hls",
        "https://h/image.JPG?x=1": "snapshot",
        "http://h/video": "mjpeg",
    }
    for address, kind in kinds.items():
        source = parse_source(address)
        assert (source.kind, source.is_live) == (kind, True)
        assert "secret" not in source.label
    with pytest.raises(UsageError, match="names no port"):
        parse_source("udp://h")
    with pytest.raises(UsageError, match="cannot be a source"):
        parse_source("srt://h:9000")  # the FFmpeg of PyAV has no SRT


def test_the_pace() -> None:
    pace = Pace(2.0)
    assert pace.wait_s(10.0, 100.0) == 0.0
    assert pace.wait_s(10.5, 100.0) == pytest.approx(0.5)
    assert pace.wait_s(11.0, 101.5) == 0.0  # late
    assert pace.wait_s(11.5, 101.5) == 0.0  # as late: the time is not begun anew
    assert pace.wait_s(12.0, 104.0) == 0.0  # too late: it is
    assert pace.wait_s(12.5, 104.0) == pytest.approx(0.5)
    assert pace.wait_s(3.0, 104.5) == 0.0  # the times began anew
    assert pace.wait_s(3.1, 104.5) == pytest.approx(0.1)
    assert pace.wait_s(90.0, 104.6) == 0.0  # a jump

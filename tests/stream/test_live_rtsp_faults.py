"""RTSP cameras that send damaged frames, or whose passwords need escapes."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ghost_deploy.stream.pipeline import Pipeline
from ghost_deploy.stream.sources.camera_address import split_address
from ghost_deploy.stream.sources.rtsp_probe import why_no_video
from ghost_deploy.stream.sources.uri import parse_source
from tests.support.assets import SHARED
from tests.support.running_pipeline import FAST, Running, assert_exact, make_detector
from tests.support.videos import write_video
from tests.support.waiting import wait_until

SERVER = SHARED / "cases" / "rtsp_server.py"
POLICY = dataclasses.replace(FAST, open_timeout_s=10.0, read_timeout_s=3.0)
ODD = "a[b]c#d/e?f@g:h"

pytestmark = pytest.mark.skipif(not SERVER.is_file(), reason=f"no RTSP server in {SHARED}")


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An endless camera's H.264: a key frame every ten frames, one slice each."""
    path = tmp_path_factory.mktemp("rtsp") / "camera.h264"
    options = {"g": "10", "bf": "0", "tune": "zerolatency", "preset": "ultrafast", "threads": "1"}
    return write_video(path, 100, options=options.items(), container="h264")


@contextlib.contextmanager
def camera(stream: Path, *options: str) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, str(SERVER), str(stream), str(port), "40", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(port))
        yield port
    finally:
        process.kill()
        process.wait(10)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def live(address: str) -> Running:
    return Running(Pipeline(make_detector(), [parse_source(address)], POLICY))


@pytest.mark.parametrize("bad", ["60", "45,60,75", "60,61,62"])
def test_a_damaged_frame_is_broken_and_the_connection_stays(stream: Path, bad: str) -> None:
    with (
        camera(stream, "--bad", bad) as port,
        live(f"rtsp://127.0.0.1:{port}/x") as running,
    ):
        running.until(lambda: running.stats().processed >= 100)
        stats = running.stats()
    assert (stats.state, stats.reconnects) == ("live", 0)
    assert stats.dropped["broken"] == len(bad.split(","))
    assert_exact(running.pipeline.stats())


def test_a_camera_of_which_no_frame_decodes_is_stalled(stream: Path) -> None:
    bad = ",".join(map(str, range(30, 5000)))
    with (
        camera(stream, "--bad", bad) as port,
        live(f"rtsp://127.0.0.1:{port}/x") as running,
    ):
        running.until(lambda: running.stats().processed >= 1)
        running.until(lambda: running.stats().state == "stalled")
        assert running.stats().reconnects == 0
        assert running.stats().dropped["broken"] > 20


@pytest.mark.parametrize("password", [ODD, "p@ss", "[1]", "a%20b", "#1"])
def test_a_password_as_the_manual_writes_it(stream: Path, password: str) -> None:
    sent = "a b" if password == "a%20b" else password
    with (
        camera(stream, "--user", "admin", "--password", sent) as port,
        live(f"rtsp://admin:{password}@127.0.0.1:{port}/x") as running,
    ):
        running.until(lambda: running.stats().processed >= 3)
        shown = f"{running.stats()} {running.seen.results[0]}"
    assert password not in shown


@pytest.mark.parametrize(
    ("login", "why"),
    [("admin:wrong@", "user or password is refused"), ("", "asks for user and password")],
)
def test_a_refused_password_is_said(stream: Path, login: str, why: str) -> None:
    with (
        camera(stream, "--user", "admin", "--password", ODD) as port,
        live(f"rtsp://{login}127.0.0.1:{port}/x") as running,
    ):
        running.until(lambda: running.stats().state == "lost")
        assert f"{why} (RTSP status 401)" in running.stats().last_error


DIGEST = (
    b"RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\n"
    b'WWW-Authenticate: Digest realm="cam", nonce="abc"\r\n\r\n'
)


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        (
            [b"RTSP/1.0 404 Not Found\r\nCSeq: 1\r\n\r\n"],
            "the server has no such stream (RTSP status 404)",
        ),
        ([b"RTSP/1.0 503 Busy\r\n\r\n"], "the server refuses it (RTSP status 503)"),
        ([b"RTSP/1.0 200 OK\r\n\r\n"], ""),
        ([b"HTTP/1.0 401 Unauthorized\r\n\r\n"], ""),
        ([b""], ""),
        ([DIGEST, b"RTSP/1.0 200 OK\r\n\r\n"], ""),
        ([DIGEST, DIGEST], "user or password is refused (RTSP status 401)"),
    ],
)
def test_what_the_server_answers(answers: list[bytes], why: str) -> None:
    asked: list[str] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, listener.accept()[0] as link:
            for answer in answers:
                asked.append(link.recv(4096).decode())
                link.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    port = listener.getsockname()[1]
    assert why_no_video(split_address(f"rtsp://u:p@127.0.0.1:{port}/1"), 5.0) == why
    thread.join(5)
    assert "u:p" not in asked[0]
    if answers[0] is DIGEST:
        # RFC 2617: MD5(MD5(user:realm:password):nonce:MD5(method:uri)).
        assert 'username="u", realm="cam", nonce="abc"' in asked[1]

"""Faults for a soak, in processes of their own, so that its own memory stays clear of them.

    python tools/soak_faults.py camera --fps 20 --size 480 640   # prints its port
    python tools/soak_faults.py visitors http://127.0.0.1:8080/  # until standard input ends

`camera` is an MJPEG camera of numbered frames. Every 50th part is a JPEG of some hundred bytes that
announces 65,000 x 65,000 pixels. `visitors` opens 150 connections again and again that send nothing
or half a request, and asks for `/livez` meanwhile; at the end it prints two counts: how often it
asked, and how often no 200 came.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.camera_servers import MjpegCamera, part
from tests.support.image_files import huge_headers

BOMB_EVERY = 50
_SIDE = 65_000
_VISITORS = 150
_HOLD_S, _PAUSE_S = 3.0, 10.0
_HALF = (b"", b"GET /livez HT", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ")


class BombCamera(MjpegCamera):
    """An MJPEG camera, every 50th part of which announces a huge image."""

    def __init__(self, size_hw: tuple[int, int], fps: float) -> None:
        super().__init__(size_hw, fps)
        data = huge_headers(_SIDE, _SIDE)["segment.jpg"] + b"\xff\xd9"
        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
        self._bomb = head.encode() + data + b"\r\n"

    def _send(self, connection: socket.socket) -> bool:
        number, self._number = self._number, self._number + 1
        bomb = number % BOMB_EVERY == BOMB_EVERY - 1
        connection.sendall(self._bomb if bomb else part(number, self.size_hw))
        return True


def visit(url: str, over: threading.Event) -> tuple[int, int]:
    """Keep silent connections open until `over`; how often `/livez` was asked for, and failed."""
    place = urlsplit(url)
    asked = failed = 0
    while not over.is_set():
        with contextlib.ExitStack() as stack:
            for index in range(_VISITORS):
                with contextlib.suppress(OSError):  # closed for a newer one, as it should be
                    one = stack.enter_context(
                        socket.create_connection((place.hostname or "", place.port or 80), 10)
                    )
                    one.sendall(_HALF[index % len(_HALF)])
            for _ in range(3):
                asked += 1
                try:
                    with urllib.request.urlopen(f"{url}livez", timeout=10) as answer:
                        failed += answer.status != 200
                except OSError:
                    failed += 1
                over.wait(_HOLD_S / 3)
        over.wait(_PAUSE_S)
    return asked, failed


def _command(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def bomb_camera(size_hw: tuple[int, int], fps: int) -> Iterator[str]:
    """The address of a `BombCamera` in another process, while the block runs."""
    with _command("camera", "--fps", fps, "--size", *size_hw) as child:
        assert child.stdout is not None
        try:
            yield child.stdout.readline().strip()
        finally:
            child.kill()


@contextlib.contextmanager
def silent_visitors(url: str) -> Iterator[list[int]]:
    """Visitors of a web view in another process; after the block what `visit` returned."""
    counts: list[int] = []
    with _command("visitors", url) as child:
        try:
            yield counts
        finally:
            out, _ = child.communicate()
            counts += map(int, out.split())


def _until_input_ends() -> threading.Event:
    over = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=wait, daemon=True).start()
    return over


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("camera", "visitors"))
    parser.add_argument("url", nargs="?")
    parser.add_argument("--fps", type=int, default=20)
    parser.add_argument("--size", type=int, nargs=2, default=(480, 640), metavar=("H", "W"))
    args = parser.parse_args()
    over = _until_input_ends()
    if args.what == "visitors":
        print(*visit(args.url, over), flush=True)
        return
    with BombCamera(tuple(args.size), args.fps) as camera:
        print(camera.address, flush=True)
        over.wait()


if __name__ == "__main__":
    main()

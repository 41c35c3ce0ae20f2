"""Real cameras on loopback: an RTSP server of GStreamer, and an MJPEG server over HTTP."""

from __future__ import annotations

import base64
import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from tests.support.numbered_frames import numbered_frame

PYTHON = Path("/usr/bin/python3")
_PROBE = (
    "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstRtspServer', '1.0'); "
    "from gi.repository import Gst, GstRtspServer; Gst.init(None); "
    "assert Gst.ElementFactory.find('x264enc')"
)


def needs_rtsp_server() -> None:
    """Skip the test where GStreamer's RTSP server is not installed."""
    probe = [str(PYTHON), "-c", _PROBE]
    if not PYTHON.exists() or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip(
            "no RTSP server: apt install --no-install-recommends python3-gi "
            "gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-{base,good,bad,ugly}"
        )


def needs_gstreamer() -> None:
    """Skip the test where GStreamer is not installed."""
    from ghost_deploy.stream.sources.gstreamer import probe_gstreamer

    if "rtspsrc" not in probe_gstreamer().elements:
        pytest.skip("no GStreamer: apt install gstreamer1.0-plugins-{base,good}")


class RtspCamera:
    """An RTSP server in a process of its own. Frame numbers count from `epoch` over restarts."""

    def __init__(self, size_hw: tuple[int, int] = (240, 320), fps: int = 20) -> None:
        self.size_hw = size_hw
        self.fps = fps
        self.epoch = time.monotonic()
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def address(self) -> str:
        return f"rtsp://user:secret@127.0.0.1:{self.port}/cam"

    def number_now(self) -> int:
        """The number of a frame that is made now."""
        return int((time.monotonic() - self.epoch) * self.fps)

    def start(self) -> None:
        script = Path(__file__).parent / "rtsp_server.py"
        height, width = self.size_hw
        words = [PYTHON, script, self.port, width, height, self.fps, self.epoch]
        self._process = subprocess.Popen(
            [str(word) for word in words], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        """SIGKILL: the connection breaks off, as when a camera loses its power."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def __enter__(self) -> RtspCamera:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Link:
    """A network between us and a server: what the server sends may be held up.

    Attributes:
        held: while set, nothing comes through; then all of it comes at once.
    """

    def __init__(self, server_port: int) -> None:
        self.held = threading.Event()
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets = [self._listener]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                self._sockets += [client, server]
                for source, target, may_hold in ((client, server, False), (server, client, True)):
                    thread = threading.Thread(
                        target=self._carry, args=(source, target, may_hold), daemon=True
                    )
                    self._threads.append(thread)
                    thread.start()

    def _carry(self, source: socket.socket, target: socket.socket, may_hold: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                while may_hold and self.held.is_set():
                    time.sleep(0.005)
                target.sendall(data)

    def __enter__(self) -> Link:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.held.clear()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(10)


class MjpegCamera:
    """An MJPEG camera over HTTP, of which a test holds the strings.

    Attributes:
        sent: numbers of the frames that were sent whole, in order.
        script: what to send in place of the frame of a number: bytes, which are followed by the
            end of the connection if they are empty or `cut` holds the number.
        password: if set, `user` and that password are asked for (Basic).
        paused: while set, nothing is sent and the connections stay open.
    """

    def __init__(self, size_hw: tuple[int, int] = (96, 320), fps: float = 50) -> None:
        self.size_hw = size_hw
        self.fps = fps
        self.sent: list[int] = []
        self.script: dict[int, bytes] = {}
        self.cut: set[int] = set()
        self.password = ""
        self.content_type = "multipart/x-mixed-replace; boundary=frame"
        self.paused = threading.Event()
        self.port = 0
        self.last: int | None = None
        self.connections = 0
        self._number = 0
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    @property
    def address(self) -> str:
        return f"http://user:secret@127.0.0.1:{self.port}/video?token=hidden"

    def start(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._spawn(self._accept, listener)

    def stop(self) -> None:
        """Close all, at whatever point each connection is."""
        with self._lock:
            sockets = [*self._sockets, *([self._listener] if self._listener else [])]
            self._listener = None
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(10)
        self._threads = []

    def __enter__(self) -> MjpegCamera:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _spawn(self, target: Callable[[socket.socket], None], connection: socket.socket) -> None:
        thread = threading.Thread(target=target, args=(connection,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self._sockets.add(connection)
            self._spawn(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            request = b""
            while b"\r\n\r\n" not in request:
                if not (data := connection.recv(4096)):
                    return
                request += data
            self._answer(connection, request)
        with self._lock:
            self._sockets.discard(connection)

    def _answer(self, connection: socket.socket, request: bytes) -> None:
        asked = base64.b64encode(f"user:{self.password}".encode())
        if self.password and b"Basic " + asked not in request:
            connection.sendall(
                b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="cam"\r\n'
                b"Content-Length: 0\r\nConnection: close\r\n\r\n"
            )
            return
        self.connections += 1
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {self.content_type}\r\n\r\n"
        connection.sendall(head.encode())
        while self._listener is not None:
            if not self.paused.is_set() and not self._send(connection):
                return
            time.sleep(1 / self.fps)

    def _send(self, connection: socket.socket) -> bool:
        number, self._number = self._number, self._number + 1
        if self.last is not None and number > self.last:
            return True
        if number in self.script:
            data = self.script[number]
            connection.sendall(data)
            return bool(data) and number not in self.cut
        connection.sendall(part(number, self.size_hw))
        self.sent.append(number)
        return True


def jpeg(number: int, size_hw: tuple[int, int] = (96, 320)) -> bytes:
    """A JPEG image of that number, quality 50."""
    done, data = cv2.imencode(
        ".jpg", numbered_frame(number, size_hw), [cv2.IMWRITE_JPEG_QUALITY, 50]
    )
    assert done
    return bytes(data)


def part(number: int, size_hw: tuple[int, int] = (96, 320)) -> bytes:
    """A part of a multipart answer that holds the image of that number."""
    data = jpeg(number, size_hw)
    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data + b"\r\n"

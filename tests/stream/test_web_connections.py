"""Visitors who send nothing, half a request, or far too many: the others are served."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from ghost_deploy.stream.web.connection_limits import MinuteNotes, WebLimits
from ghost_deploy.stream.web.web_view import WebViewSink
from tests.stream.test_web_server import ask, served
from tests.support.clocks import ManualTime
from tests.support.waiting import wait_until

SHORT = WebLimits(headers_s=0.3, body_s=0.3)


@contextmanager
def connections(view: WebViewSink, count: int, data: bytes = b"") -> Iterator[list[socket.socket]]:
    """Open connections that send `data` and then nothing."""
    with ExitStack() as stack:
        opened = []
        for _ in range(count):
            one = stack.enter_context(
                socket.create_connection((view.address.host, view.address.port), 20)
            )
            one.sendall(data)
            opened.append(one)
        yield opened


def is_closed(one: socket.socket) -> bool:
    one.settimeout(20)
    try:
        while one.recv(4096):
            pass
    except ConnectionResetError:
        return True
    return True


HALF = {
    "nothing": b"",
    "half a line": b"GET /livez HT",
    "half of the headers": b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-A: ",
    "half of a body": b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\ntoken",
}


@pytest.mark.parametrize("kind", HALF)
def test_a_hundred_visitors_who_send_half_keep_none_out(kind: str) -> None:
    with served() as view, connections(view, 100, HALF[kind]):
        for path in ("/livez", "/metrics", "/api/status"):
            assert ask(view, path)[0] == 200, path


@pytest.mark.parametrize("kind", HALF)
def test_what_stays_half_is_closed_in_time(kind: str) -> None:
    with served(limits=SHORT) as view, connections(view, 2, HALF[kind]) as opened:
        assert all(is_closed(one) for one in opened)


def test_single_bytes_do_not_move_the_deadline() -> None:
    with served(limits=SHORT) as view, connections(view, 1, b"GET / HTTP/1.1\r\nX: ") as (one,):

        def send() -> bool:
            try:
                one.sendall(b"x")
            except OSError:
                return False
            return True

        wait_until(lambda: not send())


def test_an_idle_connection_is_closed_and_a_busy_one_is_not() -> None:
    request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with served(limits=SHORT) as view, connections(view, 1, request) as (idle,):
        stream = ask(view, "/api/images")  # a long poll, longer than the deadlines
        assert stream[0] == 204
        assert is_closed(idle)


def test_beyond_the_requests_at_once_only_livez_is_answered() -> None:
    poll = b"GET /api/images HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with served(limits=WebLimits(requests=3)) as view:
        with connections(view, 3, poll):
            wait_until(lambda: ask(view, "/metrics")[0] == 503)
            assert ask(view, "/livez")[0] == 200
        wait_until(lambda: ask(view, "/metrics")[0] == 200)


FEW_DESCRIPTORS = """
import json, os, resource, socket, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400))
from tests.stream.test_web_server import ask
from tests.stream.test_web_parts import CARD
from ghost_deploy.stream.web.web_view import WebViewSink
notes = []
view = WebViewSink("127.0.0.1:0", CARD, note=notes.append)
print(view.address.port, flush=True)
most = 0
for _ in range(int(sys.stdin.readline())):
    most = max(most, len(os.listdir("/proc/self/fd")))
    time.sleep(0.001)
sys.stdin.readline()
status = ask(view, "/livez")[0]
view.close()
print(json.dumps({"most": most, "notes": notes, "status": status}), flush=True)
"""


def test_more_connections_than_descriptors() -> None:
    """1,100 of them never take the descriptors of cameras and sinks, and fill no log."""
    with (
        subprocess.Popen(
            [sys.executable, "-c", FEW_DESCRIPTORS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as child,
        ExitStack() as stack,
    ):
        assert child.stdin is not None
        assert child.stdout is not None
        port = int(child.stdout.readline())
        child.stdin.write("2000\n")
        child.stdin.flush()
        for _ in range(1100):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        child.stdin.write("\n")
        out, err = child.communicate(timeout=120)
    found = json.loads(out)
    assert found["status"] == 200
    assert found["most"] < 250, found
    assert len(found["notes"]) == 1, found["notes"]
    assert len(err) < 2000, err[:2000]


def test_notes_come_once_a_minute_with_the_count_of_the_others() -> None:
    told: list[str] = []
    clock = ManualTime()
    notes = MinuteNotes(told.append, clock.monotonic)
    for _ in range(5):
        notes.add("a")
    clock.now += 61
    notes.add("b")
    assert told == ["web view: a", "web view: b (4 more in the last minute)"]


ALMOST_NO_DESCRIPTORS = """
import json, os, resource, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (160, 160))
from tests.stream.test_web_server import ask
from tests.stream.test_web_parts import CARD
from ghost_deploy.stream.web.web_view import WebViewSink
view = WebViewSink("127.0.0.1:0", CARD)
print(view.address.port, flush=True)
sys.stdin.readline()
opened, status = [], []
for _ in range(60):
    opened += [os.open("/dev/null", os.O_RDONLY)]
    time.sleep(0.005)
    status.append(ask(view, "/livez")[0])
print(json.dumps([len(opened), sorted(set(status))]), flush=True)
sys.stdin.readline()
print(ask(view, "/metrics")[0], flush=True)
view.close()
"""


def test_descriptors_stay_for_cameras_and_sinks_where_there_are_few() -> None:
    """160 in all, of which silent visitors hold as many as the view lets them, and sixty more."""
    with subprocess.Popen(
        [sys.executable, "-c", ALMOST_NO_DESCRIPTORS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        port = int(child.stdout.readline())
        with ExitStack() as stack:
            for _ in range(300):
                one = stack.enter_context(socket.socket())
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", port))
            child.stdin.write("\n")
            child.stdin.flush()
            assert json.loads(child.stdout.readline()) == [60, [200]]
        # They have left: nothing has to be restarted.
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "200\n"


@pytest.mark.parametrize(
    ("limit", "expected"), [(65_536, (64, 96, 16)), (1024, (64, 96, 16)), (160, (14, 21, 3))]
)
def test_the_share_of_the_view(limit: int, expected: tuple[int, int, int]) -> None:
    made = WebLimits.within(limit)
    assert (made.waiting, made.requests, made.backlog) == expected
    assert 3 * made.backlog < made.waiting_per_address <= made.waiting


def test_the_limit_is_raised_as_far_as_the_system_allows() -> None:
    script = (
        "import resource as r; hard = r.getrlimit(r.RLIMIT_NOFILE)[1]\n"
        "r.setrlimit(r.RLIMIT_NOFILE, (64, min(hard, 512)))\n"
        "from ghost_deploy.stream.descriptors import *\n"
        "raise_descriptor_limit(); print(descriptor_limit())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "512\n"

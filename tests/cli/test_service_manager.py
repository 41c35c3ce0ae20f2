from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ghost_deploy.cli.service_manager import ServiceManager
from ghost_deploy.stream.source_stats import SourceStats
from tests.cli.test_live import CHILD, start
from tests.support.camera_servers import MjpegCamera
from tests.support.clocks import ManualTime

CAMERA = SourceStats("0", "camera", "live")


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """The address of a service manager and its socket."""
    name = f"{tmp_path}/notify" if request.param == "path" else f"\0ghost-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(name)
        server.settimeout(60)
        yield name.replace("\0", "@"), server


def told(server: socket.socket) -> list[str]:
    """The lines that have come."""
    server.setblocking(False)
    found: list[str] = []
    try:
        while True:
            found += server.recv(4096).decode().splitlines()
    except BlockingIOError:
        return found


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "relative"},
        {"NOTIFY_SOCKET": "/nowhere/at/all", "WATCHDOG_USEC": "1"},
        {"WATCHDOG_USEC": "1000000"},
    ],
)
def test_without_a_manager_nothing_happens(environment: dict[str, str]) -> None:
    service = ServiceManager(environment)
    service.tick([CAMERA])
    service.stopping()
    assert environment == {}


@pytest.mark.parametrize(
    ("usec", "pid", "expected"),
    [
        ("30000000", "own", 30.0),
        ("30000000", None, 30.0),
        ("30000000", "1", None),  # meant for another process
        ("0", None, None),
        ("x", None, None),
        ("", None, None),
    ],
)
def test_what_the_watchdog_expects(usec: str, pid: str | None, expected: float | None) -> None:
    environment = {"NOTIFY_SOCKET": "@none", "WATCHDOG_USEC": usec}
    if pid:
        environment["WATCHDOG_PID"] = str(os.getpid()) if pid == "own" else pid
    assert ServiceManager(environment).watchdog_s == expected
    assert environment == {}  # children are not to answer


def test_ready_once_and_the_state_when_it_changes(manager: tuple[str, socket.socket]) -> None:
    address, server = manager
    service = ServiceManager({"NOTIFY_SOCKET": address})
    down = replace(CAMERA, state="lost")
    for sources in ([CAMERA, CAMERA], [CAMERA, CAMERA], [CAMERA, down], [CAMERA, down]):
        service.tick(sources)
    service.stopping()
    assert told(server) == [
        "READY=1",
        "STATUS=2 of 2 sources work",
        "STATUS=1 of 2 sources work",
        "STOPPING=1",
    ]


def fed(server: socket.socket, *stages: tuple[float, SourceStats]) -> list[bool]:
    """Whether the watchdog of ten seconds was told at each stage: seconds, statistics."""
    time_s = ManualTime()
    name = server.getsockname()
    address = name if isinstance(name, str) else name.decode().replace("\0", "@")
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "10000000"}
    service = ServiceManager(environment, time_s.monotonic)
    found = []
    for at, stats in stages:
        time_s.now = 100 + at
        service.tick([stats])
        found.append("WATCHDOG=1" in told(server))
    return found


def works(captured: int, processed: int, **dropped: int) -> SourceStats:
    return replace(CAMERA, captured=captured, processed=processed, dropped=dropped)


def test_the_watchdog_is_told_while_frames_are_finished(
    manager: tuple[str, socket.socket],
) -> None:
    stages = [(at, works(2 * at + 1, at, newer=at)) for at in range(21)]
    found = fed(manager[1], *stages)
    assert [at for at, one in enumerate(found) if one] == [1, 6, 11, 16]


def test_a_model_that_hangs_is_not_told(manager: tuple[str, socket.socket]) -> None:
    live = [(at, works(30 * at + 30, 20, newer=30 * at + 9)) for at in range(1, 60)]
    assert fed(manager[1], *live) == [True] + [False] * 58
    # The frame of a file waits, no other comes.
    file = [(at, works(21, 20)) for at in range(1, 60)]
    assert fed(manager[1], *file) == [True] + [False] * 58
    assert fed(manager[1], *[(at, works(1, 0)) for at in range(60)]) == [False] * 60


@pytest.mark.parametrize("cause", ["skipped", "old", "still", "broken"])
def test_frames_that_are_left_out_are_work(cause: str, manager: tuple[str, socket.socket]) -> None:
    stages = [(6 * n, works(2 + n, 1, **{cause: n})) for n in range(5)]
    assert all(fed(manager[1], *stages)[1:])


def test_lost_sources_are_no_reason_to_restart(manager: tuple[str, socket.socket]) -> None:
    lost = replace(works(9, 8, newer=1), state="lost")
    assert fed(manager[1], *[(6 * n, lost) for n in range(5)]) == [True] * 5


HANGS = CHILD.replace(
    "api.load =",
    """
import threading
from tests.support.running_pipeline import SPEC as SMALL, make_detector
count = [0]
def wait():
    count[0] += 1
    if count[0] == 5:
        threading.Event().wait(30)
api.load = lambda *args, **options: make_detector(wait)
unused =""",
)


def environment_of(address: str) -> dict[str, str]:
    return {**os.environ, "NOTIFY_SOCKET": address, "WATCHDOG_USEC": "400000"}


@pytest.mark.parametrize("manager", ["path"], indirect=True)
def test_a_service_from_start_to_stop(manager: tuple[str, socket.socket]) -> None:
    address, server = manager
    with MjpegCamera() as camera:
        run = start(camera.address, env=environment_of(address))
        lines: list[str] = []
        while lines.count("WATCHDOG=1") < 4:
            lines += server.recv(4096).decode().splitlines()
        run.send_signal(signal.SIGTERM)
        run.communicate(timeout=60)
    lines += told(server)
    assert run.returncode == 143
    assert lines[0] == "READY=1"
    assert lines.count("READY=1") == 1
    assert "STATUS=1 of 1 sources work" in lines
    assert "STOPPING=1" in lines


@pytest.mark.parametrize("manager", ["path"], indirect=True)
def test_a_service_whose_model_hangs(manager: tuple[str, socket.socket]) -> None:
    address, server = manager
    with MjpegCamera() as camera:
        run = start(camera.address, code=HANGS, env=environment_of(address))
        lines: list[str] = []
        while "READY=1" not in lines:
            lines += server.recv(4096).decode().splitlines()
        server.settimeout(1.5)
        with contextlib.suppress(TimeoutError):  # nothing comes any more
            while True:
                lines += server.recv(4096).decode().splitlines()
        assert run.poll() is None
        run.kill()
        run.communicate(timeout=60)

"""No command sends anything, or writes outside the cache, the output and the temporary folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ghost_deploy.core.telemetry import switch_off, telemetry
from tests.support.assets import needs_assets, val_images
from tests.support.exports import shared_proved_bundle

_CONNECTION = re.compile(r"(?:connect|sendto|sendmsg)\(\d+, .*(?:AF_INET6?|sin_port)")
_CREATED = re.compile(r'openat\(AT_FDCWD, "([^"]+)", [^)]*O_CREAT')
_DEVICES = ("/dev/", "/proc/")


@pytest.mark.parametrize(
    ("value", "on"),
    [("", True), ("0", True), ("no", True), ("1", False), ("true", False), ("ON", False)],
)
def test_a_setting_of_the_user_is_kept(
    monkeypatch: pytest.MonkeyPatch, value: str, on: bool
) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", value)
    switch_off()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == value
    assert telemetry() == {"ONNX Runtime": on, "OpenVINO": False}


def test_off_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    switch_off()
    assert telemetry() == {"ONNX Runtime": False, "OpenVINO": False}


@pytest.fixture(scope="module")
def strace(tmp_path_factory: pytest.TempPathFactory) -> str:
    program = shutil.which("strace")
    probe = [program or "false", "-o", os.devnull, "true"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("strace is not installed, or may not trace here")
    return str(program)


def _trace(strace: str, words: list[str], home: Path) -> tuple[list[str], list[str]]:
    """Connections, and files created outside `home`, of a command and its children."""
    log = home / "trace"
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    environment |= {"TMPDIR": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    watched = "trace=connect,sendto,sendmsg,openat"
    done = subprocess.run(
        [strace, "-f", "-qq", "-e", watched, "-o", str(log), sys.executable, *words],
        env=environment,
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    created = [found[1] for line in lines if (found := _CREATED.search(line))]
    own = (str(home), *_DEVICES)
    # The system's Python, which looks at GStreamer, compiles its modules on first use.
    others = (name for name in created if "/__pycache__/" not in name)
    foreign = [name for name in others if name.startswith("/") and not name.startswith(own)]
    return [line for line in lines if _CONNECTION.search(line)], foreign


def test_the_trace_sees_connections_and_files(strace: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    target = tmp_path / "outside"
    code = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        f"s.connect(('127.0.0.1', 9)); open({str(target)!r}, 'w').close()"
    )
    connections, files = _trace(strace, ["-c", code], home)
    assert len(connections) == 1
    assert files == [str(target)]


COMMANDS = {
    "doctor": ["doctor"],
    "inspect": ["inspect", "BUNDLE"],
    "infer ort": ["infer", "BUNDLE", "IMAGE", "-o", "out", "--runtime", "ort"],
    "infer openvino": ["infer", "BUNDLE", "IMAGE", "-o", "out", "--runtime", "openvino"],
    "check": ["check", "BUNDLE", "--no-speed"],
}


@needs_assets
@pytest.mark.parametrize(
    "command",
    [pytest.param(each, marks=pytest.mark.slow if each == "doctor" else ()) for each in COMMANDS],
)
def test_nothing_is_sent(
    strace: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, command: str
) -> None:
    shutil.copytree(shared_proved_bundle(tmp_path_factory), tmp_path / "bundle")
    places = {"BUNDLE": "bundle", "IMAGE": str(val_images()[0])}
    words = [places.get(word, word) for word in COMMANDS[command]]
    connections, files = _trace(strace, ["-m", "ghost_deploy.cli.main", *words], tmp_path)
    assert connections == []
    assert files == []


@needs_assets
@pytest.mark.slow
def test_nothing_is_sent_by_an_export(strace: str, tmp_path: Path) -> None:
    from tests.support.assets import GHOST

    words = ["export", str(GHOST), "-o", "out", "--images", str(val_images()[0].parent)]
    connections, files = _trace(strace, ["-m", "ghost_deploy.cli.main", *words], tmp_path)
    assert (connections, files) == ([], [])

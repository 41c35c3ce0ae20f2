from __future__ import annotations

import importlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ghost_deploy.api  # noqa: F401 # the module is found below
from ghost_deploy.cli.main import main
from ghost_deploy.core.install_command import install_command
from ghost_deploy.runtimes.dot_product import DotProduct
from ghost_deploy.runtimes.table import RUNTIMES

DOCTOR = importlib.import_module("ghost_deploy.api.doctor")
Capture = pytest.CaptureFixture[str]

# Found by every Python process started with its folder in PYTHONPATH.
BARE = """\
import sys
ABSENT = "torch onnxruntime openvino ncnn ai_edge_litert cv2 onnx tritonclient"
for name in ABSENT.split():
    sys.modules[name] = None
"""


def on_a_bare_machine(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command where no vendor package can be imported."""
    (folder / "sitecustomize.py").write_text(BARE)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-m", "ghost_deploy.cli.main", *words],
        env={**os.environ, "PYTHONPATH": path},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Stand-ins for the processes that look at a package: name to the code that they run."""
    code = dict.fromkeys(
        (*RUNTIMES, "opencv", "sources"),
        'print(\'{"runtime": "x", "installed": true, "version": "1.2.3"}\')',
    )

    def start(name: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", code[name]],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    monkeypatch.setattr(DOCTOR, "_start", start)
    return code


def test_this_machine(capsys: Capture) -> None:
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["schema"] == 1
    found = {row["runtime"]: row for row in report["runtimes"]}
    assert list(found) == [name for name in RUNTIMES if name != "fake"]
    for row in found.values():
        # HTTP needs no package, so that a client of servers is always there.
        remote = RUNTIMES[row["runtime"]].remote
        assert row["installed"] == (bool(row["version"]) or remote)
        if row["installed"] and not row["problem"]:
            place = "server" if RUNTIMES[row["runtime"]].remote else "cpu"
            assert place in [device["name"] for device in row["devices"]]
    assert report["opencv"]["details"].keys() == {"GStreamer", "FFMPEG", "GUI", "CUDA"}
    assert report["machine"]["cpus"] >= 1
    assert report["int8_dot_product"]
    sources = report["sources"]["details"]
    assert "OpenCV" in sources["rtsp://"]
    assert all(sources.values())


@pytest.mark.parametrize(
    "text", ["numpy.core.multiarray failed to import", "A module compiled using NumPy 1.x: numpy"]
)
def test_an_opencv_below_another_numpy(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JetPack 6: pip puts NumPy 2 above the system's, for which its OpenCV was compiled."""
    (tmp_path / "cv2.py").write_text(f"raise ImportError({text!r})")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    found = DOCTOR._probe_opencv()
    assert (found.installed, found.fix) == (True, 'Run: pip install "numpy<2"')
    assert f"another NumPy than {np.__version__}" in found.problem


def test_a_machine_without_any_vendor(tmp_path: Path) -> None:
    """It still answers, and every missing runtime has the command that adds it."""
    for words in (["doctor"], ["doctor", "--json"]):
        done = on_a_bare_machine(tmp_path, *words)
        assert (done.returncode, done.stderr) == (0, "")
        assert "looking at it fails" not in done.stdout
        for extra in ("openvino", "onnxruntime", "ncnn", "export", "stream", "kserve"):
            assert f"[{extra}]" in done.stdout
    report = json.loads(done.stdout)
    there = [row for row in (*report["runtimes"], report["opencv"]) if row["installed"]]
    assert [row["runtime"] for row in there] == ["kserve"]
    assert there[0]["details"]["transports"].startswith("http; for grpc: pip install")
    rknn = next(row for row in report["runtimes"] if row["runtime"] == "rknn")
    assert ("[rknn]" in rknn["fix"]) == (platform.machine() == "aarch64")
    assert ("on Rockchip boards only" in rknn["fix"]) == (platform.machine() != "aarch64")


@pytest.mark.parametrize("words", ["check bundle", "demo -o demo", "infer bundle images"])
def test_commands_without_opencv_say_what_to_install(words: str, tmp_path: Path) -> None:
    done = on_a_bare_machine(tmp_path, *words.split())
    assert done.returncode == 3
    assert "pip install opencv-python-headless" in done.stderr
    assert "This is a bug" not in done.stderr


def test_the_table(quick: dict[str, str], capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = DotProduct("", saturates=True)
    monkeypatch.setattr(DOCTOR, "read_dot_product", lambda: lacking)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "Python " in out
    assert "1.2.3" in out
    assert "source of infer" in out
    assert "int8 dot product  none: int8 files made for x86-vnni are refused" in out
    assert "known: TensorRT before 8.5 lacks named tensors" in out


def test_a_package_that_ends_the_process(quick: dict[str, str], capsys: Capture) -> None:
    quick["ort"] = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    quick["openvino"] = "import os, signal; os.kill(os.getpid(), signal.SIGILL)"
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "ends the process (SIGSEGV)" in out
    assert install_command("onnxruntime") in out
    assert "openvino-2" in out
    assert "uses instructions that this processor lacks (illegal instruction)" in out


def test_a_package_that_fails(quick: dict[str, str], capsys: Capture) -> None:
    quick["opencv"] = "raise RuntimeError('libGL.so.1 is missing')"
    assert main(["doctor"]) == 0
    assert "libGL.so.1 is missing" in capsys.readouterr().out


def test_a_package_that_hangs(quick: dict[str, str], capsys: Capture) -> None:
    quick["eager"] = "import time; time.sleep(600)"
    assert main(["doctor", "--timeout", "1"]) == 0
    out = capsys.readouterr().out
    assert "did not end within 1 s" in out
    assert "doctor --timeout SECONDS. Otherwise its package" in out

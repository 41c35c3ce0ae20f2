"""What a process that looks at one image takes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.assets import GHOST, needs_assets, val_images
from tests.support.exports import shared_float_bundle

# MiB at 416 x 416. Measured: 104 and 148. The limits leave room for other versions of Python,
# NumPy, OpenCV and the backend, which take most of it.
LIMITS = {"ort": 112, "openvino": 170}

# The kernel's count for a child begins with what its parent had at the fork; VmHWM does not.
COMMAND = """
import sys
from ghost_deploy.cli.main import main
code = main()
print(open("/proc/self/status").read(), file=sys.stderr)
sys.exit(code)
"""


@needs_assets
@pytest.mark.parametrize("runtime", LIMITS)
def test_peak_memory(
    runtime: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bundle = shared_float_bundle(GHOST, tmp_path_factory).bundle.path
    words = ["infer", bundle, val_images()[0], "--runtime", runtime, "--precision", "fp32"]
    command = [sys.executable, "-c", COMMAND, *map(str, words), "--json"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    for _ in range(2):  # the first one also checks the backend, and fills the cache
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    peak = re.search(r"VmHWM:\s*(\d+) kB", ran.stderr)
    assert peak is not None
    assert int(peak[1]) / 1024 < LIMITS[runtime]


# What one image needs nothing of: packages of the standard library and of others that take long to
# import, and parts of ours for cameras, servers, archives, boards, reports and signatures.
UNNEEDED = (
    *("asyncio", "concurrent.futures", "csv", "difflib", "email", "fractions", "http"),
    *(
        "importlib.metadata",
        "multiprocessing",
        "secrets",
        "socketserver",
        "sqlite3",
        "ssl",
        # In Python 3.10 `platform` imports it, which NumPy does.
        *(("subprocess",) if sys.version_info >= (3, 11) else ()),
        "tempfile",
    ),
    *("unittest", "xml.etree", "zipfile", "av", "onnx", "rich", "torch", "yaml"),
    *("openvino.opset1", "openvino.tools.ovc"),
    *(
        "ghost_deploy.batch",
        "ghost_deploy.calib",
        "ghost_deploy.checkpoints",
        "ghost_deploy.export",
    ),
    *("ghost_deploy.models", "ghost_deploy.remote", "ghost_deploy.report"),
    *("ghost_deploy.cli.live", "ghost_deploy.cli.log_lines", "ghost_deploy.core.bundle.trust"),
    *("ghost_deploy.core.bundle.writer", "ghost_deploy.core.evidence.boards"),
    *("ghost_deploy.core.evidence.latency", "ghost_deploy.core.scratch"),
    *("ghost_deploy.judge.accuracy", "ghost_deploy.judge.check.ask_child"),
    *("ghost_deploy.judge.parity", "ghost_deploy.processing.iso_header"),
    *("ghost_deploy.runtimes.inference_server", "ghost_deploy.runtimes.kserve"),
    *("ghost_deploy.runtimes.served", "ghost_deploy.stream.pipeline"),
    *("ghost_deploy.stream.sources.rtsp", "ghost_deploy.stream.web"),
)
MOST_OF_OURS = 125

IMPORTED = """
import sys
from ghost_deploy.cli.main import main
code = main()
loaded = [name for name, module in sys.modules.items() if module is not None]
print(*loaded, file=sys.stderr, sep="\\n")
sys.exit(code)
"""


@needs_assets
@pytest.mark.parametrize("runtime", LIMITS)
def test_what_is_imported(
    runtime: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bundle = shared_float_bundle(GHOST, tmp_path_factory).bundle.path
    words = ["infer", bundle, val_images()[0], "--runtime", runtime, "--precision", "fp32"]
    command = [sys.executable, "-c", IMPORTED, *map(str, words), "--no-check"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    for _ in range(2):  # the first one fills the cache
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    imported = ran.stderr.splitlines()
    assert "cv2" in imported
    found = [
        name
        for name in imported
        if any(name == each or name.startswith(f"{each}.") for each in UNNEEDED)
    ]
    assert found == []
    ours = [name for name in imported if name.partition(".")[0] == "ghost_deploy"]
    assert len(ours) <= MOST_OF_OURS, sorted(ours)

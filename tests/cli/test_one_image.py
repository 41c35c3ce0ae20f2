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

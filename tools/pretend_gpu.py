"""TensorRT, CUDA and a GPU that are the fakes of the test suite."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def pretend_gpu(version: str, folder: Path) -> dict[str, str]:
    """Environment in which TensorRT, CUDA and the GPU are the fakes of the test suite."""
    support = ROOT / "tests" / "support"
    library = folder / "fake_cuda" / "libcudart.so.13"
    library.parent.mkdir(exist_ok=True)
    source = support / "fake_cudart.c"
    compiler = shutil.which("cc") or shutil.which("gcc") or "cc"
    command = [compiler, "-shared", "-fPIC", "-O1", "-pthread", "-o", str(library), str(source)]
    subprocess.run(command, check=True)
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return {
        "PYTHONPATH": os.pathsep.join([str(support / "dry_gpu"), str(ROOT), *filter(None, before)]),
        "LD_LIBRARY_PATH": str(library.parent),
        "GHOST_DEPLOY_DRY_TENSORRT": version,
        "GHOST_DEPLOY_DRY_FOLDER": str(folder),
    }

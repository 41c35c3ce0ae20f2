"""An edge box: the runtime extra alone, no torch, no exporter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.assets import needs_assets, val_images
from tests.support.exports import shared_proved_bundle

ABSENT = ("torch", "onnx", "onnxsim", "safetensors", "pycocotools")
OTHER = {"openvino": "onnxruntime", "ort": "openvino"}

# Runs in a process of its own, where importing what the edge box lacks fails as it does there.
PROGRAM = """
import sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
import ghost_deploy as gd
with gd.load({bundle!r}, runtime={runtime!r}) as detector:
    print(len(detector({image!r})))
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_proved_bundle(tmp_path_factory)


@needs_assets
@pytest.mark.parametrize("runtime", sorted(OTHER))
def test_load_and_infer_without_torch(bundle: Path, runtime: str) -> None:
    program = PROGRAM.format(
        absent=(*ABSENT, OTHER[runtime]),
        bundle=str(bundle),
        runtime=runtime,
        image=str(val_images()[0]),
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 5


@needs_assets
@pytest.mark.slow
@pytest.mark.parametrize("extra", ["onnxruntime", "openvino"])
def test_in_an_environment_with_the_extra_alone(bundle: Path, tmp_path: Path, extra: str) -> None:
    root = Path(__file__).resolve().parents[1]
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip = [environment / "bin" / "python", "-m", "pip", "install", "-q"]
    subprocess.run([*pip, "-c", root / "constraints.txt", f"{root}[{extra}]"], check=True)
    result = subprocess.run(
        [environment / "bin" / "ghost-deploy", "infer", bundle, val_images()[0], "--jsonl", "-"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    listed = subprocess.run([*pip[:3], "list"], capture_output=True, text=True, check=True)
    assert "torch" not in listed.stdout

"""Small checkpoints of forks through the whole export, in the reading that images decide."""

from __future__ import annotations

from pathlib import Path

import pytest

import ghost_deploy as gd
from ghost_deploy.core.evidence.parity import ParityReport
from tests.support.assets import needs_assets, val_images
from tests.support.fork_files import FORKS

pytestmark = [pytest.mark.slow, needs_assets]

FILES = sorted(FORKS.glob("*.pt"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with eight validation images."""
    folder = tmp_path_factory.mktemp("images")
    for path in val_images()[:8]:
        (folder / path.name).symlink_to(path)
    return folder


def proved(checkpoint: Path, out: Path, images: Path) -> tuple[gd.Bundle, ParityReport]:
    """The bundle of ONNX and OpenVINO and its parity report.

    bf16 rounds random weights too coarsely for its gate: a bundle that failed is returned too.
    """
    try:
        bundle = gd.export(checkpoint, out, ("onnx", "openvino"), imgsz=160, images=images)
    except gd.GateError as error:
        if error.bundle is None:
            raise
        bundle = error.bundle
    parity = bundle.evidence.parity
    assert parity is not None
    return bundle, parity


@pytest.mark.parametrize("checkpoint", FILES, ids=lambda path: path.stem)
def test_a_fork_is_exported_and_equal(checkpoint: Path, images: Path, tmp_path: Path) -> None:
    bundle, parity = proved(checkpoint, tmp_path / "bundle", images)
    assert bundle.evidence.statistics is not None
    assert bundle.evidence.statistics.verdict == "agrees"
    exact = [row for row in parity.rows if row.precision == "fp32"]
    assert {row.artifact for row in exact} == {"onnx-fp32", "openvino-fp32"}
    assert {row.status for row in exact} == {"passed"}, [row.reasons for row in exact]
    assert {row.precision for row in parity.rows if row.status == "failed"} <= {"bf16"}

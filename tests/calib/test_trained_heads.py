"""Int8 of heads of other kinds, from the checkpoint to the verdict: anchors, and group norms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import ghost_deploy as gd
from tests.support.assets import BCCD, needs_assets
from tools.training.__main__ import main as train

pytestmark = [needs_assets, pytest.mark.slow]

DATA = BCCD / "data.yaml"
IMAGES = BCCD / "images" / "train"


@pytest.fixture(autouse=True, scope="module")
def same_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def anchor_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLOv5-Ghost that was trained for some minutes on BCCD."""
    out = tmp_path_factory.mktemp("anchors")
    words = "--net yolov5n-ghost --size 128 --small 64 --epochs 24 --plain 4 --any-way-up"
    assert (
        train([*words.split(), "--data", str(DATA), "--judge-every", "99", "--out", str(out)]) == 0
    )
    return out / "model.safetensors"


def test_int8_of_a_trained_head_with_anchors(anchor_checkpoint: Path, tmp_path: Path) -> None:
    """Within half a point of mAP50-95 of the float network, on labels; fp16 and bf16 beside it."""
    bundle = gd.export(
        anchor_checkpoint,
        tmp_path / "bundle",
        formats=("openvino",),
        precisions=("fp32", "fp16", "int8"),
        images=BCCD / "images" / "val",
        calib=gd.Calibration(IMAGES, count=64, data=DATA, speed=False),
    )
    report, parity = bundle.evidence.int8, bundle.evidence.parity
    assert report is not None
    assert report.judged.by == "labels"
    assert report.judged.reference > 10, "the float network finds the cells"
    (row, *_) = (each for each in report.rows if each.artifact == "openvino-int8")
    assert row.status == "passed"
    assert row.drop is not None
    assert row.drop <= 0.5
    assert row.executed is not None
    assert row.executed.share > 0.95
    assert parity is not None
    assert all(each.status == "passed" for each in parity.rows)
    assert {"fp32", "fp16"} <= {each.precision for each in parity.rows}

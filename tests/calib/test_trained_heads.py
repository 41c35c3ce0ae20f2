"""Int8 of heads of other kinds, from a trained network to the verdict: anchors, and group norms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import ghost_deploy as gd
from ghost_deploy.checkpoints.loading import load_checkpoint
from ghost_deploy.checkpoints.native import save_native
from ghost_deploy.core.bundle import Source
from ghost_deploy.demo.scenes import CLASS_NAMES
from ghost_deploy.models.network import DetectionNet
from ghost_deploy.models.shared_head import SharedDetect
from ghost_deploy.runtimes.int8_forms import ort_form
from tests.support.assets import BCCD, SHARED, needs_assets
from tests.support.fitted_networks import fit_scenes, write_fitted_scenes
from tools.training.__main__ import main as train
from tools.training.network import describe_network
from tools.training.options import Options

pytestmark = [needs_assets, pytest.mark.slow]

DATA = BCCD / "data.yaml"
SCENES, SIDE, STEPS = 8, 128, 600


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_int8_of_a_trained_head_with_anchors(tmp_path: Path) -> None:
    """Within half a point of mAP50-95 of the float network, on labels that it was not trained on;
    fp16 is within its gate."""
    run = tmp_path / "run"
    words = "--net yolov5n-ghost --size 128 --small 64 --epochs 24 --plain 4 --any-way-up"
    more = ["--data", str(DATA), "--judge-every", "99", "--out", str(run)]
    assert train([*words.split(), *more]) == 0
    bundle = gd.export(
        run / "model.safetensors",
        tmp_path / "bundle",
        formats=("openvino",),
        precisions=("fp32", "fp16", "int8"),
        images=BCCD / "images" / "val",
        calib=gd.Calibration(source=BCCD / "images" / "train", count=64, data=DATA, speed=False),
    )
    report, parity = bundle.evidence.int8, bundle.evidence.parity
    assert report is not None
    assert parity is not None
    assert report.judged.by == "labels"
    assert report.judged.reference > 5, "the float network finds cells"
    (row,) = (each for each in report.rows if each.artifact == "openvino-int8")
    assert row.status == "passed"
    assert row.drop is not None
    assert row.drop <= 0.5
    assert row.executed is not None
    assert row.executed.share > 0.9
    assert {each.precision for each in parity.rows if each.status == "passed"} >= {"fp32", "fp16"}


def group_norm_net() -> DetectionNet:
    """A fork's network with shared convolutions and group norms in its head, for the scenes."""
    net = load_checkpoint(SHARED / "forks" / "detect-lscd.pt").net
    head = net.head
    assert isinstance(head, SharedDetect)
    assert isinstance(head.cv3, torch.nn.Conv2d)
    head.cv3 = torch.nn.Conv2d(head.cv3.in_channels, len(CLASS_NAMES), 1)
    torch.nn.init.constant_(head.cv3.bias, -4.6)  # scores of 0.01, as trainings start
    head.nc = len(CLASS_NAMES)
    return net


def test_int8_of_a_head_with_group_norms(tmp_path: Path) -> None:
    """Both runtimes compute it: few points are lost on scenes that the network learned, and each
    file repeats its own outputs."""
    net = group_norm_net()
    fit_scenes(net, SCENES, SIDE, STEPS)
    options = Options(net="yolov8n-ghost", size=SIDE, epochs=1)
    checkpoint = tmp_path / "model.safetensors"
    spec = describe_network(net, options, CLASS_NAMES, "group-norms")
    save_native(checkpoint, net, spec, Source(file="scenes", sha256=""))
    labelled = write_fitted_scenes(tmp_path / "scenes", SCENES, SIDE)
    images = labelled.parent / "images"
    bundle = gd.export(
        checkpoint,
        tmp_path / "bundle",
        precisions=("fp32", "int8"),
        images=images,
        calib=gd.Calibration(
            source=images, data=labelled, allow_small=True, speed=False, max_drop=5
        ),
    )
    report = bundle.evidence.int8
    assert report is not None
    assert report.judged.by == "labels"
    assert report.judged.reference > 20
    rows = {each.form: each for each in report.rows}
    for form, share in ((ort_form(), 0.2), ("openvino", 0.7)):
        drop, executed = rows[form].drop, rows[form].executed
        assert drop is not None
        assert drop < 1, form
        assert executed is not None
        assert executed.share > share, form
    checked = gd.check(bundle.path, speed=False, precisions=["int8"])
    verified = {row.runtime for row in checked.rows if row.status == "verified"}
    assert verified == {"ort", "openvino"}

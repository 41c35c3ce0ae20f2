"""RKNN files: what is refused, what the toolkit gets, and with the real toolkit what they compute.

The toolkit takes 1.5 GB: the tests that need it run in `make test-rknn`, which installs it into an
environment of its own and names it in GHOST_DEPLOY_RKNN_PYTHON.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import ghost_deploy as gd
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import MissingExtraError, UsageError
from ghost_deploy.core.gate_error import GateError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.export.cut_comparison import run_graph
from ghost_deploy.export.plan import plan_export
from ghost_deploy.export.rknn import rknn_source
from ghost_deploy.export.targets import check_devices, check_socs
from ghost_deploy.processing.plain_output import plain_output
from tests.support.assets import BCCD, GHOST, GHOSTNET, SHARED, needs_assets, val_images
from tests.support.zoo_networks import spec_of, zoo_graph, zoo_net

VARIABLE = "GHOST_DEPLOY_RKNN_PYTHON"
needs_toolkit = pytest.mark.skipif(
    not os.environ.get(VARIABLE),
    reason=f"no rknn-toolkit2: make test-rknn, or name its Python in {VARIABLE}",
)


# The plan


@pytest.mark.parametrize(
    ("formats", "precisions", "graphs", "rknn", "int8_formats"),
    [
        (["rknn"], [], ["onnx-fp32"], ("fp16",), ()),
        (["rknn"], ["int8"], ["onnx-fp32"], ("int8",), ()),
        (["rknn"], ["fp16", "int8"], ["onnx-fp32"], ("fp16", "int8"), ()),
        (["onnx", "rknn"], ["fp16"], ["onnx-fp32", "onnx-fp16"], ("fp16",), ()),
        (["onnx", "rknn"], ["int8"], ["onnx-fp32"], ("int8",), ("onnx",)),
    ],
)
def test_the_plan(
    formats: list[str],
    precisions: list[str],
    graphs: list[str],
    rknn: tuple[str, ...],
    int8_formats: tuple[str, ...],
) -> None:
    plan = plan_export(formats, precisions, calibrated="int8" in precisions)
    assert {target.id for target in plan.graphs} == set(graphs)
    assert (plan.rknn, plan.int8_formats) == (rknn, int8_formats)


def test_fp32_is_not_made() -> None:
    with pytest.raises(UsageError, match="rknn is not made in that precision: got fp32"):
        plan_export(["rknn"], ["fp32"])


def test_nms_inside_is_not_made() -> None:
    with pytest.raises(UsageError, match="rknn is made for one size and without NMS"):
        plan_export(["rknn"]).require_shape(dynamic=False, nms=True)


@pytest.mark.parametrize(
    ("names", "formats", "message"),
    [
        ([], ["rknn"], "--rknn without --for"),
        (["x86"], ["rknn"], "--rknn without --for"),
        (["rk3588"], ["onnx"], "--for rk3588 without --rknn"),
        (["rk3399"], ["rknn"], "no target 'rk3399'"),
    ],
)
def test_chips_and_files_belong_together(
    names: list[str], formats: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        check_socs(names, formats)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rknn_python": sys.executable}, "got --rknn-python without --rknn"),
        ({"rknn_layout": "logits"}, "got --rknn-layout without --rknn"),
        ({"litert_python": sys.executable}, "got --litert-python without --litert"),
    ],
)
def test_options_of_converters_need_their_format(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        gd.export(tmp_path / "none.pt", tmp_path / "out", ("onnx",), ("fp32",), **options)


def test_chips_and_processors_are_kept_apart() -> None:
    names = ["rk3588", "arm64", "rk3566", "rk3588"]
    assert check_socs(names, ["rknn", "onnx"]) == ("rk3588", "rk3566")
    assert check_devices(names) == ("arm64",)


# What the toolkit gets


def write_graph(folder: Path, name: str) -> tuple[Path, ModelSpec]:
    path = folder / "whole.onnx"
    onnx.save(zoo_graph(name), path)
    return path, spec_of(zoo_net(name), (64, 64))


@pytest.mark.parametrize("layout", ["rockchip", "logits"])
@pytest.mark.parametrize("name", ["yolov8n-ghost", "yolov10n-ghost", "yolov5n-ghost"])
def test_pixels_in_maps_out(tmp_path: Path, name: str, layout: Any) -> None:
    """With mean and deviation as the toolkit applies them, BGR pixels give our output."""
    path, spec = write_graph(tmp_path, name)
    before = path.read_bytes()
    source = rknn_source(path, spec, layout)
    assert path.read_bytes() == before
    assert source.spec.input.graph_shape() == (1, 64, 64, 3)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    planes = (pixels - np.float32(source.mean)) / np.float32(source.std)
    maps = run_graph(source.model, planes.transpose(0, 3, 1, 2).astype(np.float32))
    rgb = pixels[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32) / 255
    expected = run_graph(onnx.load(path), np.ascontiguousarray(rgb))["output0"][0]
    found = plain_output(maps, source.spec, (64, 64))
    if spec.head.end_to_end:
        found, expected = found[:, 4], expected[:, 4]
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert list(maps) == [name for level in source.spec.head.maps for name in level]


@needs_assets
def test_without_the_toolkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    with pytest.raises(MissingExtraError, match=r"tools/rknn_env\.sh.*--rknn-python PATH"):
        gd.export(GHOST, tmp_path / "out", ("rknn",), ("fp16",), devices=("rk3588",))
    assert list(tmp_path.iterdir()) == []


@needs_assets
def test_a_python_without_the_toolkit(tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match="--rknn-python has no rknn-toolkit2"):
        gd.export(
            GHOST,
            tmp_path / "out",
            ("rknn",),
            ("fp16",),
            images=val_images()[:1],
            devices=("rk3588",),
            rknn_python=sys.executable,
        )
    assert list(tmp_path.iterdir()) == []


def test_the_environment_is_for_one_kind_of_machine(tmp_path: Path) -> None:
    (tmp_path / "uname").write_text("#!/bin/sh\necho aarch64\n")
    (tmp_path / "uname").chmod(0o755)
    script = Path(__file__).resolve().parents[2] / "tools/rknn_env.sh"
    done = subprocess.run(
        [str(script), str(tmp_path / "env")],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "rknn-toolkit-lite2" in done.stderr) == (3, True)
    assert not (tmp_path / "env").exists()


# With the real toolkit


def export(checkpoint: Path, out: Path, **options: Any) -> Bundle:
    return gd.export(
        checkpoint,
        out,
        ("rknn",),
        options.pop("precisions", ("fp16",)),
        images=val_images()[:4],
        devices=options.pop("devices", ("rk3588",)),
        **options,
    )


@needs_assets
@needs_toolkit
@pytest.mark.parametrize("checkpoint", [GHOST, GHOSTNET], ids=lambda p: p.stem)
def test_float_files_are_the_checkpoint_on_the_simulator(checkpoint: Path, tmp_path: Path) -> None:
    bundle = export(checkpoint, tmp_path / "out")
    assert bundle.evidence.parity is not None
    (row,) = (row for row in bundle.evidence.parity.rows if row.runtime == "rknn")
    assert (row.status, row.simulated, row.device) == ("passed", True, "simulator")
    assert row.tensor is not None
    assert row.tensor.box_px.max < 0.5
    artifact = bundle.artifact("rknn", "fp16", "rk3588")
    assert (artifact.form, artifact.head is not None) == ("rk3588", True)
    assert set(artifact.files) == {"model.fp16.rk3588.rknn", "model.fp16.rk3588.json"}


@needs_assets
@needs_toolkit
def test_a_network_that_float16_is_coarse_for(tmp_path: Path) -> None:
    """An untrained GhostV2, whose 300 detections an image have nearly equal scores: half precision
    misses the gate in ONNX Runtime too, by as much."""
    with suppress(GateError):
        export(SHARED / "forks" / "ghostv2-nopool.pt", tmp_path / "out")
    parity = Bundle.read(tmp_path / "out").evidence.parity
    assert parity is not None
    (row,) = (row for row in parity.rows if row.runtime == "rknn")
    assert row.detections is not None
    assert row.tensor is not None
    assert row.detections.matched_share > 0.97
    assert row.tensor.score.max < 0.02
    assert row.tensor.box_px.max < 1.5


@needs_assets
@needs_toolkit
def test_int8_is_judged_on_the_simulator(tmp_path: Path) -> None:
    data = BCCD / "data.yaml"
    calib = gd.Calibration(source=BCCD / "images" / "train", count=64, data=data, speed=False)
    out = tmp_path / "out"
    with suppress(GateError):
        export(GHOST, out, precisions=("int8",), calib=calib, devices=("rk3566",))
    bundle = Bundle.read(out)
    report = bundle.evidence.int8
    assert report is not None
    (row,) = report.rows
    assert (row.artifact, row.simulated, row.judged_on) == ("rknn-int8-rk3566", True, "rknn")
    assert row.points is not None
    assert row.points > 30
    kept = row.drop_low is None or row.drop_low <= 1
    assert [each.id for each in bundle.artifacts if each.format == "rknn"] == (
        ["rknn-int8-rk3566"] if kept else []
    )
    assert (out / "model.int8.rk3566.rknn").exists() == kept


@needs_assets
@needs_toolkit
def test_a_wrong_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The toolkit reports success for everything: the comparison decides."""
    from ghost_deploy.export import rknn

    real = rknn.rknn_source

    def spoiled(*args: Any) -> Any:
        source = real(*args)
        weights = max(source.model.graph.initializer, key=lambda each: len(each.raw_data))
        value = onnx.numpy_helper.to_array(weights) * np.float32(1.1)
        weights.CopyFrom(onnx.numpy_helper.from_array(value, weights.name))
        return source

    monkeypatch.setattr(rknn, "rknn_source", spoiled)
    with pytest.raises(GateError):
        export(GHOST, tmp_path / "out")
    with pytest.raises(gd.GhostDeployError), ExitStack() as stack:
        stack.enter_context(gd.load(tmp_path / "out", runtime="rknn", device="npu"))

"""From a checkpoint to RKNN files with a strict fake of the toolkit: what is kept, what is said.

`test_rknn.py` has the tests with the real toolkit.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

import ghost_deploy as gd
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import ExportError
from ghost_deploy.core.gate_error import GateError
from ghost_deploy.judge.parity.self_check import self_check
from ghost_deploy.runtimes.base import RuntimeOptions
from tests.support.assets import BCCD, GHOST, needs_assets, val_images
from tests.support.fake_rknn_toolkit import FAILING_RULES, toolkit_python
from tests.support.fake_rknnlite import fake_board

pytestmark = needs_assets


def export(out: Path, python: Path, **options: Any) -> Bundle:
    return gd.export(
        GHOST,
        out,
        ("rknn",),
        options.pop("precisions", ("fp16",)),
        imgsz=160,
        images=val_images()[:2],
        devices=options.pop("devices", ("rk3588",)),
        rknn_python=python,
        **options,
    )


def calibration(**options: Any) -> gd.Calibration:
    source = BCCD / "images" / "train"
    return gd.Calibration(source=source, count=64, data=BCCD / "data.yaml", speed=False, **options)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("rknn")
    python = toolkit_python(folder / "toolkit")
    return export(
        folder / "out",
        python,
        precisions=("fp16", "int8"),
        calib=calibration(),
    )


def test_a_file_for_each_precision(bundle: Bundle) -> None:
    assert {artifact.id for artifact in bundle.artifacts} == {
        "onnx-fp32",
        "rknn-fp16-rk3588",
        "rknn-int8-rk3588",
    }
    artifact = bundle.artifact("rknn", "int8", "rk3588")
    assert artifact.options["layout"] == "rockchip"
    assert artifact.tools["rknn-toolkit2"] == "2.5.0"
    assert artifact.input is not None
    assert (artifact.input.dtype, bundle.spec.input.dtype) == ("uint8", "float32")
    for each in bundle.artifacts:
        bundle.verified_path(each)


def test_the_evidence_says_that_it_was_simulated(bundle: Bundle) -> None:
    parity, int8 = bundle.evidence.parity, bundle.evidence.int8
    assert parity is not None
    assert int8 is not None
    rows = {row.artifact: row for row in parity.rows}
    assert {name: row.simulated for name, row in rows.items()} == {
        "onnx-fp32": False,
        "rknn-fp16-rk3588": True,
    }
    assert {row.status for row in rows.values()} == {"passed"}
    assert {row.artifact: (row.simulated, row.status) for row in int8.rows} == {
        "rknn-int8-rk3588": (True, "passed"),
    }
    assert int8.calibration.images == 64


def test_the_report_says_so_too(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ghost_deploy.cli.main import main

    assert main(["inspect", str(bundle.path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "simulated by the vendor's toolkit (2.5.0 simulator), on no device" in shown
    assert main(["report", str(bundle.path), "-o", str(tmp_path / "report.html")]) == 0
    page = " ".join((tmp_path / "report.html").read_text().split())
    assert "judged on its simulator; check it on the board" in page


def test_the_board_gets_outputs_to_compare_with(bundle: Bundle) -> None:
    note = bundle.evidence.reference
    assert note is not None
    int8 = [artifact for artifact in bundle.artifacts if artifact.precision == "int8"]
    assert set(note.int8) == {artifact.files[artifact.path] for artifact in int8}
    assert {each.native for each in note.int8.values()} == {False}


def test_the_board_is_compared_again(bundle: Bundle, tmp_path: Path) -> None:
    """What `check` does in its child: fp16 with the checkpoint, int8 with the simulator."""
    options = RuntimeOptions(device="npu")
    for precision in ("fp16", "int8"):
        artifact = bundle.artifact("rknn", precision, "rk3588")
        network = bundle.verified_path(artifact).read_bytes().partition(b"\n")[2]
        session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])

        def right(pixels: NDArray[Any], session: Any = session) -> list[NDArray[np.float32]]:
            planes = (pixels / np.float32(255)).transpose(0, 3, 1, 2)
            found: list[NDArray[np.float32]] = session.run(
                None, {"images": np.ascontiguousarray(planes, np.float32)}
            )
            return found

        def wrong(pixels: NDArray[Any], right: Any = right) -> list[NDArray[np.float32]]:
            return [each * np.float32(0.5) for each in right(pixels)]

        for function, status in ((right, "passed"), (wrong, "failed")):
            with fake_board(tmp_path / f"{precision}-{status}", function):
                row = self_check(bundle, artifact, "rknn", options, precision=precision)
            assert row is not None
            assert (row.status, row.simulated, row.device) == (status, False, "npu")


def test_what_the_toolkit_overwrites_is_a_copy(bundle: Bundle) -> None:
    source = bundle.artifact("onnx", "fp32")
    content = (bundle.path / source.path).read_bytes()
    assert hashlib.sha256(content).hexdigest() == source.files[source.path]
    assert {a.parent for a in bundle.artifacts if a.format == "rknn"} == {source.files[source.path]}


@pytest.mark.slow
def test_networks_that_find_nothing(tmp_path: Path) -> None:
    """The toolkit reports success: float misses its gate, int8 is not even kept."""
    python = toolkit_python(tmp_path / "toolkit", fault="float")
    with pytest.raises(GateError, match="rknn-fp16-rk3588"):
        export(tmp_path / "out", python, precisions=("fp16", "int8"), calib=calibration())
    bundle = Bundle.read(tmp_path / "out")
    assert [artifact.id for artifact in bundle.artifacts] == ["onnx-fp32", "rknn-fp16-rk3588"]
    assert [path.name for path in bundle.path.glob("*.rknn")] == ["model.fp16.rk3588.rknn"]
    assert bundle.evidence.int8 is not None
    (row,) = bundle.evidence.int8.rows
    assert (row.status, row.kept) == ("failed", False)
    assert "not kept: even the lower end of the interval" in row.notes[-1]


@pytest.mark.slow
def test_int8_that_finds_nothing_is_kept_if_it_may_be_lost(tmp_path: Path) -> None:
    python = toolkit_python(tmp_path / "toolkit", fault="int8")
    calib = calibration(max_drop=100.0)
    chips = ("rk3588", "rk3566")
    bundle = export(tmp_path / "out", python, precisions=("int8",), calib=calib, devices=chips)
    ids = [artifact.id for artifact in bundle.artifacts]
    assert ids == ["onnx-fp32", *(f"rknn-int8-{chip}" for chip in chips)]


def test_rules_of_the_toolkit_that_fail_on_a_graph_are_left_out(tmp_path: Path) -> None:
    """As one of 2.5.0 does on the attention of YOLO11; each attempt gets the graph anew, and the
    next file is built without them at once."""
    python = toolkit_python(tmp_path / "toolkit", fault="rules")
    said: list[str] = []
    chips = ("rk3588", "rk3566")
    bundle = export(
        tmp_path / "out",
        python,
        devices=chips,
        progress=lambda what, done, total: said.append(what),
    )
    for chip in chips:
        artifact = bundle.artifact("rknn", "fp16", chip)
        assert artifact.options["without"] == ", ".join(FAILING_RULES)
    assert bundle.evidence.parity is not None
    assert bundle.evidence.parity.passed
    for rule in FAILING_RULES:
        text = f"RKNN fp16 for rk3588: building without its rule {rule}, which fails on this graph"
        assert said.count(text) == 1
    assert not any("rk3566: building without" in text for text in said)


def test_a_rule_that_fails_all_the_same(tmp_path: Path) -> None:
    python = toolkit_python(tmp_path / "toolkit", fault="build")
    with pytest.raises(ExportError, match="rknn-toolkit2 failed to build"):
        export(tmp_path / "out", python)
    assert not (tmp_path / "out").exists()

"""A failed artifact is marked or refused in the same way wherever it is met."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

import ghost_deploy as gd
from ghost_deploy.cli.main import main
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.bundle.verdicts import failures_of, replacing_command
from ghost_deploy.core.evidence.parity import ParityReport
from ghost_deploy.export.integrations.deepstream import write_deepstream
from ghost_deploy.export.integrations.failed_artifacts import failure_lines
from ghost_deploy.export.integrations.triton import write_triton
from ghost_deploy.runtimes.run_plan import PlannedRun, choose
from tests.support.bundles import write_placeholder_bundle
from tests.support.parity_reports import parity_row, small_parity_report

Capture = pytest.CaptureFixture[str]


def failing(folder: Path, *ids: str) -> Bundle:
    """A bundle whose artifacts of these ids failed parity on their runtimes."""
    bundle = write_placeholder_bundle(folder)
    return with_failures(bundle, *ids)


def with_failures(bundle: Bundle, *ids: str) -> Bundle:
    runtimes = {"onnx": "ort", "openvino": "openvino", "tensorrt": "trt"}
    rows = [
        parity_row(
            each.id,
            "failed" if each.id in ids else "passed",
            sha256=each.files[each.path],
            runtime=runtimes[each.format],
            precision=each.precision,
            reasons=("box difference 4 px > 0.05 px",) if each.id in ids else (),
        )
        for each in bundle.artifacts
    ]
    report: ParityReport = small_parity_report(*rows)
    made = bundle.with_evidence(report)
    made.save()
    return made


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("tensorrt-fp16", "ghost-deploy build {} --trt --fp16 --overwrite"),
        ("onnx-int8-ort-x86", "ghost-deploy calibrate {} --calib IMAGES --overwrite"),
        ("onnx-fp16", "ghost-deploy export best.pt -o {} --fp32 --images IMAGES --overwrite"),
    ],
)
def test_the_command_that_replaces_it(name: str, command: str, tmp_path: Path) -> None:
    bundle = failing(tmp_path / "bundle", name)
    (artifact,) = (each for each in bundle.artifacts if each.id == name)
    assert replacing_command(bundle, artifact) == command.format(bundle.path)
    (line,) = failure_lines(bundle)
    assert line.startswith(f"{name} failed its comparison with the checkpoint: box difference 4 px")
    assert line.endswith(command.format(bundle.path))


def test_what_failed_bf16_or_another_file_did_not_fail(tmp_path: Path) -> None:
    bundle = write_placeholder_bundle(tmp_path / "bundle")
    fp32 = bundle.artifact("onnx", "fp32")
    rows = (
        parity_row(fp32.id, "failed", sha256=fp32.files[fp32.path], precision="bf16"),
        parity_row(fp32.id, "failed", sha256="of an older file"),
    )
    assert failures_of(bundle.with_evidence(small_parity_report(*rows)), fp32) == ()


def test_triton_leaves_it_out_or_refuses(tmp_path: Path) -> None:
    names = write_triton(failing(tmp_path / "a", "onnx-fp16"), tmp_path / "models")
    assert not any(name.endswith("onnx-fp16") for name in names)
    assert any(name.endswith("onnx-fp32") for name in names)
    every = write_placeholder_bundle(tmp_path / "b")
    every = with_failures(every, *(each.id for each in every.artifacts))
    with pytest.raises(gd.GateError, match="onnx-fp32 failed its comparison") as caught:
        write_triton(every, tmp_path / "none")
    assert "--overwrite" in caught.value.fix
    assert not (tmp_path / "none").exists()


def test_deepstream_refuses_the_graph_and_leaves_int8_out(tmp_path: Path) -> None:
    with pytest.raises(gd.GateError, match="onnx-fp32 failed"):
        write_deepstream(failing(tmp_path / "a", "onnx-fp32"), tmp_path / "deepstream")
    written = write_deepstream(failing(tmp_path / "b", "onnx-int8-tensorrt"), tmp_path / "some")
    assert not any("int8" in name and name.endswith(".txt") for name in written)
    whole = write_deepstream(failing(tmp_path / "c"), tmp_path / "all")
    assert any("int8" in name and name.endswith(".txt") for name in whole)


def test_inspect_and_export_say_it(tmp_path: Path, capsys: Capture) -> None:
    bundle = failing(tmp_path / "bundle", "onnx-fp16")
    assert main(["inspect", str(bundle.path)]) == 0
    assert "\nfailed: onnx-fp16 failed its comparison" in capsys.readouterr().out
    assert main(["export", str(bundle.path), "--triton", str(tmp_path / "models")]) == 0
    assert "left out: onnx-fp16 failed" in capsys.readouterr().err


def test_auto_takes_what_passed_in_the_precision_that_was_asked_for(tmp_path: Path) -> None:
    bundle = write_placeholder_bundle(tmp_path / "bundle")

    def chosen(failed: set[str], **asked: Any) -> str:
        def is_failed(run: PlannedRun) -> bool:
            return run.artifact.id in failed

        return choose(bundle, failed=is_failed, **asked).artifact.id

    assert chosen(set(), precision="fp32") == "openvino-fp32"
    assert chosen({"openvino-fp32"}, precision="fp32") == "onnx-fp32"
    assert chosen({"openvino-fp32"}) == "onnx-fp32"
    # Another precision is not what was asked for: what failed is refused by `load`.
    assert chosen({"openvino-fp32", "onnx-fp32"}) == "openvino-fp32"
    assert chosen({"openvino-fp32"}, runtime="openvino") == "openvino-fp32"


def test_load_by_auto_names_the_command_where_all_failed(tmp_path: Path) -> None:
    bundle = failing(tmp_path / "bundle", "onnx-fp32", "openvino-fp32")
    with pytest.raises(gd.GateError, match="failed its comparison") as caught:
        gd.load(msgspec.convert(str(bundle.path), str))
    assert "ghost-deploy export best.pt" in caught.value.fix

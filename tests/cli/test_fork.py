"""`--fork`: a fork's own code as the only way to its network, and as a judge of our definition."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from ghost_deploy import api
from ghost_deploy.checkpoints.inspection_record import Inspection
from ghost_deploy.cli.main import main
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import GhostDeployError, UsageError
from tests.support.fork_folders import (
    NAMES,
    OTHER_ORDER,
    STOCK_FILES,
    needs_confinement,
    pickle_checkpoint,
    write_fork,
)

Capture = pytest.CaptureFixture[str]


def test_unconfined_without_a_fork_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none is named"):
        api.export("a.pt", tmp_path / "out", fork_unconfined=True)


def test_a_fork_that_is_not_there(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    command = ["export", "a.pt", "-o", str(out), "--fork", str(tmp_path / "nowhere")]
    assert main(command) == 2
    assert "there is no" in capsys.readouterr().err
    assert not out.exists()


@needs_confinement
def test_the_forks_code_is_the_only_way(tmp_path: Path, capsys: Capture) -> None:
    folder = write_fork(tmp_path / "my_fork")
    checkpoint = pickle_checkpoint(folder, tmp_path / "best.pt")
    assert main(["export", str(checkpoint), "-o", str(tmp_path / "without")]) == 2
    capsys.readouterr()
    out = tmp_path / "out"
    fork = ["--fork", str(folder)]
    assert main(["export", str(checkpoint), "-o", str(out), "--dynamic", *fork]) == 0
    said = capsys.readouterr().out
    assert "the network is the fork's own, executed from my_fork (confined)" in said
    bundle = Bundle.read(out, verify=True)
    assert [each.id for each in bundle.artifacts] == [
        "onnx-fp32", "onnx-fp16", "openvino-fp32", "openvino-fp16"
    ]  # fmt: skip
    report, parity = bundle.evidence.fork, bundle.evidence.parity
    assert report is not None
    assert (report.role, report.status, report.code.confined) == ("reference", "unjudged", True)
    assert "ultralytics/nn/modules/block.py" in report.code.files
    assert parity is not None
    assert parity.passed
    assert parity.reference.startswith("the fork's own code (PyTorch ")
    assert bundle.spec.class_names == NAMES
    with api.load(out) as detector:
        assert detector.spec.input.dynamic
    assert main(["parity", str(checkpoint), str(out), *fork, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["passed"] is True
    assert main(["inspect", str(checkpoint), *fork, "--json"]) == 0
    seen = msgspec.json.decode(capsys.readouterr().out, type=Inspection)
    assert seen.exportable
    assert seen.fork is not None
    assert main(["report", str(out), "-o", str(tmp_path / "page.html")]) == 0
    assert "The fork" in (tmp_path / "page.html").read_text()


@needs_confinement
def test_the_forks_code_judges_a_definition_that_fits(tmp_path: Path, capsys: Capture) -> None:
    right = write_fork(tmp_path / "right", STOCK_FILES)
    other = write_fork(tmp_path / "other", OTHER_ORDER)
    checkpoint = pickle_checkpoint(right, tmp_path / "best.pt")
    command = ["export", str(checkpoint), "--onnx", "--fp32", "-o"]
    assert main([*command, str(tmp_path / "a"), "--fork", str(right)]) == 0
    judged = Bundle.read(tmp_path / "a").evidence.fork
    assert judged is not None
    assert judged.figures is not None
    assert (judged.role, judged.status, judged.arithmetic) == ("judge", "passed", "float64")
    assert judged.figures.compared >= 100
    assert judged.figures.box_px.max < 1e-9
    capsys.readouterr()

    assert main([*command, str(tmp_path / "b"), "--fork", str(other)]) == 1
    said = capsys.readouterr()
    assert "our definition is not the network of this fork" in said.err
    wrong = Bundle.read(tmp_path / "b")
    assert wrong.evidence.fork is not None
    assert wrong.evidence.fork.status == "failed"
    # Parity alone sees nothing: it compares our definition with itself.
    assert wrong.evidence.parity is not None
    assert wrong.evidence.parity.passed
    with pytest.raises(GhostDeployError, match="is not the network of the fork's own code"):
        api.load(wrong)

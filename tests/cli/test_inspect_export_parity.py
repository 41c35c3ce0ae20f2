"""`inspect`, `export` and `parity` on a trained checkpoint."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import msgspec
import pytest
import torch

from ghost_deploy import api
from ghost_deploy.cli.console import Console
from ghost_deploy.cli.main import main
from ghost_deploy.cli.tables import print_parity
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.evidence.parity import ParityReport
from ghost_deploy.core.gate_error import GateError
from tests.support.assets import GHOST, GHOSTNET, needs_assets
from tests.support.fork_files import FORKS
from tests.support.stored_evidence import evidence_of, with_plain_evidence

Capture = pytest.CaptureFixture[str]
ALL = ("onnx-fp32", "onnx-fp16", "openvino-fp32", "openvino-fp16")

pytestmark = needs_assets


@pytest.mark.parametrize("words", [[], ["--json"]])
@pytest.mark.parametrize("name", ["absent.pt", "broken.pt", "folder"])
def test_what_cannot_be_inspected(
    name: str, words: list[str], tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "broken.pt").write_bytes(GHOST.read_bytes()[:5000])
    (tmp_path / "folder").mkdir()
    assert main(["inspect", str(tmp_path / name), *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert name in said.err
    assert "next: " in said.err


def test_a_class_of_many_definitions_takes_one_line(capsys: Capture) -> None:
    assert main(["inspect", str(FORKS / "ghostv2-nopool.pt")]) == 0
    lines = capsys.readouterr().out.splitlines()
    (detect,) = (line for line in lines if "head.Detect " in line)
    assert detect.endswith("Ultralytics Detect or 2 others")
    parts = [line for line in lines if line.startswith("      0: Conv2d(")]
    assert parts
    assert all(line.endswith((")", "...")) for line in parts)


def test_inspect_weights_alone(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"a": torch.zeros(3)}, path)
    assert main(["inspect", str(path)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"file .*\(\d\.\d KiB\)", out)
    assert "holds no network" in out
    assert "classes" not in out


def test_files_and_folders_in_each_others_place(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "bundle.json").write_text("{}")
    for words, said in (
        (["parity", str(tmp_path), str(GHOST)], "where a checkpoint is needed too, it comes first"),
        (["export", str(tmp_path), "-o", str(tmp_path / "x")], "is a bundle, not a checkpoint"),
        (["export", str(tmp_path.parent), "-o", str(tmp_path / "x")], "is a folder, not a check"),
    ):
        assert main(words) == 2
        assert said in capsys.readouterr().err


def test_inspect_a_checkpoint(capsys: Capture) -> None:
    assert main(["inspect", str(GHOST)]) == 0
    out = capsys.readouterr().out
    for line in (
        r"family +yolov8-ghost, scale n",
        r"classes +3: RBC, WBC, Platelets",
        r"input +416 x 416",
        r"strides +8, 16, 32",
        r"parameters +1,7\d\d,\d\d\d",
        r"GFLOPs +\d",
        r"metrics +.*mAP50-95 0\.565",
        r"ultralytics\.nn\.modules\.conv\.GhostConv +26 ",
        r"exportable +yes, as onnx-fp32, onnx-fp16, onnx-int8, openvino-fp32, .*tensorrt-int8",
    ):
        assert re.search(line, out), line


def test_inspect_a_checkpoint_as_json(capsys: Capture) -> None:
    assert main(["inspect", str(GHOSTNET), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["class_names"] == ["RBC", "WBC", "Platelets"]
    assert document["exportable"] is True
    assert any(use["path"].endswith("C2fGhost") for use in document["classes"])


def test_inspect_a_network_of_the_zoo(capsys: Capture) -> None:
    assert main(["inspect", "zoo:yolov8n-ghost", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["strides"] == [8, 16, 32]
    assert document["exportable"] is False
    assert main(["inspect", "zoo:absent"]) == 2


def test_inspect_a_bundle(bundle: Path, capsys: Capture) -> None:
    assert main(["inspect", str(bundle)]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ALL)
    assert "unchanged" in out
    assert "Parity passed" in out
    assert "no evidence of: accuracy, latency" in out
    assert main(["inspect", str(bundle), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["artifacts"]) == 4
    assert document["evidence"]["parity"]["passed"] is True


def test_inspect_a_changed_bundle(bundle: Path, tmp_path: Path, capsys: Capture) -> None:
    copy = shutil.copytree(bundle, tmp_path / "copy")
    with open(copy / "model.fp32.onnx", "ab") as file:
        file.write(b"x")
    assert main(["inspect", str(copy)]) == 2
    assert "was changed" in capsys.readouterr().err


def test_export_says_what_it_did_and_what_comes_next(
    images: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "bundle"
    words = ["export", str(GHOST), "-o", str(out), "--onnx", "--fp32", "--imgsz", "320", "416"]
    assert main([*words, "--images", str(images)]) == 0
    said = capsys.readouterr()
    assert re.search(r"ONNX Runtime FP32 +onnx-fp32 +passed +(\d+) of \1 ", said.out)
    assert "Weak evidence" in said.out
    assert f"next: ghost-deploy infer {out} {images}" in said.out
    assert re.search(r"^ONNX fp32 +\d+\.\d s$", said.err, re.MULTILINE)
    made = Bundle.read(out, verify=True)
    assert [artifact.id for artifact in made.artifacts] == ["onnx-fp32"]
    assert made.spec.input.size_hw == (320, 416)

    assert main(words) == 2
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.parametrize("sides", [["100"], ["64", "64", "64"]])
def test_export_of_an_impossible_size(sides: list[str], tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "bundle"
    assert main(["export", str(GHOST), "-o", str(out), "--imgsz", *sides]) == 2
    assert list(tmp_path.iterdir()) == []
    assert "next: " in capsys.readouterr().err


def test_export_with_no_images_in_the_folder(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "empty").mkdir()
    words = ["export", str(GHOST), "-o", str(tmp_path / "b"), "--images", str(tmp_path / "empty")]
    assert main(words) == 2
    assert "no image" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_parity_of_the_right_checkpoint(bundle: Path, images: Path, capsys: Capture) -> None:
    assert main(["parity", str(GHOST), str(bundle), "--images", str(images)]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ALL)
    assert "Parity passed" in out


def test_parity_of_another_checkpoint_fails(bundle: Path, images: Path, capsys: Capture) -> None:
    words = ["parity", str(GHOSTNET), str(bundle), "--images", str(images), "--json"]
    assert main([*words, "--other-checkpoint"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["passed"] is False
    report = ParityReport.from_document(document)
    assert not report.passed
    print_parity(report, Console(sys.stdout, sys.stderr))
    out = capsys.readouterr().out
    assert "Parity failed" in out
    assert "where it comes from: " in out
    assert "warning: the bundle was exported from yolov8n-ghost-bccd.pt" in out


def test_another_checkpoint_is_refused_by_its_hash_before_any_work(
    bundle: Path, tmp_path: Path, capsys: Capture
) -> None:
    other = tmp_path / "other.pt"
    other.write_bytes(b"never read as a checkpoint")
    assert main(["parity", str(other), str(bundle), "--images", "/no/such/folder"]) == 2
    err = capsys.readouterr().err
    assert "was not exported from" in err
    assert "yolov8n-ghost-bccd.pt, sha256 " in err
    words = ["validate", str(bundle), "--data", "/no/such.yaml", "--checkpoint", str(other)]
    assert main(words) == 2
    assert "was not exported from" in capsys.readouterr().err


def test_a_broken_image_of_inspect_is_left_out_or_stops_it(
    images: Path, tmp_path: Path, capsys: Capture
) -> None:
    folder = shutil.copytree(images, tmp_path / "some")
    (folder / "broken.jpg").write_bytes(b"no image")
    words = ["inspect", str(GHOST), "--images", str(folder)]
    assert main(words) == 0
    assert "images could not be read: broken.jpg" in capsys.readouterr().out
    assert main([*words, "--on-broken", "stop"]) == 2
    assert "broken.jpg" in capsys.readouterr().err


def test_a_failed_export_prints_the_verdict_and_ends_with_1(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    out = shutil.copytree(bundle, tmp_path / "out")
    made = Bundle.read(out)
    report = ParityReport.from_document(evidence_of(made)["parity"])
    bad = msgspec.structs.replace(
        report.rows[1], status="failed", reasons=("a limit was exceeded",)
    )
    rows = (report.rows[0], bad, *report.rows[2:])
    document = msgspec.structs.replace(report, rows=rows).to_document()
    written = with_plain_evidence(made, {"parity": document})

    def export(*_: object, **__: object) -> None:
        raise GateError("it was written, but it is not proved", fix="Look at it", bundle=written)

    monkeypatch.setattr(api, "export", export)
    assert main(["export", "best.pt", "-o", str(out)]) == 1
    said = capsys.readouterr()
    assert "a limit was exceeded" in said.out
    assert "Parity failed" in said.out
    assert "ghost-deploy infer" not in said.out
    assert "error: it was written, but it is not proved" in said.err


def test_parity_on_a_device_that_is_not_here_ends_with_3(
    bundle: Path, images: Path, capsys: Capture
) -> None:
    assert (
        main(["parity", str(GHOST), str(bundle), "--images", str(images), "--device", "npu"]) == 3
    )
    assert "nothing could be run on this machine" in capsys.readouterr().out


def test_names_that_are_not_utf8(images: Path, tmp_path: Path, capsys: Capture) -> None:
    odd = Path(shutil.copy(GHOST, tmp_path / os.fsdecode(b"b\xff.pt")))
    assert main(["inspect", str(odd), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == "b\N{REPLACEMENT CHARACTER}.pt"
    words = ["export", str(odd), "-o", str(tmp_path / "out"), "--onnx", "--fp32", "--imgsz", "64"]
    assert main([*words, "--images", str(images)]) == 0
    assert Bundle.read(tmp_path / "out").spec.name == "b\N{REPLACEMENT CHARACTER}"


def test_the_next_command_can_be_pasted(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(api, "export", lambda *_, **__: Bundle.read(bundle))
    out, there = tmp_path / "my bundle", tmp_path / "my images"
    assert main(["export", str(GHOST), "-o", str(out), "--images", str(there)]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert shlex.split(line)[1:] == [
        "ghost-deploy",
        "infer",
        str(out),
        str(there),
        "-o",
        "annotated",
    ]

"""`ghost-deploy validate` on a real bundle and a few labelled images."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import msgspec
import pytest

from ghost_deploy.cli.main import main
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.evidence.accuracy import AccuracyReport
from tests.support.assets import GHOST, needs_assets, val_images
from tests.support.int8_reports import int8_row, small_int8_report
from tests.support.stored_evidence import evidence_of

Capture = pytest.CaptureFixture[str]

pytestmark = needs_assets


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four images of BCCD val in the YOLO form."""
    for path in val_images()[:4]:
        image = tmp_path / "images" / path.name
        label = tmp_path / "labels" / f"{path.stem}.txt"
        image.parent.mkdir(exist_ok=True)
        label.parent.mkdir(exist_ok=True)
        shutil.copy(path, image)
        shutil.copy(path.parents[2] / "labels" / "val" / label.name, label)
    file = tmp_path / "data.yaml"
    file.write_text("val: images\nnames: [RBC, WBC, Platelets]\n")
    return file


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--data", "d.yaml", "--max-drop", "-1"],
        ["--data", "d.yaml", "--max-drop", "nan"],
        ["--data", "d.yaml", "--max-drop", "much"],
    ],
)
def test_wrong_use(words: list[str], capsys: Capture) -> None:
    assert main(["validate", "b", *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "ghost-deploy validate: error:" in said.err


def test_what_is_not_there(bundle: Path, data: Path, capsys: Capture) -> None:
    assert main(["validate", "absent", "--data", str(data)]) == 2
    assert main(["validate", str(bundle), "--data", "absent.yaml"]) == 2
    assert main(["validate", str(bundle), "--data", str(data), "--split", "test"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("next: ") == 3


def test_broken_labels(bundle_copy: Path, data: Path, capsys: Capture) -> None:
    label = data.parent / "labels" / f"{val_images()[0].stem}.txt"
    label.write_text(f"{label.read_text()}7 0.5 0.5 0.1 0.1\n")
    lines = len(label.read_text().splitlines())
    words = ["validate", str(bundle_copy), "--data", str(data), "--runtime", "ort"]
    assert main([*words, "--precision", "fp16", "--json"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert f"{label}:{lines}: class 7 is out of range" in said.err
    assert main([*words, "--precision", "fp16", "--skip-broken-labels"]) == 0
    assert "note: 1 broken label left out" in capsys.readouterr().out


def test_a_table_and_the_evidence_in_the_bundle(
    bundle_copy: Path, data: Path, capsys: Capture
) -> None:
    words = ["validate", str(bundle_copy), "--data", str(data), "--checkpoint", str(GHOST)]
    assert main([*words, "--runtime", "ort"]) == 0
    said = capsys.readouterr()
    assert re.search(r"^checkpoint +- +- +0\.\d{4} +0\.\d{4} +-$", said.out, re.MULTILINE)
    row = r"^ONNX Runtime FP32 +onnx-fp32 +passed +0\.\d{4} +0\.\d{4} +[+-]?0\.0"
    assert re.search(row, said.out, re.MULTILINE)
    assert re.search(r"^Platelets +\d+ +\d\.\d{4}", said.out, re.MULTILINE)
    assert re.search(r"^reference +eager \(PyTorch .*\) in fp32$", said.out, re.MULTILINE)
    assert re.search(r"^Measured on data.yaml \(val\): 4 images, \d+ boxes", said.out, re.MULTILINE)
    assert "Protocol: COCO (pycocotools" in said.out
    assert "with the training: mAP50-95 recorded 0.565" in said.out
    assert "Accuracy passed: 2 of 2 runs within their gates." in said.out
    assert re.search(r"^onnx-fp32/ort 4 images +\d+\.\d s$", said.err, re.MULTILINE)
    stored = evidence_of(Bundle.read(bundle_copy))["accuracy"]
    assert AccuracyReport.from_document(stored).passed
    assert main(["inspect", str(bundle_copy)]) == 0
    assert "Accuracy passed: 2 of 2 runs within their gates." in capsys.readouterr().out


def test_json_is_one_document(bundle_copy: Path, data: Path, capsys: Capture) -> None:
    words = [
        "validate",
        str(bundle_copy),
        "--data",
        str(data),
        "--runtime",
        "ort",
        "--precision",
        "fp16",
    ]
    assert main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["passed"] is True
    assert document["reference"]["name"] == "onnx-fp32 on ort"
    report = AccuracyReport.from_document(document)
    kept = AccuracyReport.from_document(evidence_of(Bundle.read(bundle_copy))["accuracy"])
    assert report.thin() == kept
    assert report.rows[0].accuracy is not None
    assert len(report.rows[0].accuracy.classes[0].curve) == 101


def test_a_missed_gate_is_exit_code_1(bundle_copy: Path, data: Path) -> None:
    kept = Bundle.read(bundle_copy)
    document = json.loads((bundle_copy / "bundle.json").read_text())
    document["artifacts"] = [a for a in document["artifacts"] if a["precision"] == "fp16"]
    (bundle_copy / "bundle.json").write_text(json.dumps(document))
    assert len(Bundle.read(bundle_copy).artifacts) < len(kept.artifacts)
    assert main(["validate", str(bundle_copy), "--data", str(data), "--runtime", "ort"]) == 1
    assert evidence_of(Bundle.read(bundle_copy))["accuracy"]["passed"] is False


def test_a_model_measured_alone_is_told_and_not_judged(
    bundle_copy: Path, data: Path, capsys: Capture
) -> None:
    document = json.loads((bundle_copy / "bundle.json").read_text())
    document["evidence"].pop("accuracy", None)  # of the tests before
    (bundle_copy / "bundle.json").write_text(json.dumps(document))
    words = [
        "validate",
        str(bundle_copy),
        "--data",
        str(data),
        "--runtime",
        "ort",
        "--precision",
        "fp32",
    ]
    assert main(words) == 0
    said = capsys.readouterr()
    assert re.search(r"^ONNX Runtime FP32 +onnx-fp32 +reference +0\.\d{4}", said.out, re.MULTILINE)
    assert "Accuracy measured, not judged" in said.out
    assert "nothing was judged" not in said.err
    stored = evidence_of(Bundle.read(bundle_copy))["accuracy"]
    assert stored["passed"] is None
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["passed"] is None

    judged = give_passed_accuracy(bundle_copy)
    assert main(words) == 0
    assert "nothing was judged: the bundle keeps the verdict" in capsys.readouterr().err
    assert Bundle.read(bundle_copy).evidence.accuracy == judged


def give_passed_accuracy(folder: Path) -> AccuracyReport:
    """Give the bundle a verdict on accuracy, and return it."""
    bundle = Bundle.read(folder)
    measured = bundle.evidence.accuracy
    assert measured is not None
    row = msgspec.structs.replace(measured.rows[0], status="passed")
    judged = msgspec.structs.replace(measured, rows=(row,))
    bundle.with_evidence(judged).save()
    return judged


def test_an_int8_artifact_is_held_to_the_limit_of_its_calibration(
    bundle_copy: Path, data: Path, capsys: Capture
) -> None:
    """The fp16 file stands in for an int8 one: what is judged is the limit, not the arithmetic."""
    document = json.loads((bundle_copy / "bundle.json").read_text())
    (made,) = (
        a for a in document["artifacts"] if (a["format"], a["precision"]) == ("onnx", "fp16")
    )
    made["precision"] = "int8"
    judged = msgspec.structs.replace(
        int8_row("onnx-int8", 0.1), sha256=made["files"][made["path"]], max_drop=0.25
    )
    document["evidence"]["int8"] = small_int8_report(judged).to_document()
    (bundle_copy / "bundle.json").write_text(json.dumps(document))
    words = [
        "validate",
        str(bundle_copy),
        "--data",
        str(data),
        "--runtime",
        "ort",
        "--precision",
        "int8",
    ]
    assert main([*words, "--json"]) == 0
    (shown,) = json.loads(capsys.readouterr().out)["rows"]
    assert (shown["precision"], shown["max_drop"]) == ("int8", 0.25)
    assert main(words) == 0
    told = "note: ONNX Runtime INT8: may lose 0.25 points: the limit of its calibration"
    assert told in capsys.readouterr().out
    assert main([*words, "--max-drop", "2"]) == 0
    assert "may lose" not in capsys.readouterr().out

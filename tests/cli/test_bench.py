"""`ghost-deploy bench` from words to tables, on small models in real worker processes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ghost_deploy.cli.main import main
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.evidence.latency import BenchReport
from ghost_deploy.judge.bench.timer import STAGES
from tests.support.assets import needs_assets
from tests.support.constant_model import write_constant_bundle, write_constant_onnx
from tests.support.images import write_image
from tests.support.report_documents import USUAL, parity_report
from tests.support.stored_evidence import evidence_of

Capture = pytest.CaptureFixture[str]
QUICK = ["--duration", "0.1", "--rounds", "2", "--threads", "1"]

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_constant_bundle(
        tmp_path_factory.mktemp("s") / "small", ("fp32", "fp16"), batch=(1, 1)
    ).path


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_image(tmp_path_factory.mktemp("p") / "one.png"))


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["b", "--duration", "0"],
        ["b", "--duration", "long"],
        ["b", "--rounds", "0"],
        ["b", "--batch", "0"],
        ["b", "--streams", "0"],
        ["b", "--threads", "-1"],
    ],
    ids=" ".join,
)
def test_wrong_use(words: list[str], capsys: Capture) -> None:
    assert main(["bench", *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "ghost-deploy bench: error:" in said.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--runtime", "tensorflow"], 2, "no runtime 'tensorflow'"),
        (["--runtime", "trt"], 2, "nothing of small can be measured"),
        (["--precision", "fp8"], 2, "no precision 'fp8'"),
        (["--precision", "int8"], 2, "nothing of small can be measured"),
        (["--batch", "2"], 2, "takes no batch of 2"),
        (["--rounds", "1"], 2, "number of rounds"),
        (["--images", "absent"], 2, "no image at absent"),
        (["--baseline", "absent"], 2, "no bundle or model absent"),
        (["--device", "toaster"], 2, "no such device"),
        (["--device", "npu"], 3, "no such device"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input(words: list[str], code: int, said: str, small: Path, capsys: Capture) -> None:
    assert main(["bench", str(small), *words]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert "next: " in captured.err


def test_no_bundle(tmp_path: Path, capsys: Capture) -> None:
    assert main(["bench", str(tmp_path)]) == 2
    assert "is not a bundle" in capsys.readouterr().err


def test_json_on_demo_scenes(small: Path, capsys: Capture) -> None:
    words = ["bench", str(small), "--precision", "fp32", "--streams", "1", "2", "--json", *QUICK]
    words.append("--no-store")
    assert main(words) == 0
    said = capsys.readouterr()
    report = BenchReport.from_document(json.loads(said.out))
    assert report.images.source == "demo scenes"
    assert (report.settings.duration_s, report.settings.rounds) == (0.1, 2)
    assert [row.config.streams for row in report.rows] == [1, 2]
    for row in report.rows:
        assert row.figures is not None
        assert set(row.figures.samples) == {*STAGES, "run_alone"}
        assert row.obtained is not None
        assert row.obtained.threads == 1
    assert "loading small onnx-fp32 on ort" in said.err
    assert "measuring 2 rounds" in said.err
    assert "latency" not in evidence_of(Bundle.read(small))


def test_tables_and_a_bare_baseline(
    small: Path, image: str, tmp_path: Path, capsys: Capture
) -> None:
    theirs = write_constant_onnx(tmp_path / "theirs.onnx")
    words = [
        "bench",
        str(small),
        "--baseline",
        str(theirs),
        "--images",
        image,
        *QUICK,
    ]
    assert main(words) == 0
    said = capsys.readouterr()
    assert re.search("^ONNX Runtime FP32 +file to detections ", said.out, re.MULTILINE)
    for text in (
        "theirs.onnx: ONNX Runtime",
        "Times as fast",
        "Measured on 1 images (one.png), 0.1 s a candidate in 2 rounds",
        "isolation  each candidate",
    ):
        assert text in said.out, text
    assert "theirs.onnx is no bundle" in said.err
    stored = evidence_of(Bundle.read(small))["latency"]
    kept = BenchReport.from_document(stored)
    assert [row.artifact for row in kept.rows] == ["onnx-fp32", "onnx-fp16"]
    assert all(row.figures and not row.figures.samples for row in kept.rows)


def test_a_damaged_artifact_fails_alone(tmp_path: Path, image: str, capsys: Capture) -> None:
    import hashlib

    bundle = write_constant_bundle(tmp_path / "half", ("fp32", "fp16"))
    damaged = b"not a model"
    (bundle.path / "model.fp16.onnx").write_bytes(damaged)
    file = bundle.path / "bundle.json"
    document: Any = json.loads(file.read_text())
    document["artifacts"][1]["files"]["model.fp16.onnx"] = hashlib.sha256(damaged).hexdigest()
    document["artifacts"][1]["sizes"]["model.fp16.onnx"] = len(damaged)
    file.write_text(json.dumps(document))
    assert main(["bench", str(bundle.path), "--images", image, *QUICK]) == 2
    out = capsys.readouterr().out
    assert "onnx-fp16 on ort was not measured (failed): ONNX Runtime cannot load" in out
    assert "ONNX Runtime FP32" in out


def test_what_failed_its_stored_verdict_is_timed_and_marked(
    tmp_path: Path, image: str, capsys: Capture
) -> None:
    bundle = write_constant_bundle(tmp_path / "half", ("fp32", "fp16"))
    artifact = bundle.artifacts[1]
    made = parity_report(USUAL[:1])
    row = msgspec.structs.replace(
        made.rows[0],
        artifact=artifact.id,
        sha256=artifact.files[artifact.path],
        runtime="ort",
        precision="fp16",
        status="failed",
        reasons=("score difference 0.3 > 0.01",),
    )
    bundle.with_evidence(msgspec.structs.replace(made, rows=(row,))).save()
    words = ["bench", str(bundle.path), "--images", image, *QUICK]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "ONNX Runtime FP16 (failed)" in out
    assert "ONNX Runtime FP32 (failed)" not in out
    said = "failed its comparison with the checkpoint: score difference 0.3 > 0.01"
    assert f"warning: onnx-fp16 on ort {said}" in out
    assert main([*words, "--json"]) == 0
    rows = BenchReport.from_document(json.loads(capsys.readouterr().out)).rows
    assert [row.failed_verdicts for row in rows] == [(), (said,)]


def test_labels(small: Path, image: str, capsys: Capture) -> None:
    words = [str(small), "--precision", "fp32", "--threads", "1", "2", "--images", image]
    assert main(["bench", *words, *QUICK[:4]]) == 0
    out = capsys.readouterr().out
    assert "ONNX Runtime FP32, 1 thread  " in out
    assert "ONNX Runtime FP32, 2 threads  " in out


@needs_assets
def test_a_real_bundle(bundle_copy: Path, images: Path, capsys: Capture) -> None:
    words = ["bench", str(bundle_copy), "--precision", "fp32", "--images", str(images), "--json"]
    assert main([*words, *QUICK]) == 0
    rows = BenchReport.from_document(json.loads(capsys.readouterr().out)).rows
    assert {row.config.runtime for row in rows} == {"ort", "openvino"}
    for row in rows:
        assert row.status == "measured"
        assert row.figures is not None
        assert row.figures.peak_bytes > row.figures.start_bytes > 0
    assert rows[1].comparison is not None

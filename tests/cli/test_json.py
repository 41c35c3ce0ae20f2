"""Every command has output for programs: one JSON document on standard output."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cv2
import pytest

import ghost_deploy as gd
from ghost_deploy import api
from ghost_deploy.cli.main import COMMANDS, EXIT_CODES, build_parser, main
from ghost_deploy.cli.parser import commands_of
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.detections import Detections
from ghost_deploy.core.gate_error import GateError
from ghost_deploy.detector import Detector
from ghost_deploy.runtimes.fake import FakeRuntime
from tests.support.bundles import write_placeholder_bundle
from tests.support.images import solid_image, write_image
from tests.support.model_specs import make_spec

Capture = pytest.CaptureFixture[str]
DOCS = Path(__file__).resolve().parents[2] / "docs" / "exit-codes.md"
SPEC = make_spec((64, 64))
FOUND = Detections([[8, 8, 40, 24], [30, 30, 60, 60]], [0.9, 0.6], [0, 2])


def test_every_command_with_a_result_takes_it() -> None:
    commands = commands_of(build_parser(COMMANDS))
    documented = set(re.findall(r"`(\w+)`", DOCS.read_text()))
    for name in COMMANDS:
        assert name in documented or "--json" not in commands[name].flags, name
    without = {"completion", "sign"}
    assert {name for name in COMMANDS if "--json" not in commands[name].flags} <= without


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_placeholder_bundle(tmp_path / "bundle")


@pytest.mark.parametrize(
    ("verb", "words"), [("export", ["best.pt", "-o", "out"]), ("build", ["out", "--trt"])]
)
@pytest.mark.parametrize("failed", [False, True])
def test_what_writes_a_bundle_prints_its_document(
    verb: str,
    words: list[str],
    failed: bool,
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    def made(*_: Any, **__: Any) -> Bundle:
        if failed:
            raise GateError("it failed", fix="Do that", report=None, bundle=bundle)  # type: ignore[arg-type]
        return bundle

    monkeypatch.setattr(api, verb, made)
    assert main([verb, *words, "--json"]) == (1 if failed else 0)
    said = capsys.readouterr()
    ids = {f"{each['format']}-{each['precision']}" for each in json.loads(said.out)["artifacts"]}
    assert "onnx-fp32" in ids
    assert ("it failed" in said.err) == failed


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **__: Any) -> Detector:
        return Detector(FakeRuntime.for_spec(SPEC, FOUND), SPEC)

    monkeypatch.setattr(api, "load", load)


def test_images(model: None, tmp_path: Path, capsys: Capture) -> None:
    write_image(tmp_path / "1.png", solid_image((64, 64), 99))
    (tmp_path / "2.png").write_bytes(b"no image")
    assert main(["infer", "b", str(tmp_path), "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["detections"]) == (1, 2)
    assert document["classes"] == {"RBC": 1, "Platelets": 1}
    (image,) = document["images"]
    assert image == {"source": str(tmp_path / "1.png"), "classes": document["classes"]}
    assert "2.png" in document["unreadable"][0]


def test_a_video(model: None, tmp_path: Path, capsys: Capture) -> None:
    video = tmp_path / "three.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 64))
    for _ in range(3):
        writer.write(solid_image((64, 64), 99))
    writer.release()
    lines = tmp_path / "lines.jsonl"
    assert main(["infer", "b", str(video), "--json", "--jsonl", str(lines)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["detections"] == 6
    (source,) = document["sources"]
    assert (source["state"], source["captured"], source["processed"]) == ("ended", 3, 3)
    assert document["outputs"]["lines"]["sent"] == 3


def test_two_documents_do_not_share_standard_output(tmp_path: Path, capsys: Capture) -> None:
    assert main(["infer", "b", str(tmp_path), "--json", "--jsonl", "-"]) == 2
    assert "both take standard output" in capsys.readouterr().err


def test_exit_codes_are_the_documented_ones() -> None:
    codes = set(re.findall(r"^  (\d+) ", EXIT_CODES, re.MULTILINE))
    assert codes == set(re.findall(r"^\| (\d+) \|", DOCS.read_text(), re.MULTILINE))
    public = [getattr(gd, name) for name in gd.__all__]
    errors = [e for e in public if isinstance(e, type) and issubclass(e, gd.GhostDeployError)]
    raised = {str(error.exit_code) for error in errors}
    assert raised | {"0", "129", "130", "143"} == codes

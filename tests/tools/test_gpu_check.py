"""The GPU check on pretended processes, and on this machine as it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ghost_deploy.core.bundle import BundleWriter, Source
from tests.support.model_specs import make_spec
from tools import gpu_check

DOCTOR = {
    "machine": {"nvidia_gpus": ["Fake GPU"], "nvidia_driver": "999", "system": "Linux"},
    "runtimes": [{"runtime": "trt", "version": "10.3.0"}, {"runtime": "ort", "version": ""}],
}
DOCUMENTS: dict[str, Any] = {
    "doctor": DOCTOR,
    "parity": {
        "rows": [
            {"artifact": "tensorrt-fp16", "runtime": "trt", "status": "passed",
             "detections": {"matched": 9, "total": 10, "score": {"max": 0.001},
                            "box_px": {"max": 0.5}}},
            {"artifact": "onnx-fp32", "runtime": "ort", "status": "skipped", "detections": None},
        ]
    },
    "validate": {
        "rows": [
            {"artifact": "tensorrt-fp16", "runtime": "trt", "delta": -0.1,
             "accuracy": {"map50_95": 0.5, "map50": 0.75}}
        ]
    },
    "bench": {
        "rows": [
            {"subject": "b", "artifact": "tensorrt-fp16", "config": {"runtime": "trt"},
             "status": "measured",
             "figures": {"stages": {"run_alone": {"p50": 1.5, "p90": 1.75, "p99": 2.0}}}}
        ]
    },
    "device": [{"artifact": "tensorrt-fp16", "ms": [1.0, 1.25, 9.0]}],
}  # fmt: skip


def make_bundle(folder: Path, formats: Sequence[str] = ("onnx",)) -> Path:
    with BundleWriter(folder, overwrite=True) as writer:
        for name in formats:
            file = writer.folder / f"model.{name}"
            file.write_bytes(b"x")
            writer.add(format=name, precision="fp16", path=file, parent="", tools={})
        writer.draft(make_spec(), Source(file="m.pt", sha256="0" * 64), "test")
        writer.finish()
    return folder


class Machine:
    """Answers each command; `codes` are exit codes by the first word of a part's name."""

    def __init__(self, **codes: int) -> None:
        self.codes, self.commands = codes, list[list[str]]()

    def __call__(self, words: Sequence[str], stem: Path) -> int:
        self.commands.append(list(words))
        kind = stem.name.partition("_")[0]
        code = self.codes.get(kind, 0)
        if kind == "build" and code == 0:
            make_bundle(Path(words[words.index("build") + 1]), ("onnx", "tensorrt"))
        if kind == "export" and code == 0:
            make_bundle(Path(words[words.index("-o") + 1]))
        text = json.dumps(DOCUMENTS.get(kind, {}))
        stem.with_name(f"{stem.name}.out").write_text(text)
        said = "" if code == 0 else "first\nerror: the reason\nnext: what to do\n"
        stem.with_name(f"{stem.name}.err").write_text(said)
        return code


def check(tmp_path: Path, machine: Machine, *more: str) -> tuple[int, dict[str, Any], str]:
    model = tmp_path / "model.pt"
    model.touch()
    out = tmp_path / "out"
    words = [str(model), "--images", "photos", "-o", str(out), *more]
    code = gpu_check.main(words, machine)
    document = json.loads((out / "gpu_check.json").read_text())
    return code, document, (out / "gpu_check.md").read_text()


def test_everything_that_is_possible(tmp_path: Path) -> None:
    code, document, text = check(tmp_path, Machine(), "--data", "d.yaml", "--calib", "photos")
    states = {part["name"]: part["state"] for part in document["parts"]}
    assert code == 0
    assert states["build fp32"] == states["build fp16"] == states["bench bundle"] == "done"
    assert states["build int8 by cache"] == "skipped", "there is no cache in the bundle"
    assert "| tensorrt-fp16 | trt | passed | 9 of 10 | 0.001 | 0.5 |" in text
    assert "| tensorrt-fp16 | trt | 0.5 | 0.75 | -0.1 |" in text
    assert "| b | tensorrt-fp16 | trt | 1.5 | 1.75 | 2 |" in text
    assert "| tensorrt-fp16 | 1.25 | 1 |" in text
    assert "Fake GPU" in text


def test_a_machine_without_tensorrt(tmp_path: Path) -> None:
    code, document, text = check(tmp_path, Machine(build=3))
    assert code == 3
    parts = {part["name"]: part for part in document["parts"]}
    assert parts["build fp16"]["state"] == "skipped"
    assert parts["build fp16"]["reason"] == "the reason"
    assert "bench bundle" not in parts, "there is nothing to judge"
    assert "| build fp16 | skipped |" in text


@pytest.mark.parametrize(
    ("codes", "code"),
    [({"validate": 1}, 1), ({"bench": 2}, 2), ({"bench": -11}, 2), ({"export": 2}, 2)],
)
def test_what_the_exit_code_says(tmp_path: Path, codes: dict[str, int], code: int) -> None:
    assert check(tmp_path, Machine(**codes), "--data", "d.yaml")[0] == code


def test_int8_by_cache_has_a_bundle_of_its_own(tmp_path: Path) -> None:
    source = make_bundle(tmp_path / "source")
    (source / gpu_check.CACHE).touch()
    machine = Machine()
    out = tmp_path / "out"
    assert gpu_check.main([str(source), "--images", "p", "-o", str(out)], machine) == 0
    (own,) = (words for words in machine.commands if "--int8-cache" in words)
    assert str(out / "bundle_by_cache") in own
    assert not any("export" in words for words in machine.commands)


def test_a_part_that_prints_no_document(tmp_path: Path) -> None:
    def run(words: Sequence[str], stem: Path) -> int:
        stem.with_name(f"{stem.name}.out").write_text("not JSON")
        return 0

    part = gpu_check.Check(tmp_path, run).process("x", ["x"], document=True)
    assert (part.state, part.reason) == ("failed", "it printed no JSON document")


def test_a_real_process(tmp_path: Path) -> None:
    part = gpu_check.Check(tmp_path, gpu_check._run).command("inspect", "inspect", "nothing.pt")
    assert part.state == "failed"
    assert "nothing.pt" in part.reason or part.reason
    assert (tmp_path / "inspect.err").is_file()

"""The GPU check on pretended processes, and on this machine as it is."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from ghost_deploy.calib.quantize.int8_files import STRONG_FORM, strongly_typed_form
from ghost_deploy.core.bundle import BundleWriter, Source
from ghost_deploy.demo.embedded import MODEL_FILE
from ghost_deploy.demo.scene_files import LABELS
from ghost_deploy.demo.scenes import make_scene
from ghost_deploy.judge.parity.prove import run_parity
from ghost_deploy.judge.parity.store_reference import store_reference
from ghost_deploy.runtimes.tensorrt.calibration_cache import CACHE_FILE, write_calibration_cache
from tests.support.exports import export_artifacts
from tests.support.fake_cuda import COMPILER, fake_machine
from tests.support.fake_tensorrt import VERSIONS
from tests.support.images import write_image
from tests.support.int8_forms import quantize
from tests.support.model_specs import make_spec
from tests.support.small_graphs import statistics_of
from tests.support.tiny_detectors import tiny_loaded
from tools import gpu_check
from tools.gpu_check_parts import Check, run_process

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
    "device": [{"artifact": "tensorrt-fp16", "device": "cuda:0", "ms": [1.0, 1.25, 9.0]}],
    "facts": {"EfficientNMS_TRT": True},
}  # fmt: skip


def make_bundle(folder: Path, formats: Sequence[str] = ("onnx",), *, int8: bool = False) -> Path:
    with BundleWriter(folder, overwrite=True) as writer:
        for name in formats:
            file = writer.folder / f"model.{name}"
            file.write_bytes(b"x")
            writer.add(format=name, precision="fp16", path=file, parent="", tools={})
        if int8:
            file, cache = (writer.folder / name for name in ("q.onnx", CACHE_FILE))
            for path in (file, cache):
                path.write_bytes(b"x")
            writer.add(
                format="onnx", precision="int8", path=file, parent="", tools={},
                form="tensorrt", extra_files=(cache,),
            )  # fmt: skip
        writer.draft(make_spec(), Source(file="m.pt", sha256="0" * 64), "test")
        writer.finish()
    return folder


class Machine:
    """Answers each command; `codes` are exit codes by the first word of a part's name."""

    def __init__(self, documents: dict[str, Any] = DOCUMENTS, **codes: int) -> None:
        self.documents, self.codes, self.commands = documents, codes, list[list[str]]()

    def __call__(self, words: Sequence[str], stem: Path) -> int:
        self.commands.append(list(words))
        kind = stem.name.partition("_")[0]
        code = self.codes.get(kind, 0)
        if kind == "build" and code == 0 and "build" in words:
            make_bundle(Path(words[words.index("build") + 1]), ("onnx", "tensorrt"))
        if kind == "export" and code == 0:
            make_bundle(Path(words[words.index("-o") + 1]))
        text = json.dumps(self.documents.get(kind, {}))
        stem.with_name(f"{stem.name}.out").write_text(text)
        notes = "" if code == 0 else "first\nerror: the reason\nnext: what to do\n"
        stem.with_name(f"{stem.name}.err").write_text(notes)
        return code


def check(tmp_path: Path, machine: Machine, *more: str) -> tuple[int, dict[str, Any], str]:
    model = tmp_path / "model.pt"
    model.touch()
    out = tmp_path / "out"
    words = [str(model), "--images", "images", "-o", str(out), *more]
    code = gpu_check.main(words, machine)
    document = json.loads((out / "gpu_check.json").read_text())
    return code, document, (out / "gpu_check.md").read_text()


def test_everything_that_is_possible(tmp_path: Path) -> None:
    code, document, text = check(tmp_path, Machine(), "--data", "d.yaml", "--calib", "images")
    states = {part["name"]: part["state"] for part in document["parts"]}
    assert code == 0
    assert states["build fp32"] == states["build fp16"] == states["bench bundle"] == "done"
    assert states["build int8 by cache"] == "skipped", "there is no cache in the bundle"
    assert "| tensorrt-fp16 | trt | passed | 9 of 10 | 0.001 | 0.5 |" in text
    assert "| tensorrt-fp16 | trt | 0.5 | 0.75 | -0.1 |" in text
    assert "| b | tensorrt-fp16 | trt | 1.5 | 1.75 | 2 |" in text
    assert "| tensorrt-fp16 | cuda:0 | 1.25 | 1 |" in text
    assert "Fake GPU" in text
    assert "- EfficientNMS_TRT: True" in text
    assert "What did not work" not in text
    names = {path.name for path in (tmp_path / "out").iterdir() if path.is_file()}
    assert names == {"gpu_check.json", "gpu_check.md"}, "the rest is in folders"


def test_a_candidate_that_fails_leaves_the_table(tmp_path: Path) -> None:
    """`bench` then exits with 2, and prints its document nevertheless."""
    broken = {
        "subject": "b", "artifact": "onnx-fp32", "config": {"runtime": "ort"}, "status": "failed",
        "reason": "no CUDA provider", "figures": None,
    }  # fmt: skip
    rows = [*DOCUMENTS["bench"]["rows"], broken]
    machine = Machine({**DOCUMENTS, "bench": {"rows": rows}}, bench=2)
    code, document, text = check(tmp_path, machine)
    assert code == 2
    part = next(part for part in document["parts"] if part["name"] == "bench bundle")
    assert (part["state"], part["reason"]) == ("failed", "1 of its rows failed, see below")
    assert "| b | tensorrt-fp16 | trt | 1.5 | 1.75 | 2 |" in text
    assert "| b | onnx-fp32 | ort | failed |" in text
    assert "- bench bundle, onnx-fp32 on ort: no CUDA provider" in text


def test_the_device_reaches_every_part(tmp_path: Path) -> None:
    machine = Machine()
    check(tmp_path, machine, "--device", "cuda:1", "--data", "d.yaml")
    asked = {
        words[words.index("--device") + 1]
        for words in machine.commands
        if {"build", "parity", "validate", "bench", "device-latency"} & set(words)
    }
    assert asked == {"cuda:1", "dla:0"}


def test_each_way_to_an_engine(tmp_path: Path) -> None:
    source = make_bundle(tmp_path / "source", int8=True)
    machine = Machine()
    out = tmp_path / "out"
    assert gpu_check.main([str(source), "--images", "p", "-o", str(out)], machine) == 0
    builds = [
        (Path(words[words.index("build") + 1]).name, *words[words.index("--trt") + 1 :])
        for words in machine.commands
        if "build" in words
    ]
    end = ("--device", "cuda", "--verbose")
    cache = str(out / "bundle_by_cache" / CACHE_FILE)
    assert builds == [
        ("bundle", "--fp32", *end),
        ("bundle", "--fp16", *end),
        ("bundle", "--int8", *end),
        ("bundle_by_cache", "--int8", "--int8-cache", cache, *end),
        ("bundle_strong", "--fp16", "--strongly-typed", *end),
        ("bundle_strong", "--int8", "--strongly-typed", *end),
        ("bundle_dla", "--fp16", "--dla", "0", *end),
        ("bundle_dla", "--int8", "--dla", "0", *end),
    ]
    assert not any("export" in words for words in machine.commands)


def test_the_built_in_detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "_SCENES", range(9_000, 9_002))
    machine, out = Machine(), tmp_path / "out"
    assert gpu_check.main(["-o", str(out)], machine) == 0
    (nms,) = (words for words in machine.commands if "--nms" in words)
    assert str(MODEL_FILE) in nms
    (calibrate,) = (words for words in machine.commands if "calibrate" in words)
    assert str(out / "scenes" / "images") in calibrate
    assert str(out / "scenes" / LABELS) in calibrate


def test_a_step_that_fails_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_check.main([str(tmp_path), "--step", "device-latency"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_engines_are_judged_beside_the_checkpoint(tmp_path: Path) -> None:
    machine = Machine()
    check(tmp_path, machine, "--data", "d.yaml")
    words = next(words for words in machine.commands if "validate" in words)
    assert words[words.index("--checkpoint") + 1] == str(tmp_path / "model.pt")


@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_machine_is_asked(version: str, capsys: pytest.CaptureFixture[str]) -> None:
    with fake_machine(version) as (cuda, module):
        cuda.devices(2)
        module.__fake__.plugins = set() if version == "11.4" else {("EfficientNMS_TRT", "1")}
        assert gpu_check.main(["--step", "facts"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["tensorrt"] == module.__version__
    assert [gpu["name"] for gpu in facts["gpus"]] == ["Fake Orin"] * 2
    assert facts["EfficientNMS_TRT"] == (version != "11.4")


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
def test_a_dry_run_on_the_fakes(tmp_path: Path) -> None:
    """All steps as processes: real commands, the real builder and runtime, TensorRT pretended."""
    bundle = real_bundle(tmp_path / "tiny")
    write_image(tmp_path / "image.png", make_scene(9_000).image)
    out = tmp_path / "out"
    words = [str(bundle), "--images", str(tmp_path / "image.png"), "--duration", "0.2"]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PYTHONPATH", "LD_LIBRARY_PATH"):
            patch.setenv(name, os.environ.get(name, ""))
        code = gpu_check.main([*words, "--dry-run", "10.3", "-o", str(out)])
    document = json.loads((out / "gpu_check.json").read_text())
    states = {part["name"]: part["state"] for part in document["parts"]}
    built = [name for name in states if name.startswith("build")]
    assert {name: states[name] for name in built} == {
        **dict.fromkeys(built, "done"),
        "build fp16 on DLA": "skipped",
        "build int8 on DLA": "skipped",
        "build with NMS": "skipped",
    }
    routes = {
        (folder, name): record["route"]
        for folder, engines in document["builds"].items()
        for name, record in engines.items()
    }
    assert routes == {
        ("bundle", "tensorrt-fp32"): "fp32",
        ("bundle", "tensorrt-fp16"): "fp16-weak",
        ("bundle", "tensorrt-int8"): "int8-qdq-weak",
        ("bundle_by_cache", "tensorrt-int8"): "int8-calibrator",
        ("bundle_strong", "tensorrt-fp16"): "fp16-strong",
        ("bundle_strong", "tensorrt-int8"): "int8-qdq-strong",
    }
    facts = next(part["document"] for part in document["parts"] if part["name"] == "facts")
    assert (facts["tensorrt"], facts["EfficientNMS_TRT"], len(facts["gpus"])) == ("10.3.0", True, 1)
    assert states["device latency bundle"] == "done"
    bench = next(part["document"] for part in document["parts"] if part["name"] == "bench bundle")
    measured = {row["artifact"] for row in bench["rows"] if row["status"] == "measured"}
    assert measured >= {"tensorrt-fp32", "tensorrt-fp16", "tensorrt-int8"}
    assert code == (0 if set(states.values()) == {"done", "skipped"} else 2)
    assert "no figure means anything" in (out / "gpu_check.md").read_text()


def real_bundle(folder: Path) -> Path:
    """A small detector in FP32, FP16 and INT8 with its calibration cache, proved."""
    loaded: Any = tiny_loaded()
    with BundleWriter(folder) as writer:
        spec, _ = export_artifacts(loaded, writer, formats=["onnx"])
        report = run_parity(loaded, writer.draft(spec, loaded.source, "test"))
        model = onnx.load(writer.folder / "model.fp32.onnx")
        feeds = np.random.default_rng(0).random((4, 1, 3, 96, 128), np.float32)
        statistics = statistics_of(model, list(feeds))
        graph = quantize(model, statistics, "tensorrt").model
        cache = writer.folder / CACHE_FILE
        write_calibration_cache(cache, dict.fromkeys(statistics, 0.01))
        for form, made in (("tensorrt", graph), (STRONG_FORM, strongly_typed_form(graph))):
            path = writer.folder / f"model.int8.{form}.onnx"
            path.write_bytes(made.SerializeToString())
            extra = (cache,) if form == "tensorrt" else ()
            writer.add(
                format="onnx", precision="int8", path=path, parent="", tools={}, form=form,
                extra_files=extra,
            )  # fmt: skip
        proved = writer.draft(spec, loaded.source, "test").with_evidence(report)
        store_reference(loaded, proved, None, exact=True).save()
        writer.finish()
    return folder


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


def test_a_part_that_prints_no_document(tmp_path: Path) -> None:
    def run(words: Sequence[str], stem: Path) -> int:
        stem.with_name(f"{stem.name}.out").write_text("not JSON")
        return 0

    part = Check(tmp_path, run).process("x", ["x"], document=True)
    assert (part.state, part.reason) == ("failed", "it printed no JSON document")


def test_a_real_process(tmp_path: Path) -> None:
    part = Check(tmp_path, run_process).command("inspect", "inspect", "nothing.pt")
    assert part.state == "failed"
    assert "nothing.pt" in part.reason or part.reason
    assert (tmp_path / "logs" / "inspect.err").is_file()

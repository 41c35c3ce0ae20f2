"""`ghost-deploy demo`, small: an untrained network of the demo's classes, a few scenes."""

from __future__ import annotations

import importlib
import io
import json
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from ghost_deploy.api import DemoSize, demo
from ghost_deploy.cli.main import main
from ghost_deploy.core.bundle import Bundle, Source
from ghost_deploy.core.errors import MissingExtraError, UsageError
from ghost_deploy.core.spec import HeadSpec, InputSpec, ModelSpec
from ghost_deploy.demo import embedded
from ghost_deploy.demo.scenes import CLASS_NAMES
from tests.support.page_tracing import faults
from tests.support.stored_evidence import evidence_of

pytest.importorskip("torch")

Capture = pytest.CaptureFixture[str]

MODULE = importlib.import_module("ghost_deploy.api.demo")

SMALL = DemoSize(scenes=3, compared=2, calibrated=4, drawn=2, seconds=0.2, rounds=2)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained, with every score near one half, so that something is found."""
    import torch

    from ghost_deploy.checkpoints.native import save_native
    from ghost_deploy.models.zoo_yaml import build_zoo

    torch.manual_seed(0)
    net = build_zoo("yolov8n-ghost", len(CLASS_NAMES))
    spec = ModelSpec(
        name="untrained",
        family="yolov8-ghost",
        class_names=CLASS_NAMES,
        input=InputSpec(size_hw=(96, 96)),
        head=HeadSpec(decoder="dfl", strides=net.strides, reg_max=net.head.reg_max),
        parameters=sum(weights.numel() for weights in net.parameters()),
    )
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_native(path, net, spec, Source(file="untrained", sha256=""))
    return path


@pytest.fixture
def small(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "MODEL_FILE", checkpoint)
    monkeypatch.setattr(MODULE, "DemoSize", lambda: SMALL)


@dataclass(frozen=True)
class Done:
    """What the command did, once for all tests."""

    folder: Path
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def done(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("demo") / "demo"
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "MODEL_FILE", checkpoint)
        patch.setattr(MODULE, "DemoSize", lambda: SMALL)
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setattr("sys.stdout", out)
        patch.setattr("sys.stderr", err)
        code = main(["demo", "-o", str(folder)])
    return Done(folder.resolve(), code, out.getvalue(), err.getvalue())


def test_everything_is_in_the_folder(done: Done) -> None:
    names = {path.name for path in done.folder.iterdir()}
    assert {"bundle", "scenes", "report.html", "report.json", "report.md"} <= names
    assert {"parity.json", "accuracy.json", "latency.json"} <= names
    document = json.loads((done.folder / "report.json").read_bytes())
    assert faults((done.folder / "report.html").read_text(), document) == []
    assert len(list((done.folder / "scenes" / "images").iterdir())) == SMALL.scenes
    bundle = Bundle.read(done.folder / "bundle", verify=True)
    assert {"parity", "accuracy", "latency"} <= evidence_of(bundle).keys()
    assert {artifact.precision for artifact in bundle.artifacts} == {"fp32", "fp16", "int8"}
    assert bundle.evidence.int8 is not None
    assert {row.status for row in bundle.evidence.int8.rows} <= {"passed", "failed"}
    labelled, calibrated = (done.folder / name / "images" for name in ("scenes", "calibration"))
    seen = [{path.read_bytes() for path in folder.iterdir()} for folder in (labelled, calibrated)]
    assert len(seen[1]) == SMALL.calibrated
    assert not seen[0] & seen[1]


def test_the_report_command_makes_the_same_page(done: Done, tmp_path: Path) -> None:
    documents = [str(done.folder / f"{kind}.json") for kind in ("parity", "accuracy", "latency")]
    made = tmp_path / "r.json"
    words = ["-o", str(tmp_path / "r.html"), "--json", str(made)]
    assert main(["report", *documents, str(done.folder / "bundle"), *words]) == 0
    own, again = (json.loads(path.read_bytes()) for path in (done.folder / "report.json", made))
    for document in (own, again):
        del document["created_at"]
    assert own == again


def test_the_command_says_what_it_does_and_what_came_of_it(done: Done) -> None:
    assert done.code in (0, 1)
    assert re.search(r"^the built-in detector: yolov8-ghost, 1,\d+,\d+ weights", done.err, re.M)
    for step in ("drawing 3 images", "loading", "comparing 2 images", "measuring 2 rounds", "all"):
        assert re.search(rf"^{step}.* \d+\.\d s( |$)", done.err, re.MULTILINE), step
    assert re.search(r"^run +artifact +verdict", done.out, re.MULTILINE)
    assert str(done.folder) in done.out
    assert "next: open" in done.out


def test_a_folder_with_something_else_is_left_alone(
    small: None, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["demo", "-o", str(tmp_path)]) == 2
    assert "holds something else" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_old_results_do_not_pass_for_new(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes" / "annotations.json").write_text("{}")
    (tmp_path / "report.html").write_text("old")
    monkeypatch.setattr(MODULE, "export", _interrupted)
    with pytest.raises(UsageError, match="results of an earlier demo"):
        demo(tmp_path, checkpoint=checkpoint, size=SMALL)
    assert (tmp_path / "report.html").read_text() == "old"
    with pytest.raises(KeyboardInterrupt):
        demo(tmp_path, checkpoint=checkpoint, size=SMALL, overwrite=True)
    assert not (tmp_path / "report.html").exists()


def _interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_what_is_absent_is_left_out_with_the_command_that_brings_it(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    found = importlib.util.find_spec
    absent = {"openvino", "pycocotools", "jinja2"}
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name in absent else found(name, *more),
    )
    done = demo(tmp_path, checkpoint=checkpoint, size=SMALL)
    assert done.left_out.keys() >= {"openvino", "accuracy", "the HTML page"}
    assert all("pip install" in str(done.left_out[what]) for what in ("openvino", "accuracy"))
    assert {row.runtime for row in done.report.rows} == {"ort"}
    assert not done.report.accuracy
    assert done.files["report"].name == "report.md"
    assert not (tmp_path / "report.html").exists()


def test_without_torch_there_is_nothing_to_show(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None)
    with pytest.raises(MissingExtraError, match=r"\[export\]"):
        demo(tmp_path / "out", checkpoint=checkpoint, size=SMALL)
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_folder(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="something else"):
        demo(tmp_path / "file", checkpoint=checkpoint, size=SMALL)


PROGRAM = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
from ghost_deploy.demo import embedded
from pathlib import Path
embedded.MODEL_FILE = Path({checkpoint!r})
from ghost_deploy import api
from ghost_deploy.cli.main import main
api.demo  # its module is imported now
module = sys.modules["ghost_deploy.api.demo"]
whole = module.DemoSize
module.DemoSize = lambda: whole(scenes=3, compared=2, calibrated=4)
sys.exit(main(["demo", "-o", {out!r}]))
"""


def test_an_interrupt_leaves_no_half_bundle(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    code = PROGRAM.format(checkpoint=str(checkpoint), out=str(out))
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stderr is not None
    for line in child.stderr:
        if line.startswith("ONNX fp32"):  # one artifact is written, the bundle is not
            child.send_signal(signal.SIGINT)
            break
    _, rest = child.communicate(timeout=120)
    assert child.returncode == 130
    assert "interrupted" in rest
    assert sorted(path.name for path in out.iterdir()) == ["calibration", "scenes"]

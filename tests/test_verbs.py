"""The functions of the Python interface that measure, report and detect, on small real models."""

from __future__ import annotations

import inspect
import threading
from pathlib import Path
from types import FunctionType

import cv2
import pytest

import ghost_deploy as gd
from ghost_deploy.cli import options
from ghost_deploy.cli.main import COMMANDS, build_parser
from ghost_deploy.core.detections import Detections
from ghost_deploy.detector import Detector
from ghost_deploy.runtimes.fake import FakeRuntime
from tests.support.assets import BCCD, GHOST, needs_assets, val_images
from tests.support.constant_model import write_constant_bundle, write_constant_onnx
from tests.support.images import solid_image, write_image
from tests.support.model_specs import make_spec
from tests.support.numbered_frames import numbered_frame, read_number

SPEC = make_spec((64, 64))
FOUND = Detections([[8, 8, 40, 24], [30, 30, 60, 60]], [0.9, 0.6], [0, 2])
FRAMES = 12


OWN = ("save", "no_store", "out", "slices", "overlap", "header", "request_timeout", "retry")
"""Options of a command that are no parameter of that name."""

VERBS = {"batch": "run_batch"}
"""Commands whose function has another name."""

WORDS = {
    "bench": ["bundle"],
    "compare": ["old", "new", "--data", "data.yaml"],
    "parity": ["best.pt", "bundle"],
    "validate": ["bundle", "--data", "data.yaml"],
}
"""Commands that pass on what was parsed, with the arguments that they need at least."""


@pytest.fixture
def detector() -> Detector:
    """A model that finds two things in every image."""
    return Detector(FakeRuntime.for_spec(SPEC, FOUND), SPEC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    for name in ("1.png", "2.png", "10.png"):
        write_image(images / name, solid_image((64, 64), 99))
    return images


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (320, 240))
    for number in range(FRAMES):
        writer.write(numbered_frame(number))
    writer.release()
    return path


@pytest.mark.parametrize("name", WORDS)
def test_options_have_the_names_and_defaults_of_parameters(name: str) -> None:
    parsed = build_parser([name]).parse_args([name, *WORDS[name]])
    parameters = inspect.signature(getattr(gd, name)).parameters
    for option, value in options.arguments(parsed, *OWN).items():
        default = parameters[option].default
        assert default in (inspect.Parameter.empty, value) or list(default) == value, option


def test_every_command_is_a_function_with_modules_of_its_name() -> None:
    package = Path(gd.__file__).parent
    for name in COMMANDS.keys() - {"completion"}:
        verb = getattr(gd, VERBS.get(name, name))
        assert isinstance(verb, FunctionType)
        assert verb.__module__ == f"ghost_deploy.api.{name}"
        assert (package / "cli" / f"{name}.py").is_file()


def test_images_one_after_another(detector: Detector, folder: Path) -> None:
    results = list(gd.infer(detector, folder))
    assert [Path(each.source).name for each, _ in results] == ["1.png", "2.png", "10.png"]
    assert [len(found) for _, found in results] == [2, 2, 2]


def test_classes_and_their_limits(detector: Detector, folder: Path) -> None:
    names = SPEC.class_names
    (found, *_) = (found for _, found in gd.infer(detector, folder, classes=[names[2]]))
    assert found.names == [names[2]]
    limits = {names[2]: 0.7}
    (found, *_) = (found for _, found in gd.infer(detector, folder, class_conf=limits))
    assert found.names == [names[0]]
    with pytest.raises(gd.UsageError, match="no class 'horse'"):
        gd.infer(detector, folder, classes=["horse"])


def test_an_image_that_cannot_be_read(detector: Detector, folder: Path) -> None:
    (folder / "3.png").write_bytes(b"broken")
    with pytest.raises(gd.ImageError, match=r"3\.png"):
        list(gd.infer(detector, folder))
    errors: list[gd.ImageError] = []
    assert len(list(gd.infer(detector, folder, on_error=errors.append))) == 3
    assert len(errors) == 1


def test_a_video_frame_by_frame(detector: Detector, video: Path) -> None:
    results = list(gd.infer(detector, video))
    assert [read_number(each.image) for each, _ in results] == list(range(FRAMES))
    assert all(len(found) == 2 for _, found in results)


def test_leaving_a_video_early_ends_its_threads(detector: Detector, video: Path) -> None:
    before = threading.active_count()
    for each, _ in gd.infer(detector, video):
        if each.index == 2:
            break
    assert threading.active_count() == before
    assert len(list(gd.infer(detector, video))) == FRAMES


def test_a_model_that_fails_ends_the_loop(video: Path) -> None:
    def fail(_: object) -> dict[str, object]:
        raise gd.BackendError("the model failed", fix="Look at it")

    good = FakeRuntime.for_spec(SPEC, FOUND)
    bad = FakeRuntime(inputs=good.inputs, outputs=good.outputs, function=fail)
    with pytest.raises(gd.BackendError, match="the model failed"):
        list(gd.infer(Detector(bad, SPEC), video))


def test_bench_and_report(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    small = write_constant_bundle(tmp_path / "small", batch=(1, 1))
    plain = write_constant_onnx(tmp_path / "plain.onnx")
    image = tmp_path / "one.png"
    write_image(image)
    notes: list[str] = []
    measured = gd.bench(
        small, image, baseline=plain, threads=[1], duration_s=0.1, rounds=2,
        note=notes.append,
    )  # fmt: skip
    assert isinstance(measured, gd.BenchReport)
    assert measured.complete
    assert notes == [
        f"latency stored in {small.path}",
        "plain.onnx is no bundle: its figures were not stored",
    ]
    stored = gd.Bundle.read(small.path).evidence.latency
    assert stored == measured.only(["small"])
    page = tmp_path / "page.md"
    made = gd.report(gd.Bundle.read(small.path), markdown=page)
    assert isinstance(made, gd.Report)
    assert made.verdict.headline in page.read_text().replace("\\", "")


@needs_assets
def test_what_one_verb_stores_the_next_one_keeps(tmp_path: Path) -> None:
    """Although each is given the bundle as `export` returned it."""
    bundle = gd.export(GHOST, tmp_path / "out", ("onnx",), imgsz=160, images=val_images()[:1])
    report = gd.validate(bundle, BCCD / "data.yaml", precisions=["fp32"], max_drop=100.0)
    assert isinstance(report, gd.AccuracyReport)
    gd.bench(bundle, val_images()[:1], threads=[1], duration_s=0.1, rounds=2, store=True)
    evidence = gd.Bundle.read(bundle.path).evidence
    assert evidence.accuracy == report.thin()
    assert evidence.latency is not None
    assert evidence.parity == bundle.evidence.parity


def test_doctor() -> None:
    report = gd.doctor()
    assert isinstance(report, gd.DoctorReport)
    assert {probe.runtime for probe in report.runtimes} >= {"ort", "openvino", "eager"}

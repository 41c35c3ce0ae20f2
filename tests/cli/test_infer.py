"""`infer` on a pretended model, and on a real one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from ghost_deploy import api
from ghost_deploy.cli.main import main
from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import UnavailableError
from ghost_deploy.detector import Detector
from ghost_deploy.runtimes.fake import FakeRuntime
from tests.support.assets import BCCD, GHOST, MODELS, needs_assets
from tests.support.image_files import damaged_jpeg
from tests.support.images import solid_image, write_image
from tests.support.model_specs import make_spec

Capture = pytest.CaptureFixture[str]
SPEC = make_spec((64, 64))
FOUND = Detections([[8, 8, 40, 24], [30, 30, 60, 60]], [0.9, 0.6], [0, 2])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """A model that finds two things in every image; what `load` was asked for."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def load(*args: Any, **options: Any) -> Detector:
        calls.append((args, options))
        return Detector(FakeRuntime.for_spec(SPEC, FOUND), SPEC)

    monkeypatch.setattr(api, "load", load)
    return calls


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "bïlder"
    images.mkdir()
    for name in ("1.png", "2.png", "10.png"):
        write_image(tmp_path / name, solid_image((64, 64), 99))
        shutil.move(tmp_path / name, images / name)
    return images


def test_an_empty_folder(asked: list[Any], tmp_path: Path, capsys: Capture) -> None:
    assert main(["infer", "b", str(tmp_path)]) == 2
    assert "no image in the folder" in capsys.readouterr().err
    assert asked == []


@pytest.mark.parametrize(("damaged", "lines", "more"), [(0, 0, ""), (2, 2, ""), (23, 20, "3 more")])
def test_remarks_of_decoders_name_the_file(
    asked: list[Any],
    folder: Path,
    capfd: pytest.CaptureFixture[str],
    damaged: int,
    lines: int,
    more: str,
) -> None:
    """libjpeg writes "Corrupt JPEG data" alone; what cannot be read is an error with a reason."""
    (folder / "cut.jpg").write_bytes(damaged_jpeg()[:-2])
    for index in range(damaged):
        (folder / f"less {index}.jpg").write_bytes(damaged_jpeg())
    assert main(["infer", "b", str(folder)]) == 2
    said = capfd.readouterr().err
    found = [line for line in said.splitlines() if "Corrupt JPEG" in line]
    assert len(found) == lines
    for index, line in enumerate(sorted(found)[:1]):
        assert line.startswith(f"warning: {folder / f'less {index}.jpg'}: Corrupt JPEG data")
    assert ("more images with such remarks" in said) == bool(more)
    assert more in said
    assert said.count("cut.jpg") == 1


def test_an_animation_among_images_is_an_image(
    asked: list[Any], folder: Path, capsys: Capture
) -> None:
    """Named alone it is a video; as one of a folder it made the run one of streams, without JSON
    where another image could not be read."""
    first = Image.new("RGB", (64, 64))
    for name, form in (("a.png", "PNG"), ("gif.jpg", "GIF")):
        first.save(
            folder / name, form, save_all=True, append_images=[Image.new("RGB", (64, 64), 9)]
        )
    (folder / "none.png").write_bytes(b"no image")
    assert main(["infer", "b", str(folder), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert (len(found["images"]), len(found["unreadable"])) == (5, 1)


def test_a_folder_of_folders_names_those_with_images(
    asked: list[Any], tmp_path: Path, capsys: Capture
) -> None:
    for folder in ("val", "train", "empty"):
        (tmp_path / folder).mkdir()
    for name in ("train/1.png", "train/2.png", "val/1.png"):
        write_image(tmp_path / name, solid_image((64, 64), 99))
    assert main(["infer", "b", str(tmp_path)]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert f"{tmp_path / 'train'} with 2 images, {tmp_path / 'val'} with 1 image" in error
    assert asked == []


def test_classes_may_be_repeated_and_have_commas(
    asked: list[Any], folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec((64, 64), names=("cat, black", "dog", "cow"))
    detector = Detector(FakeRuntime.for_spec(spec, FOUND), spec)
    monkeypatch.setattr(api, "load", lambda *_, **__: detector)
    words = ["--classes", "cat, black", "--classes", "dog,2", "--jsonl", "-"]
    assert main(["infer", "b", str(folder / "1.png"), *words]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    names = [each["class_name"] for each in json.loads(line)["detections"]]
    assert names == ["cat, black", "cow"]


def test_a_summary_on_standard_output(asked: list[Any], folder: Path, capsys: Capture) -> None:
    assert main(["infer", "b", str(folder)]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["1.png", "2.png", "10.png"]
    assert lines[-1] == "3 images, 6 detections"
    assert "on fake" in said.err


def test_options_reach_the_loader(asked: list[Any], folder: Path) -> None:
    words = "--runtime ort --precision fp16 --device cuda:1 --threads 3 --allow-fallback"
    limits = "--conf 0.4 --iou 0.5 --max-det 7 --allow-failed-parity --no-check"
    assert main(["infer", "b", str(folder), *words.split(), *limits.split()]) == 0
    assert asked == [
        (
            ("b", "ort", "fp16"),
            {
                "url": None,
                "device": "cuda:1",
                "threads": 3,
                "allow_fallback": True,
                "allow_failed_parity": True,
                "check": False,
                "conf": 0.4,
                "iou": 0.5,
                "max_det": 7,
                "agnostic": None,
                "slices": None,
            },
        )
    ]


@pytest.mark.parametrize(
    ("words", "asked_for"), [(["--agnostic"], True), (["--no-agnostic"], False), ([], None)]
)
def test_agnostic_or_by_class_or_as_the_bundle_says(
    asked: list[Any], folder: Path, words: list[str], asked_for: bool | None
) -> None:
    assert main(["infer", "b", str(folder), *words]) == 0
    assert asked[0][1]["agnostic"] is asked_for


def test_slices_reach_the_loader(asked: list[Any], folder: Path, capsys: Capture) -> None:
    assert main(["infer", "b", str(folder), "--slices", "640"]) == 0
    assert main(["infer", "b", str(folder), "--slices", "64", "--overlap", "0.5"]) == 0
    assert [options["slices"] for _, options in asked] == [640, 64]
    assert asked[1][1]["overlap"] == 0.5
    assert main(["infer", "b", str(folder), "--overlap", "0.5"]) == 2
    assert "--slices" in capsys.readouterr().err


def test_lines_on_standard_output_and_nothing_else_there(
    asked: list[Any], folder: Path, capsys: Capture
) -> None:
    assert main(["infer", "b", str(folder), "--jsonl", "-"]) == 0
    said = capsys.readouterr()
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert [row["source"] for row in rows] == [str(folder / f"{i}.png") for i in (1, 2, 10)]
    assert [row["index"] for row in rows] == [0, 1, 2]
    assert [len(row["detections"]) for row in rows] == [2, 2, 2]
    assert rows[0]["detections"][0]["class_name"] == "RBC"
    assert "3 images, 6 detections" in said.err


def test_images_and_a_file_of_lines(asked: list[Any], folder: Path, tmp_path: Path) -> None:
    out, lines = tmp_path / "out", tmp_path / "new" / "lines.jsonl"
    assert main(["infer", "b", str(folder), "-o", str(out), "--jsonl", str(lines)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["1.png", "10.png", "2.png"]
    image = cv2.imdecode(np.fromfile(out / "1.png", np.uint8), cv2.IMREAD_COLOR)
    assert (image != 99).any()
    assert len(lines.read_text().splitlines()) == 3


def test_a_second_run_appends_lines_and_overwrites_no_image(
    asked: list[Any], folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    out, lines = tmp_path / "out", tmp_path / "lines.jsonl"
    words = ["infer", "b", str(folder), "--jsonl", str(lines)]
    assert main([*words, "-o", str(out)]) == 0
    (out / "2.png").write_bytes(b"kept")
    assert main([*words, "-o", str(out)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert (out / "2.png").read_bytes() == b"kept"
    assert len(lines.read_text().splitlines()) == 3
    assert main([*words, "-o", str(out), "--overwrite"]) == 0
    assert (out / "2.png").read_bytes() != b"kept"
    assert len(lines.read_text().splitlines()) == 6


def test_one_bad_image_does_not_stop_the_others(
    asked: list[Any], folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    (folder / "3.png").write_bytes(b"broken")
    assert main(["infer", "b", str(folder), "-o", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert "3 images, 6 detections" in said.out
    assert str(folder / "3.png") in said.err
    assert "1 of 4 images could not be read" in said.err
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_images_into_the_folder_of_the_sources(
    asked: list[Any], folder: Path, capsys: Capture
) -> None:
    before = (folder / "1.png").read_bytes()
    assert main(["infer", "b", str(folder), "-o", str(folder)]) == 2
    assert "overwritten" in capsys.readouterr().err
    assert (folder / "1.png").read_bytes() == before


def test_show_without_a_display(
    asked: list[Any], folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert main(["infer", "b", str(folder), "--show"]) == UnavailableError.exit_code
    assert "no display" in capsys.readouterr().err


def test_show_ends_when_the_user_has_seen_enough(
    asked: list[Any], folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ghost_deploy.stream.sinks import window

    shown: list[str] = []
    monkeypatch.setattr(window, "show", lambda image, title: shown.append(title))
    assert main(["infer", "b", str(folder), "--show"]) == 0
    assert shown == ["1.png"]
    assert "1 image, 2 detections" in capsys.readouterr().out


@needs_assets
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("runtime", ["openvino", "ort"])
def test_real_detections_are_those_of_the_reference(
    runtime: str, precision: str, bundle: Path, images: Path, capsys: Capture
) -> None:
    words = ["infer", str(bundle), str(images), "--jsonl", "-"]
    assert main([*words, "--runtime", runtime, "--precision", precision]) == 0
    said = capsys.readouterr()
    assert f"in {precision} on {runtime}" in said.err
    document = json.loads((MODELS / "yolov8n-ghost-bccd.reference.json").read_text())
    recorded = document["sizes"]["416"]["detections_conf0.25_iou0.7_xyxy_score_class"]
    for line in said.out.splitlines():
        row = json.loads(line)
        expected = np.array(recorded[Path(row["source"]).name])
        boxes = np.array([each["xyxy"] for each in row["detections"]])
        scores = np.array([each["score"] for each in row["detections"]])
        tolerance = (0.05, 1e-4) if precision == "fp32" else (1.0, 0.01)
        np.testing.assert_allclose(boxes, expected[:, :4], atol=tolerance[0])
        np.testing.assert_allclose(scores, expected[:, 4], atol=tolerance[1])


@needs_assets
def test_a_checkpoint_runs_in_pytorch(images: Path, capsys: Capture) -> None:
    assert main(["infer", str(GHOST), str(images)]) == 0
    assert "on eager" in capsys.readouterr().err


@needs_assets
def test_a_bundle_runs_without_torch(bundle: Path, images: Path) -> None:
    """In a process where torch, onnx and rich cannot be imported, without a word to the network."""
    code = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'rich', 'onnxruntime'):\n"
        "    sys.modules[name] = None\n"
        "def watch(event, args):\n"
        "    assert not event.startswith(('socket.', 'urllib.', 'os.fork', 'subprocess.')), event\n"
        "sys.addaudithook(watch)\n"
        "from ghost_deploy.cli.main import main\n"
        f"sys.exit(main(['infer', {str(bundle)!r}, {str(images)!r}, '--runtime', 'openvino']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "2 images" in done.stdout


@needs_assets
@pytest.mark.parametrize("runtime", ["ort", "openvino"])
def test_one_image_loads_nothing_that_it_does_not_use(
    bundle: Path, images: Path, runtime: str
) -> None:
    """Other commands, the check of a first load, writers, and OpenVINO's converter of models."""
    words = ["infer", str(bundle), str(next(images.iterdir())), "--runtime", runtime]
    unused = (
        *(f"ghost_deploy.api.{name}" for name in ("bench", "demo", "export")),
        *("ghost_deploy.judge.parity", "ghost_deploy.judge.check.check_child"),
        *("ghost_deploy.stream.saved.result_writer", "ghost_deploy.stream.sinks.jsonl_writer"),
        "openvino.tools.ovc",
    )
    code = (
        "import sys\n"
        "from ghost_deploy.cli.main import main\n"
        f"assert main({words!r}) == 0\n"
        f"loaded = [name for name in {unused!r} if name in sys.modules]\n"
        "assert not loaded, loaded\n"
        f"if {runtime!r} == 'openvino':\n"
        "    import openvino\n"
        "    assert callable(openvino.convert_model)\n"
    )
    # The second load finds the verdict of the first.
    assert main(words) == 0
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_images_are_those_of_the_data_set() -> None:
    """Guards the tests above against an empty folder of images."""
    if BCCD.is_dir():
        assert len(list((BCCD / "images" / "val").glob("*.jpg"))) > 2

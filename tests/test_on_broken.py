"""Images that cannot be read, in every command: left out and counted, or a stop before the work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ghost_deploy as gd
from ghost_deploy import api
from ghost_deploy.calib.images.collection import collect_images
from ghost_deploy.cli.main import main
from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import ImageError
from ghost_deploy.detector import Detector
from ghost_deploy.runtimes.fake import FakeRuntime
from tests.support.assets import GHOST, needs_assets, val_images
from tests.support.constant_model import write_constant_bundle
from tests.support.images import write_images
from tests.support.model_specs import make_spec

SPEC = make_spec((64, 64))
FOUND = Detections([[8, 8, 40, 24]], [0.9], [0])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set of four images; the third cannot be read."""
    images = write_images(tmp_path / "images" / "val", 4)
    (tmp_path / "labels" / "val").mkdir(parents=True)
    for image in images:
        (tmp_path / "labels" / "val" / f"{image.stem}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    images[2].write_bytes(images[2].read_bytes()[:-300])
    description = tmp_path / "data.yaml"
    description.write_text("val: images/val\nnames: [cell]\n")
    return description


def never(*_: object, **__: object) -> Any:
    raise AssertionError("the work has begun")


def test_infer_stops_before_a_model_is_loaded(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(api, "load", never)
    words = ["infer", "b", str(data.parent / "images" / "val"), "-o", str(tmp_path / "out")]
    assert main([*words, "--on-broken", "stop"]) == 2
    assert "2.png is damaged" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_infer_goes_on_and_counts(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    detector = Detector(FakeRuntime.for_spec(SPEC, FOUND), SPEC)
    monkeypatch.setattr(api, "load", lambda *_, **__: detector)
    assert main(["infer", "b", str(data.parent / "images" / "val")]) == 2
    assert "1 of 4 images could not be read" in capsys.readouterr().err


def test_infer_takes_the_limit_for_itself_alone(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GHOST_DEPLOY_MAX_PIXELS", raising=False)
    for limit, left_out in (("3071", 4), ("3072", 1)):
        detector = Detector(FakeRuntime.for_spec(SPEC, FOUND), SPEC)
        monkeypatch.setattr(api, "load", lambda *_, _detector=detector, **__: _detector)
        folder = str(data.parent / "images" / "val")
        assert main(["infer", "b", folder, "--max-pixels", limit]) == 2
        said = capsys.readouterr().err
        assert f"{left_out} of 4 images could not be read" in said
        assert ("64 x 48 pixels" in said and "--max-pixels" in said) == (limit == "3071")


def test_live_sources_have_no_stop(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["infer", "b", "rtsp://camera/1", "--on-broken", "stop"]) == 2
    assert "for images alone" in capsys.readouterr().err


def test_validate_counts_in_its_report(data: Path, tmp_path: Path) -> None:
    bundle = write_constant_bundle(tmp_path / "bundle")
    report = gd.validate(bundle, data, runtimes=["ort"], store=False)
    assert report.data.images == 3
    assert report.data.notes == ("1 of 4 images could not be read: 2.png",)


def test_validate_stops_before_anything_is_measured(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghost_deploy.judge.accuracy.validation.run_accuracy", never)
    bundle = write_constant_bundle(tmp_path / "bundle")
    with pytest.raises(ImageError, match=r"2\.png is damaged"):
        gd.validate(bundle, data, on_broken="stop")


def test_calibration_images(data: Path) -> None:
    folder = data.parent / "images" / "val"
    found = collect_images(folder, allow_small=True)
    assert (len(found), [skipped.name for skipped in found.skipped]) == (3, ["2.png"])
    with pytest.raises(ImageError, match=r"2\.png is damaged"):
        collect_images(folder, allow_small=True, on_broken="stop")
    (data.parent / "list.txt").write_text("images/val/0.png\nimages/val/gone.png\n")
    with pytest.raises(ImageError, match="cannot be used"):
        collect_images(data.parent / "list.txt", allow_small=True, on_broken="stop")


@pytest.mark.parametrize(
    "use",
    [
        lambda folder, images: gd.export(
            folder / "a.pt", folder / "out", images=images, on_broken="stop"
        ),
        lambda folder, images: gd.parity(
            folder / "a.pt",
            write_constant_bundle(folder / "bundle"),
            images,
            on_broken="stop",
            other_checkpoint=True,
        ),
    ],
    ids=["export", "parity"],
)
def test_export_and_parity_stop_before_the_checkpoint_is_loaded(
    use: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghost_deploy.checkpoints.loading.load_checkpoint", never)
    with pytest.raises(ImageError, match=r"2\.png is damaged"):
        use(tmp_path, data.parent / "images" / "val")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@needs_assets
def test_export_counts_in_its_report(data: Path, tmp_path: Path) -> None:
    images = [*val_images()[:2], data.parent / "images" / "val" / "2.png"]
    made = gd.export(GHOST, tmp_path / "out", formats=("onnx",), imgsz=64, images=images)
    report = made.evidence.parity
    assert report is not None
    assert len(report.images) == 2
    assert "1 of 3 images could not be read: 2.png" in report.warnings

"""Thresholds chosen for a real model, kept in its bundle and used from then on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest

import ghost_deploy as gd
from ghost_deploy.cli.main import main
from ghost_deploy.core.errors import SpecError, UsageError
from ghost_deploy.core.spec import ModelSpec, Thresholds
from ghost_deploy.core.thresholds import ChosenThresholds
from ghost_deploy.detector import Detector
from ghost_deploy.export.integrations.deepstream import _class_limits
from ghost_deploy.judge.accuracy.choose_thresholds import with_thresholds
from ghost_deploy.judge.datasets.open_dataset import open_dataset
from ghost_deploy.runtimes.fake import FakeRuntime
from tests.support.assets import needs_assets, val_images
from tests.support.exports import shared_proved_bundle
from tests.support.images import solid_image
from tests.support.model_specs import make_spec

Capture = pytest.CaptureFixture[str]
SPEC = make_spec((64, 64))
FOUND = gd.Detections(
    [[2, 2, 30, 30], [30, 30, 60, 60], [4, 34, 20, 60]], [0.6, 0.4, 0.3], [0, 1, 2]
)


def with_chosen(spec: ModelSpec, *conf: float) -> ModelSpec:
    chosen = ChosenThresholds(
        conf=conf, metric="f1", data="d", fingerprint="", images=1, boxes=1, run="r", date="2026"
    )
    return msgspec.structs.replace(spec, chosen=chosen)


@pytest.mark.parametrize("conf", [(), (0.5,), (0.5, 0.5, 1.0), (0.5, -0.1, 0.2)])
def test_thresholds_that_no_model_can_have(conf: tuple[float, ...]) -> None:
    with pytest.raises(SpecError):
        with_chosen(SPEC, *conf)


def test_a_detector_takes_one_score_for_each_class() -> None:
    with pytest.raises(SpecError, match="one score for each class"):
        Detector(FakeRuntime.for_spec(SPEC, FOUND), SPEC, Thresholds(class_conf=(0.1,)))


@pytest.mark.parametrize(
    ("conf", "options", "scores"),
    [
        ((), {}, [0.6, 0.4, 0.3]),
        ((0.7, 0.1, 0.1), {}, [0.4, 0.3]),
        ((0.1, 0.45, 0.35), {}, [0.6]),
        ((0.7, 0.7, 0.7), {"conf": 0.35}, [0.6, 0.4]),
        ((0.7, 0.1, 0.1), {"classes": [0, 1]}, [0.4]),
    ],
)
def test_chosen_scores_are_the_default_and_conf_takes_their_place(
    conf: tuple[float, ...], options: dict[str, object], scores: list[float]
) -> None:
    spec = with_chosen(SPEC, *conf) if conf else SPEC
    detector = Detector(FakeRuntime.for_spec(spec, FOUND), spec)
    (found,) = detector.detect([solid_image((64, 64), 9)], **options)  # type: ignore[arg-type]
    assert found.score.tolist() == pytest.approx(scores, abs=1e-3)


@pytest.mark.parametrize(
    ("class_conf", "scores"),
    [({}, [0.4]), ({"2": 0.2}, [0.4, 0.3]), ({"1": 0.5}, []), ({"0": 0.5, "1": 0.5}, [0.6])],
)
def test_one_class_is_changed_and_the_others_keep_theirs(
    class_conf: dict[str, float], scores: list[float], tmp_path: Path
) -> None:
    spec = with_chosen(SPEC, 0.7, 0.1, 0.5)
    detector = Detector(FakeRuntime.for_spec(spec, FOUND), spec)
    image = tmp_path / "a.png"
    import cv2

    cv2.imwrite(str(image), solid_image((64, 64), 9))
    ((_, found),) = gd.infer(detector, image, class_conf=class_conf)
    assert found.score.tolist() == pytest.approx(scores, abs=1e-3)


def test_nvinfer_gets_a_group_for_each_class() -> None:
    text = "\n".join(_class_limits(with_chosen(SPEC, 0.7, 0.1, 0.5)))
    assert text.count("[class-attrs-") == 4
    assert "[class-attrs-2]\npre-cluster-threshold=0.5\n" in text
    assert "[class-attrs-0]" not in "\n".join(_class_limits(SPEC))


def write_data(folder: Path, count: int = 10) -> Path:
    (folder / "list.txt").write_text("\n".join(map(str, val_images()[:count])))
    (folder / "data.yaml").write_text("val: list.txt\nnames: [RBC, WBC, Platelets]\n")
    return folder / "data.yaml"


@needs_assets
def test_a_bundle_keeps_what_was_chosen_and_uses_it(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, capsys: Capture
) -> None:
    bundle = Path(shutil.copytree(shared_proved_bundle(tmp_path_factory), tmp_path / "bundle"))
    before = {path.name: path.stat().st_mtime_ns for path in bundle.rglob("*.onnx")}
    words = ["--data", str(write_data(tmp_path)), "--runtime", "openvino", "--precision", "fp32"]
    for wrong in ({"metric": "f2"}, {"slices": 320}):
        with pytest.raises(UsageError):
            gd.validate(bundle, words[1], choose_thresholds=True, **wrong)  # type: ignore[arg-type]
    assert main(["validate", str(bundle), *words, "--metric", "recall=0.9"]) == 2
    assert "Add --choose-thresholds" in capsys.readouterr().err
    choose = ["--choose-thresholds", "--metric", "precision=0.9", "--json"]
    assert main(["validate", str(bundle), *words, *choose]) == 0
    document = json.loads(capsys.readouterr().out)
    red, white, platelets = document["thresholds"]["classes"]
    # Ten images show some ten white cells and platelets each: too few to choose for.
    assert (red["boxes"] > 90, red["reason"]) == (True, "")
    assert red["precision"] >= 0.9
    assert red["interval"]["low"] <= red["conf"] <= red["interval"]["high"]
    for few in (white, platelets):
        assert "labelled objects, at least 20" in few["reason"]
        assert (few["conf"], few["interval"]) == (0.25, None)

    opened = gd.Bundle.read(bundle, verify=True)
    chosen = opened.spec.chosen
    assert chosen
    assert (chosen.metric, chosen.data, chosen.images) == ("precision=0.9", "data.yaml (val)", 10)
    assert chosen.conf == (red["conf"], 0.25, 0.25)
    assert chosen.kept == (1, 2)
    assert opened.evidence.thresholds
    assert opened.evidence.thresholds.classes[0].curve
    assert {path.name: path.stat().st_mtime_ns for path in bundle.rglob("*.onnx")} == before

    # Of a bundle in which nothing passes, the report alone is kept.
    failed = opened.evidence.accuracy
    assert failed
    rows = tuple(msgspec.structs.replace(row, status="failed") for row in failed.rows)
    failed = msgspec.structs.replace(failed, rows=rows)
    data = open_dataset(words[1])
    assert with_thresholds(failed, opened, data, "f1", ["openvino"], ["fp32"]) is failed

    image = str(val_images()[0])
    with gd.load(bundle, "openvino", check=False) as detector:
        own, plain = detector(image), detector(image, conf=0.25)
        limits = detector.thresholds.conf_of(plain.class_id)
    with gd.load(bundle, "openvino", check=False, conf=0.25) as detector:
        assert len(detector(image)) == len(plain)
    assert 0 < len(own) == int((plain.score > limits).sum()) < len(plain)
    assert main(["inspect", str(bundle)]) == 0
    assert "chosen by precision=0.9 on data.yaml (val)" in capsys.readouterr().out
    assert main(["report", str(bundle), "-o", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "RBC" in page.partition('id="thresholds"')[2]
    assert "Evidence: thresholds" not in page

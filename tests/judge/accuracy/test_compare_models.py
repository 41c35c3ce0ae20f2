"""Two models on the same images: classes in common, paired differences, the gate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import ghost_deploy as gd
from ghost_deploy.cli.main import main
from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import InputError, UsageError
from ghost_deploy.core.evidence.comparison import ComparedModel
from ghost_deploy.detector import Detector
from ghost_deploy.judge.accuracy.common_classes import CommonClasses
from ghost_deploy.judge.accuracy.compare_models import ModelComparison, OpenModel
from ghost_deploy.judge.accuracy.measure import measure
from ghost_deploy.judge.datasets.dataset import DataSet, LabelledImage
from ghost_deploy.judge.datasets.labels import Labels
from ghost_deploy.judge.datasets.open_dataset import open_dataset
from ghost_deploy.runtimes.fake import FakeRuntime
from tests.support.assets import GHOST, GHOSTNET, needs_assets, val_images
from tests.support.exports import shared_float_bundle, shared_proved_bundle
from tests.support.images import noisy_image, write_image
from tests.support.model_specs import make_spec

Capture = pytest.CaptureFixture[str]
BOXES = {"cat": [2, 2, 30, 30], "dog": [30, 30, 60, 60], "cow": [4, 34, 20, 60]}


def model(names: Sequence[str], found: Sequence[str], score: float = 0.8) -> OpenModel:
    """A model that finds the objects of those names in every image, at their places."""
    spec = make_spec((64, 64), names=tuple(names))
    count = len(found)
    rows = Detections(
        [BOXES[name] for name in found], [score] * count, [names.index(name) for name in found]
    )
    facts = ComparedModel(
        name="-".join(names), artifact="a", sha256="0" * 64, runtime="fake", precision="fp32",
        classes=tuple(names),
    )  # fmt: skip
    return OpenModel(facts, Detector(FakeRuntime.for_spec(spec, rows), spec))


def data(folder: Path, names: Sequence[str], shown: Sequence[str], images: int = 3) -> DataSet:
    """Images that show the objects of those names."""
    labels = Labels.of(np.array([BOXES[n] for n in shown]) / 64, [names.index(n) for n in shown])
    paths = [write_image(folder / f"{n}.png", noisy_image((64, 64), n)) for n in range(images)]
    return DataSet("d", "yolo", "val", tuple(names), tuple(LabelledImage(p, labels) for p in paths))


@pytest.mark.parametrize(
    ("old", "new", "by_name", "error"),
    [
        (["a"], ["b"], False, "different classes"),
        (["a"], ["b"], True, "cannot be matched"),
        (["a", "b"], ["a", "b", "c"], False, "different classes"),
        (["a", "a"], ["a", "b"], True, "cannot be matched"),
    ],
)
def test_classes_that_cannot_be_compared(
    old: list[str], new: list[str], by_name: bool, error: str
) -> None:
    with pytest.raises((UsageError, InputError), match=error):
        CommonClasses.of(old, new, by_name=by_name)


@pytest.mark.parametrize(
    ("old", "new", "by_name", "names", "left_out"),
    [
        (["a", "a"], ["a", "a"], False, ("a", "a"), ()),
        (["a", "b"], ["b", "a"], False, ("a", "b"), ()),
        (["a", "b"], ["c", "b", "a"], True, ("a", "b"), ("c",)),
    ],
)
def test_classes_in_common(
    old: list[str], new: list[str], by_name: bool, names: tuple[str, ...], left_out: tuple[str, ...]
) -> None:
    assert CommonClasses.of(old, new, by_name=by_name) == CommonClasses(names, left_out)


def test_a_data_set_without_a_class_in_common(tmp_path: Path) -> None:
    common = CommonClasses.of(["cat", "dog"], ["dog", "cat", "cow"], by_name=True)
    with pytest.raises(InputError, match="lacks classes"):
        common.data(data(tmp_path, ["cat"], ["cat"]), ["cat", "dog"], by_name=True)


@pytest.mark.parametrize(
    ("new_names", "data_names", "shown"),
    [
        (["cat", "dog"], ["cat", "dog"], ["cat", "dog"]),
        (["dog", "cat"], ["cat", "dog"], ["cat", "dog"]),
        (["cow", "dog", "cat"], ["cow", "cat", "dog"], ["cat", "dog", "cow"]),
    ],
)
def test_what_was_lost_is_found_by_name(
    new_names: list[str], data_names: list[str], shown: list[str], tmp_path: Path
) -> None:
    """The new model misses the dogs, whatever the order of its classes; cows do not count."""
    more = ["cow"] if "cow" in new_names else []
    old, new = model(["cat", "dog"], ["cat", "dog"]), model(new_names, ["cat", *more])
    common = CommonClasses.of(["cat", "dog"], new_names, by_name=True)
    labelled = common.data(data(tmp_path, data_names, shown), ["cat", "dog"], by_name=True)
    report = ModelComparison(labelled, common, resamples=20).run(old, new, 0.5)
    (row,) = report.rows
    assert report.reference
    assert report.reference.accuracy.map50_95 == pytest.approx(1)
    assert (row.delta, row.status) == (pytest.approx(-50), "failed")
    assert [each.delta for each in row.classes] == [pytest.approx(0), pytest.approx(-100)]
    assert row.interval
    assert (row.interval.low, row.interval.high) == (pytest.approx(-50), pytest.approx(-50))
    assert len(report.hard_images) == 3
    assert report.hard_images[0].differences == 1


def test_boxes_below_the_thresholds_of_a_model_are_not_shown(tmp_path: Path) -> None:
    old, new = model(["cat", "dog"], ["cat"]), model(["cat", "dog"], ["cat"], score=0.2)
    common = CommonClasses.of(["cat", "dog"], ["cat", "dog"], by_name=False)
    report = ModelComparison(data(tmp_path, ["cat", "dog"], ["cat"]), common, resamples=5).run(
        old, new, 0.5
    )
    assert report.rows[0].delta == pytest.approx(0)
    assert {image.candidate_wrong for image in report.hard_images} == {1}


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few")
    (folder / "list.txt").write_text("\n".join(map(str, val_images()[:4])))
    (folder / "data.yaml").write_text("val: list.txt\nnames: [RBC, WBC, Platelets]\n")
    return folder / "data.yaml"


@needs_assets
def test_two_checkpoints(few: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    old, new = (shared_float_bundle(each, tmp_path_factory).bundle for each in (GHOST, GHOSTNET))
    report = gd.compare(old, new, few, runtimes=["openvino"], duration_s=0)
    alone = []
    for bundle in (old, new):
        with gd.load(bundle, "openvino", "fp32", check=False) as detector:
            alone.append(measure(detector, open_dataset(few)).accuracy.map50_95)
    assert report.row.delta == pytest.approx(100 * (alone[1] - alone[0]), abs=1e-6)
    assert report.row.interval
    assert report.row.interval.low <= report.row.delta <= report.row.interval.high
    assert report.outcome is (report.row.delta >= -0.5)
    assert report.speed is None
    assert abs(report.row.delta) > 0.01
    strict = gd.compare(new, old, few, runtimes=["openvino"], duration_s=0, max_drop=0)
    assert strict.row.delta == pytest.approx(-report.row.delta)
    assert strict.outcome is (strict.row.delta >= 0)


@needs_assets
def test_the_command(
    few: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, capsys: Capture
) -> None:
    bundle = str(shared_proved_bundle(tmp_path_factory))
    words = ["--data", str(few), "--duration", "0"]
    assert main(["compare", bundle, bundle, *words]) == 2
    assert "are the same" in capsys.readouterr().err
    page = tmp_path / "page.html"
    both = ["--precision", "fp32", "fp16", "--runtime", "ort", "openvino", "--json"]
    assert main(["compare", bundle, bundle, *words, *both, "-o", str(page)]) == 0
    text = capsys.readouterr().out
    document = json.loads(text)
    assert document["passed"] is True
    assert [document[each]["runtime"] for each in ("old", "new")] == ["ort", "openvino"]
    assert document["new"]["precision"] == "fp16"
    assert "The new model passes" in page.read_text()
    (tmp_path / "compare.json").write_text(text)
    made = gd.report(tmp_path / "compare.json")
    assert made.accuracy[0].rows[0].artifact == "openvino-fp16"


@needs_assets
@pytest.mark.slow
def test_latency_is_measured_side_by_side(
    few: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bundle = shared_proved_bundle(tmp_path_factory)
    file = bundle / "model.fp32.onnx"
    report = gd.compare(file, bundle, few, duration_s=1)
    assert report.latency
    assert [row.baseline for row in report.latency.rows] == [False, True]
    assert report.speed
    assert report.latency.complete
    assert "times as fast" in report.summary()

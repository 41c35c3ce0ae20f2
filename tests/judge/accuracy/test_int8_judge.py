"""The judge of int8 files, on a trained network."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from ghost_deploy.checkpoints.loading import load_checkpoint
from ghost_deploy.core.errors import BackendError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.core.thresholds import ChosenThresholds
from ghost_deploy.export.plan import plan_spec
from ghost_deploy.export.trace_onnx import onnx_from_net
from ghost_deploy.judge.accuracy.int8_judge import DEFAULT_DROPS, int8_judge
from ghost_deploy.judge.accuracy.max_drop import MAX_DROP
from ghost_deploy.judge.accuracy.paired_loss import LOOK
from ghost_deploy.judge.datasets.open_dataset import open_dataset
from ghost_deploy.runtimes.base import RuntimeOptions
from tests.support.assets import BCCD, GHOST, needs_assets, val_images

pytestmark = needs_assets

OPTIONS = RuntimeOptions(threads=1)


@pytest.fixture(scope="module")
def float_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelSpec, Path]:
    loaded = load_checkpoint(GHOST)
    spec = plan_spec(loaded.spec, size_hw=(160, 160))
    path = tmp_path_factory.mktemp("float") / "model.onnx"
    path.write_bytes(onnx_from_net(loaded.net, spec, "fp32").SerializeToString())
    return spec, path


def test_without_labels_the_float_model_is_the_reference(
    float_model: tuple[ModelSpec, Path],
) -> None:
    told: list[str] = []
    judge = int8_judge(*float_model, val_images()[:2], OPTIONS, lambda what, *_: told.append(what))
    assert judge.facts.by == "agreement"
    assert judge.facts.reference > 99
    assert judge.default_max_drop == DEFAULT_DROPS["agreement"]
    told.clear()
    quiet = pickle.loads(pickle.dumps(judge.quiet(threads=2)))
    assert quiet.options.threads == 2
    assert quiet.fingerprint == judge.fingerprint
    # The float file takes the place of an int8 one: nothing is lost.
    assert quiet.points("ort", float_model[1]) == pytest.approx(judge.facts.reference)
    assert told == []


def test_thresholds_chosen_for_the_bundle_do_not_change_the_judge(
    float_model: tuple[ModelSpec, Path],
) -> None:
    spec, path = float_model
    chosen = ChosenThresholds(
        conf=(0.9, 0.9, 0.9), metric="f1", data="d", fingerprint="", images=1, boxes=1, run="r",
        date="2026",
    )  # fmt: skip
    judges = [
        int8_judge(each, path, val_images()[:2], OPTIONS)
        for each in (spec, msgspec.structs.replace(spec, chosen=chosen))
    ]
    assert judges[0].fingerprint == judges[1].fingerprint


def test_with_labels_the_limit_is_that_of_validation(float_model: tuple[ModelSpec, Path]) -> None:
    judge = int8_judge(*float_model, open_dataset(BCCD / "data.yaml", split="val"), OPTIONS)
    assert (judge.facts.by, judge.facts.data) == ("labels", "data.yaml val")
    assert judge.default_max_drop == MAX_DROP["int8"]
    assert 0 < judge.facts.reference < 99
    assert judge.facts.images == len(val_images())


def test_a_file_that_loses_nothing_is_judged_on_a_part_of_the_images(
    float_model: tuple[ModelSpec, Path],
) -> None:
    told: list[tuple[str, int]] = []
    data = open_dataset(BCCD / "data.yaml", split="val")
    judge = int8_judge(
        *float_model, data, OPTIONS, lambda what, done, total: told.append((what, done)), early=True
    )
    told.clear()
    found = judge.accuracy("ort", float_model[1], 0.5, label="itself")
    assert found.images == LOOK == len(told)
    assert (found.low, found.high) == (0.0, 0.0)
    assert found.points == pytest.approx(judge.facts.reference)
    every = replace(judge, early=False).accuracy("ort", float_model[1], 0.5)
    assert every.images == len(data.images)
    assert every.points == pytest.approx(found.points)


def test_at_most_a_few_hundred_labelled_images_are_looked_at(
    float_model: tuple[ModelSpec, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghost_deploy.judge.accuracy.int8_judge.QUICK_IMAGES", 3)
    data = open_dataset(BCCD / "data.yaml", split="val")
    judge = int8_judge(*float_model, data, OPTIONS, early=True)
    assert judge.facts.images == 3
    assert judge.facts.data == f"data.yaml val, 3 of {len(data.images)} images"
    assert [each.path for each in judge.data.images] != [each.path for each in data.images[:3]]


def test_a_file_that_no_runtime_opens(float_model: tuple[ModelSpec, Path], tmp_path: Path) -> None:
    judge = int8_judge(*float_model, val_images()[:1], OPTIONS)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(BackendError):
        judge.points("ort", broken)

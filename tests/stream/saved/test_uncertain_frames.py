"""The frames that a model is least sure of: which, how many, and what a person did to them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import InputError, UsageError
from ghost_deploy.core.frame import Frame
from ghost_deploy.detector import Detector
from ghost_deploy.judge.datasets.open_dataset import open_dataset
from ghost_deploy.runtimes.fake import FakeRuntime
from ghost_deploy.stream.saved import uncertain_frames
from ghost_deploy.stream.saved.doubt import doubts
from ghost_deploy.stream.saved.near_duplicates import are_alike, differing_bits, image_hash
from ghost_deploy.stream.saved.uncertain_frames import UncertainWriter
from tests.support.images import noisy_image, solid_image
from tests.support.model_specs import make_spec

SPEC = make_spec((64, 64))
PLACES = [[2, 2, 20, 20], [30, 2, 60, 20], [2, 30, 20, 60], [30, 30, 60, 60]]


def detector() -> Detector:
    return Detector(FakeRuntime.for_spec(SPEC, Detections.empty()), SPEC)


def writer(folder: Path, budget: int = 3) -> UncertainWriter:
    return UncertainWriter(detector(), folder, budget)


def found(*scores: float, place: int = 0) -> Detections:
    boxes = [PLACES[(place + i) % 4] for i in range(len(scores))]
    return Detections(boxes, list(scores), [0] * len(scores))


def frame(seed: int, index: int = 0) -> Frame:
    """A scene of its own for each seed."""
    small = noisy_image((8, 8), seed)
    image = cv2.resize(small, (64, 64), interpolation=cv2.INTER_CUBIC)
    return Frame(np.asarray(image, np.uint8), index=index, source="rtsp://host/cam")


def stems(folder: Path) -> list[str]:
    """The frames that are there whole: an image, both labels and what is remembered."""
    names = {path.stem for path in (folder / "images").glob("*.jpg")}
    for place in ("images/*.json", "labels/*.txt", "frames/*.json"):
        assert {path.stem for path in folder.glob(place)} == names, place
    return sorted(names)


def test_a_budget_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="above 0"):
        writer(tmp_path, 0)


@pytest.mark.parametrize("name", ["data.yaml", "notes.txt"])
def test_a_folder_of_something_else(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("names: [x]\n")
    with pytest.raises(UsageError, match="something else"):
        writer(tmp_path)
    assert (tmp_path / name).read_text() == "names: [x]\n"


@pytest.mark.parametrize(
    ("limit", "score", "doubt"),
    [
        (0.4, 0.4, 1), (0.4, 0.3, 0.5), (0.4, 0.2, 0), (0.4, 0.1, 0), (0.4, 0.55, 0.5),
        (0.4, 0.7, 0), (0.4, 0.9, 0), (np.inf, 0.5, 0),
    ],
)  # fmt: skip
def test_doubt_is_greatest_at_the_threshold(limit: float, score: float, doubt: float) -> None:
    assert doubts(found(score), [limit, 0.9, 0.9]) == pytest.approx([doubt], abs=1e-6)


def test_the_detector_of_a_writer_finds_what_is_below_the_thresholds(tmp_path: Path) -> None:
    rows = Detections([PLACES[0], PLACES[3]], [0.9, 0.15], [0, 1])
    given = Detector(FakeRuntime.for_spec(SPEC, rows), SPEC)
    hard = UncertainWriter(given, tmp_path)
    image = solid_image((64, 64), 9)
    (few,), (more,) = given.detect([image]), hard.detector.detect([image])
    assert (len(few), len(more)) == (1, 2)


def test_sure_and_empty_frames_are_not_kept(tmp_path: Path) -> None:
    with writer(tmp_path) as hard:
        for seed, rows in enumerate([found(), found(0.95), found(0.05), found(0.99, 0.01)]):
            assert not hard.write(frame(seed), rows)
    assert stems(tmp_path) == []


def test_labels_are_what_was_found_and_what_was_nearly_found(tmp_path: Path) -> None:
    with writer(tmp_path) as hard:
        assert hard.write(frame(0), found(0.9, 0.3, 0.22, 0.15))
    (image,) = open_dataset(tmp_path / "data.yaml").images
    assert image.boxes_px((64, 64)).tolist() == pytest.approx(np.array(PLACES[:3]), abs=1e-3)
    document = json.loads((tmp_path / "images/cam-000000.json").read_text())
    assert [shape["description"] for shape in document["shapes"]] == ["0.900", "0.300", "0.220"]


def test_the_most_uncertain_are_kept_and_no_more(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scores = 0.13 + 0.12 * rng.permutation(40) / 40  # doubt rises with the score up to 0.25
    with writer(tmp_path, budget=5) as hard:
        for seed, score in enumerate(scores):
            hard.write(frame(seed, seed), found(float(score)))
            assert len(stems(tmp_path)) == len(hard) <= 5
    best = sorted(f"cam-{i:06d}" for i in np.argsort(-scores)[:5])
    assert stems(tmp_path) == best


def test_near_duplicates_are_kept_once_and_the_more_uncertain_of_them(tmp_path: Path) -> None:
    base = frame(1).image
    rng = np.random.default_rng(3)
    with writer(tmp_path, budget=10) as hard:
        for index, score in enumerate([0.2, 0.201, 0.24, 0.15]):
            noise = rng.integers(-3, 4, base.shape)
            image = np.clip(base.astype(int) + noise, 0, 255).astype(np.uint8)
            hard.write(Frame(image, index=index, source="cam"), found(score))
        assert stems(tmp_path) == ["cam-000002"]
        # A fixed camera sees an object elsewhere: another frame, though the image is the same.
        assert hard.write(Frame(base, index=9, source="cam"), found(0.2, place=3))
        assert hard.write(frame(2, 11), found(0.2))
    assert len(stems(tmp_path)) == 3


def test_a_later_run_goes_on(tmp_path: Path) -> None:
    with writer(tmp_path, 3) as hard:
        for seed in range(3):
            hard.write(frame(seed, seed), found(0.2 + 0.01 * seed))
    with writer(tmp_path, 3) as again:
        assert len(again) == 3
        assert not again.write(frame(0, 7), found(0.2))  # the same scene
        # The index begins anew: the name is taken, and no file is overwritten.
        assert again.write(frame(9, 2), found(0.245))
    assert stems(tmp_path) == ["cam-000001", "cam-000002", "cam-000002-2"]


@pytest.mark.parametrize("changed", ["labels/cam-000000.txt", "images/cam-000000.json"])
@pytest.mark.parametrize("restart", [False, True])
def test_what_a_person_changed_is_never_removed(
    changed: str, restart: bool, tmp_path: Path
) -> None:
    hard = writer(tmp_path, 1)
    hard.write(frame(0), found(0.2))
    (tmp_path / changed).write_text("corrected")
    if restart:
        hard = writer(tmp_path, 1)
    for seed in range(1, 5):
        hard.write(frame(seed, seed), found(0.2 + 0.01 * seed))
    assert stems(tmp_path) == ["cam-000000", "cam-000004"]
    assert (tmp_path / changed).read_text() == "corrected"


def test_a_smaller_budget_of_a_later_run_holds(tmp_path: Path) -> None:
    with writer(tmp_path, 5) as hard:
        for seed in range(5):
            hard.write(frame(seed, seed), found(0.2 + 0.002 * seed))
    with writer(tmp_path, 2) as again:
        assert not again.write(frame(5, 5), found(0.15))
        assert again.write(frame(6, 6), found(0.24))
    assert stems(tmp_path) == ["cam-000004", "cam-000006"]


def test_nothing_is_left_of_a_frame_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(frame: Frame, target: Path) -> None:
        raise InputError("cannot write", fix="Free some space")

    with writer(tmp_path) as hard:
        hard.write(frame(0), found(0.2))
        with monkeypatch.context() as patched:
            patched.setattr(uncertain_frames, "write_copy", full)
            with pytest.raises(InputError):
                hard.write(frame(1, 1), found(0.2))
        assert stems(tmp_path) == ["cam-000000"]
        assert hard.write(frame(1, 1), found(0.2))
    assert stems(tmp_path) == ["cam-000000", "cam-000001"]


@pytest.mark.parametrize(
    "changed",
    [
        {"file_name": "../../mine.jpg"}, {"stem": "../../mine"}, {"key": "00"}, {"key": "?"},
        {"sha256": {"../mine.jpg": ""}},
    ],
)  # fmt: skip
def test_what_is_remembered_names_nothing_else(changed: dict[str, str], tmp_path: Path) -> None:
    """A folder that came from elsewhere removes no files of its owner."""
    (tmp_path / "mine.jpg").write_text("mine")
    folder = tmp_path / "hard"
    with writer(folder, 1) as hard:
        hard.write(frame(0), found(0.2))
    record = folder / "frames/cam-000000.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), **changed}))
    with writer(folder, 1) as again:
        for seed in range(1, 4):
            again.write(frame(seed, seed), found(0.2 + 0.01 * seed))
    assert (tmp_path / "mine.jpg").read_text() == "mine"
    assert (folder / "images/cam-000000.jpg").exists()


def test_a_frame_whose_image_is_not_there_is_cleared_away(tmp_path: Path) -> None:
    """A process that was killed before the image was written leaves labels alone."""
    with writer(tmp_path) as hard:
        hard.write(frame(0), found(0.2))
        hard.write(frame(1, 1), found(0.2))
    (tmp_path / "images/cam-000000.jpg").unlink()
    (tmp_path / "frames/cam-000001.json").write_text("{")
    with writer(tmp_path) as again:
        assert len(again) == 0
    assert sorted(p.name for p in (tmp_path / "images").iterdir()) == [
        "cam-000001.jpg", "cam-000001.json",
    ]  # fmt: skip
    assert not (tmp_path / "labels/cam-000000.txt").exists()


def test_the_hash_of_an_image_survives_size_and_brightness() -> None:
    image = frame(4).image
    other = image_hash(frame(5).image)
    changed = [
        cv2.resize(image, (200, 150), interpolation=cv2.INTER_AREA),
        cv2.convertScaleAbs(image, alpha=0.8, beta=10),
        cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 1),
    ]
    hashes = [np.frombuffer(image_hash(np.asarray(each, np.uint8)), np.uint8) for each in changed]
    hashes.append(np.frombuffer(other, np.uint8))
    bits = differing_bits(image_hash(image), np.stack(hashes))
    assert max(bits[:3]) <= 20
    assert bits[3] > 60


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (found(), found(), True),
        (found(), found(0.5), False),
        (found(0.5), found(0.5, place=1), False),
        (found(0.5, 0.5, 0.5), found(0.5, 0.5, 0.5), True),
        (found(0.5, 0.5, 0.5, 0.5), found(0.5), False),
        (found(0.5, 0.1), found(0.5), True),
    ],
)
def test_boxes_that_are_alike(one: Detections, other: Detections, alike: bool) -> None:
    assert are_alike(one, other) is alike

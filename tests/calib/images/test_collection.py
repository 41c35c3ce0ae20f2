"""The calibration set: what may be named, what is refused, and what is left out by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from ghost_deploy.calib.images import collection as images
from ghost_deploy.calib.images.collection import (
    MIN_IMAGES,
    CalibrationSet,
    collect_images,
    preprocessing_fingerprint,
)
from ghost_deploy.core.errors import ImageError, InputError, UsageError
from ghost_deploy.core.spec import InputSpec
from ghost_deploy.processing.images import read_image
from ghost_deploy.processing.preprocess import Preprocessor
from tests.support.assets import BCCD, needs_assets
from tests.support.images import noisy_image, solid_image, write_image

SPEC = InputSpec(size_hw=(64, 96))


def write(folder: Path, count: int, start: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(start, start + count):
        write_image(folder / f"{number}.png", noisy_image((20, 30), number))
    return folder


def names(found: CalibrationSet) -> list[str]:
    return [source.name for source in found.sources]


def small(source: str | Path | list[Path], **options: object) -> CalibrationSet:
    return collect_images(source, allow_small=True, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("source", "count"), [([], 300), ("x", 0)])
def test_nothing_is_refused(source: list[Path] | str, count: int) -> None:
    with pytest.raises(UsageError, match="nothing to calibrate on"):
        collect_images(source, count=count)


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    write(tmp_path / "a", 3)
    for name in ("none", "none/*.png", "none.txt", "none.yaml", "none.mp4", "none.png"):
        with pytest.raises(InputError, match="none"):
            small([tmp_path / "a", tmp_path / name])


def test_too_few_images_are_refused_unless_allowed(tmp_path: Path) -> None:
    folder = write(tmp_path / "few", MIN_IMAGES - 1)
    (folder / "broken.png").write_bytes(b"no image")
    shutil.copy(folder / "0.png", folder / "again.png")
    with pytest.raises(InputError, match="--allow-small-calibration") as caught:
        collect_images(folder)
    text = str(caught.value)
    assert "63 usable, 1 not usable (broken.png" in text
    assert "1 duplicates" in text
    assert "at least 64" in text
    assert len(small(folder)) == MIN_IMAGES - 1
    write(folder, 1, start=MIN_IMAGES)
    assert len(collect_images(folder)) == MIN_IMAGES


def test_asking_for_few_is_refused_too(tmp_path: Path) -> None:
    folder = write(tmp_path / "many", MIN_IMAGES)
    with pytest.raises(InputError, match="at most 10 were asked for"):
        collect_images(folder, count=10)


def test_no_usable_image_is_refused_always(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"a\.png.*empty"):
        small(tmp_path)


def test_unusable_images_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", 3)
    (folder / "bad.jpg").write_bytes(b"\xff\xd8\xff no more")
    (folder / "empty.png").write_bytes(b"")
    found = small(folder)
    assert names(found) == ["0.png", "1.png", "2.png"]
    assert sorted(s.name for s in found.skipped) == ["bad.jpg", "empty.png"]
    assert all(s.reason for s in found.skipped)


def test_equal_content_counts_once(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", 2)
    shutil.copy(folder / "1.png", folder / "3.png")
    found = small([folder, folder, folder / "0.png"])
    assert len(found) == 2
    assert len(found.duplicates) == 1
    assert found.duplicates[0] in ("1.png", "3.png")


def as_folder(folder: Path) -> Path:
    return folder


def as_pattern(folder: Path) -> str:
    return f"{folder}/*.png"


def as_list(folder: Path) -> Path:
    lines = [f"./set/{path.name}" for path in sorted(folder.iterdir())]
    (folder.parent / "list.txt").write_text("\n".join([*lines, "", "./set/gone.png"]))
    return folder.parent / "list.txt"


def as_data_yaml(folder: Path) -> Path:
    (folder.parent / "data.yaml").write_text("path: .\ntrain: set\nval: none\nnames: [a]\n")
    return folder.parent / "data.yaml"


def as_data_set(folder: Path) -> Path:
    return as_data_yaml(folder).parent


@pytest.mark.parametrize("form", [as_folder, as_pattern, as_list, as_data_yaml, as_data_set])
def test_every_way_to_name_images_is_the_same_set(
    form: Callable[[Path], str | Path], tmp_path: Path
) -> None:
    folder = write(tmp_path / "all" / "set", 5)
    found = small(form(folder))
    assert names(found) == [f"{i}.png" for i in range(5)]
    assert found.fingerprint == small(sorted(folder.iterdir(), reverse=True)).fingerprint
    assert [s.name for s in found.skipped] == (["list.txt:7"] if form is as_list else [])
    assert found.notes == ()


def test_a_data_yaml_without_a_train_split(tmp_path: Path) -> None:
    write(tmp_path / "set", 3)
    (tmp_path / "data.yaml").write_text("val: set\nnames: [a]\n")
    found = small(tmp_path / "data.yaml")
    assert len(found) == 3
    assert "val was taken" in found.notes[0]


def test_a_data_yaml_without_images(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: [a]\n")
    with pytest.raises(InputError, match="no split"):
        small(tmp_path / "data.yaml")


def test_the_choice_depends_on_seed_and_names_only(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", 40), write(tmp_path / "b", 40)
    first = small(a, count=10)
    assert names(small(b, count=10)) == names(first)
    assert names(small(a, count=10, seed=1)) != names(first)
    kept = set(names(first))
    write(a, 1, start=100)
    assert len(kept & set(names(small(a, count=10)))) >= 9
    assert names(first) == sorted(names(first), key=lambda n: int(n[:-4]))


def test_unusable_images_are_made_up_for(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", 20)
    chosen = names(small(folder, count=10))
    (folder / chosen[0]).write_bytes(b"broken")
    again = small(folder, count=10)
    assert len(again) == 10
    assert [s.name for s in again.skipped] == [chosen[0]]


def test_the_fingerprint_is_that_of_the_content(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", 4)
    before = small(folder).fingerprint
    (folder / "0.png").rename(folder / "9.png")
    assert small(folder).fingerprint == before
    write_image(folder / "9.png", noisy_image((20, 30), 77))
    assert small(folder).fingerprint != before
    assert small(folder, count=3).fingerprint != small(folder).fingerprint


def test_a_diverse_choice_covers_what_looks_different(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for number in range(37):
        grey = solid_image((20, 30), 100 + number % 3)
        grey[number % 20, number % 30] = 0
        write_image(folder / f"{number}.png", grey)
    for number, colour in ((37, (255, 0, 0)), (38, (0, 255, 0)), (39, (0, 0, 255))):
        write_image(folder / f"{number}.png", np.full((20, 30, 3), colour, np.uint8))
    found = small(folder, count=10, diverse=True)
    assert len(found) == 10
    assert {"37.png", "38.png", "39.png"} <= set(names(found))
    assert names(small(folder, count=10, diverse=True)) == names(found)


def test_the_images_are_those_of_the_files(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", 3)
    found = small(folder)
    for source, image in zip(found.sources, found.images(), strict=True):
        assert np.array_equal(image, read_image(source.path))


def test_batches_are_what_the_deployed_preprocessing_makes(tmp_path: Path) -> None:
    found = small(write(tmp_path / "set", 4))
    preprocess = Preprocessor(SPEC)
    batches = list(found.batches(SPEC))
    assert len(batches) == 4
    for image, batch in zip(found.images(), batches, strict=True):
        expected, _ = preprocess([image])
        assert batch.shape == (1, 3, 64, 96)
        assert np.array_equal(batch, expected)
    fixed = msgspec.structs.replace(SPEC, batch=(4, 4))
    assert next(found.batches(fixed)).shape == (1, 3, 64, 96)


@pytest.mark.parametrize("change", ["other", "gone"])
def test_a_file_changed_in_the_meantime_is_refused(change: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "set", 3)
    found = small(folder)
    if change == "other":
        write_image(folder / "1.png", noisy_image((20, 30), 99))
    else:
        (folder / "1.png").unlink()
    with pytest.raises(ImageError, match=r"1\.png"):
        list(found.images())


def test_a_smaller_set_is_spread_over_all(tmp_path: Path) -> None:
    found = small(write(tmp_path / "set", 9))
    assert names(found.subset(3)) == ["1.png", "4.png", "7.png"]
    assert names(found.subset(100)) == names(found)


def test_progress_counts_images(tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    folder = write(tmp_path / "set", 5)
    small(folder, progress=lambda *call: calls.append(call))
    assert [done for _, done, _ in calls] == [1, 2, 3, 4, 5]
    assert {total for *_, total in calls} == {5}


def test_a_name_hides_the_folder(tmp_path: Path) -> None:
    found = small(write(tmp_path / "secret", 1))
    assert "secret" not in found.sources[0].name


@pytest.mark.parametrize(
    "other",
    [
        {"size_hw": (64, 64)},
        {"color": "bgr"},
        {"divisor": 1.0},
        {"mean": (0.1, 0.0, 0.0)},
        {"std": (1.0, 1.0, 2.0)},
        {"pad_value": 0},
        {"name": "x"},
    ],
)
def test_another_preprocessing_has_another_fingerprint(other: dict[str, object]) -> None:
    plain = preprocessing_fingerprint(SPEC)
    assert plain == preprocessing_fingerprint(SPEC)
    assert plain != preprocessing_fingerprint(InputSpec(**{"size_hw": (64, 96), **other}))  # type: ignore[arg-type]


def test_the_batch_is_no_part_of_the_preprocessing() -> None:
    batched = msgspec.structs.replace(SPEC, batch=(1, 8))
    assert preprocessing_fingerprint(batched) == preprocessing_fingerprint(SPEC)


def test_a_change_of_the_code_shows_in_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    before = preprocessing_fingerprint(SPEC)

    class Other(Preprocessor):
        def __call__(self, *args: object, **options: object):  # type: ignore[no-untyped-def]
            tensor, boxes = super().__call__(*args, **options)  # type: ignore[arg-type]
            return np.nextafter(tensor, np.float32(1)), boxes

    monkeypatch.setattr(images, "Preprocessor", Other)
    assert preprocessing_fingerprint(SPEC) != before


@needs_assets
def test_a_real_data_set() -> None:
    found = collect_images(BCCD / "data.yaml", count=80)
    assert len(found) == 80
    assert {source.path.parent.name for source in found.sources} == {"train"}
    assert found.skipped == ()
    assert found.fingerprint == collect_images(BCCD / "images" / "train", count=80).fingerprint

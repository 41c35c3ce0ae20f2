"""How many images are compared, and when the verdict that a bundle keeps still holds."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

import ghost_deploy as gd
from ghost_deploy.api.common import find_readable, some_of
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.judge.parity import comparison_key, prove
from tests.support.assets import GHOST, needs_assets, val_images
from tests.support.exports import shared_proved_bundle
from tests.support.images import solid_image, write_image

PATHS = [Path(f"{number}.png") for number in range(9)]


@pytest.mark.parametrize(("most", "count"), [(None, 9), (1, 1), (4, 4), (9, 9), (100, 9)])
def test_at_most_so_many_are_chosen_in_their_order(most: int | None, count: int) -> None:
    found = some_of(PATHS, most)
    assert len(found) == count
    assert found == sorted(found) == some_of(PATHS, most)
    assert set(found) <= set(PATHS)


@pytest.mark.parametrize("most", [0, -1])
def test_no_image_is_no_comparison(most: int) -> None:
    with pytest.raises(gd.UsageError, match="at least one image"):
        some_of(PATHS, most)


def test_a_choice_is_not_the_first_ones_and_is_told(tmp_path: Path) -> None:
    for number in range(30):
        write_image(tmp_path / f"{number}.png", solid_image((8, 8), number))
    chosen, notes = find_readable(tmp_path, "skip", 5)
    everything, silent = find_readable(tmp_path, "skip")
    assert chosen is not None
    assert everything is not None
    assert (len(chosen), len(everything), silent) == (5, 30, ())
    assert chosen != everything[:5]
    assert notes == ("5 of 30 images were chosen at random, with seed 0",)


class Compared(Exception):  # noqa: N818
    """Raised in the place of a comparison."""


@pytest.fixture
def images() -> list[Path]:
    return val_images()[:2]


@pytest.fixture
def proved(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = shared_proved_bundle(tmp_path_factory)

    def refuse(*_: Any, **__: Any) -> None:
        raise Compared

    monkeypatch.setattr(prove, "run_parity", refuse)
    return folder


@needs_assets
def test_a_verdict_of_the_same_is_used_again(proved: Path, images: list[Path]) -> None:
    notes: list[str] = []
    report = gd.parity(GHOST, proved, images, note=notes.append)
    assert report == Bundle.read(proved).evidence.parity
    assert report.passed
    assert "nothing has changed" in notes[0]


@needs_assets
@pytest.mark.parametrize(
    "options",
    [
        {"again": True},
        {"images": None},
        {"images": 1},
        {"max_images": 1},
        {"threads": 1},
        {"allow_fallback": True},
    ],
    ids=str,
)
def test_anything_else_is_compared(
    options: dict[str, Any], proved: Path, images: list[Path]
) -> None:
    options = {"images": images, **options}
    if options["images"] == 1:
        options["images"] = images[:1]
    with pytest.raises(Compared):
        gd.parity(GHOST, proved, **options)


@needs_assets
@pytest.mark.parametrize("what", ["package", "machine", "image", "older bundle"])
def test_what_the_outputs_depend_on_is_compared_again(
    what: str,
    proved: Path,
    images: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = Bundle.read(proved)
    if what == "package":
        monkeypatch.setattr(comparison_key, "_version", lambda name: f"{name} 99")
    elif what == "machine":
        here = comparison_key.read_machine()
        other = msgspec.structs.replace(here, cpu="another processor")
        monkeypatch.setattr(comparison_key, "read_machine", lambda: other)
    elif what == "image":
        images = [images[0], tmp_path / images[1].name]
        shutil.copy(images[0], images[1])
    else:
        report = bundle.evidence.parity
        assert report is not None
        bundle = bundle.with_evidence(msgspec.structs.replace(report, key=""))
    with pytest.raises(Compared):
        gd.parity(GHOST, bundle, images)


@needs_assets
def test_a_changed_file_is_seen_before_an_old_verdict_is_used(
    proved: Path, images: list[Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(proved, tmp_path / "changed")
    with (folder / "model.fp16.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(gd.BundleError, match="changed"):
        gd.parity(GHOST, folder, images)

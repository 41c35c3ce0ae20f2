"""Image files whose names are no UTF-8 text, in the commands that judge and calibrate."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import ghost_deploy as gd
from ghost_deploy.calib.images.collection import collect_images
from ghost_deploy.calib.images.sampling import ranked
from ghost_deploy.calib.images.sources import ImageLocation
from ghost_deploy.judge.parity.comparison_key import comparison_key
from ghost_deploy.runtimes.base import RuntimeOptions
from tests.support.constant_model import write_constant_bundle
from tests.support.images import write_images


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set of two images with such names, which differ in these bytes alone."""
    images = write_images(tmp_path / "images", 2)
    (tmp_path / "labels").mkdir()
    for image, byte in zip(images, (b"\xff", b"\xfe"), strict=True):
        name = os.fsdecode(b"cell" + byte)
        try:
            image.rename(tmp_path / "images" / f"{name}.png")
        except OSError:
            pytest.skip("this file system takes no such names")
        (tmp_path / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    description = tmp_path / "data.yaml"
    description.write_text("val: images\nnames: [cell]\n")
    return description


def test_they_are_judged_and_stored(data: Path, tmp_path: Path) -> None:
    bundle = write_constant_bundle(tmp_path / "bundle")
    report = gd.validate(bundle, data, runtimes=["ort"])
    assert report.data.images == 2
    stored = gd.Bundle.read(bundle.path).evidence.accuracy
    assert stored is not None
    assert stored.data == report.data


def test_they_are_timed(data: Path, tmp_path: Path) -> None:
    bundle = write_constant_bundle(tmp_path / "bundle")
    report = gd.bench(bundle, data.parent / "images", threads=[1], duration_s=0.1, rounds=2)
    assert [row.status for row in report.rows] == ["measured"]


def test_a_verdict_depends_on_them(data: Path, tmp_path: Path) -> None:
    bundle = write_constant_bundle(tmp_path / "bundle")
    images = sorted((data.parent / "images").iterdir())
    keys = {comparison_key(bundle, each, RuntimeOptions()) for each in (images, images[:1], None)}
    assert len(keys) == 3


def test_they_are_calibrated_on(data: Path) -> None:
    found = collect_images(data.parent / "images", allow_small=True)
    assert len(found) == 2
    locations = [ImageLocation(path) for path in (data.parent / "images").iterdir()]
    assert len(ranked(locations, 0)) == 2

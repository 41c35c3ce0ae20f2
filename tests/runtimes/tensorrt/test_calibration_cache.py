"""TensorRT's calibration cache, against lines that TensorRT wrote."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghost_deploy.core.errors import ExportError, InputError, UsageError
from ghost_deploy.runtimes.tensorrt.calibration_cache import (
    FOREIGN_BUILDS,
    CalibrationCache,
    cache_header,
    read_calibration_cache,
    write_calibration_cache,
)

NATIVE = """TRT-100300-EntropyCalibration2
input_1:0: 3c010a14
conv1/convolution:0: 3d0b7086
(Unnamed Layer* 4) [Fully Connected]_output: 3d65992f
"""


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"\xff\xfe",
        b"images: 3c010a14\n",
        b"TRT-8503-EntropyCalibration2\nimages 3c010a14\n",
        b"TRT-8503-EntropyCalibration2\nimages: 0.0078\n",
        b"TRT-8503-EntropyCalibration2\nimages: 3c010a14f\n",
        b"TRT-8503-EntropyCalibration2\n",
        b"TRT-8503-EntropyCalibration2\nimages: bf800000\n",
        b"TRT-8503-EntropyCalibration2\nimages: 7f800000\n",
        b"TRT-8503-EntropyCalibration2\nimages: 7fc00000\n",
        b"TRT-8503-EntropyCalibration2\nimages: 3c010a14\nimages: 3c010a15\n",
        b"ONNX\nimages: 3c010a14\n",
        bytes(range(256)),
    ],
)
def test_what_is_no_cache(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.cache").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.cache"):
        read_calibration_cache(tmp_path / "x.cache")


def test_a_missing_cache(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_calibration_cache(tmp_path / "none")


def test_a_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_text(NATIVE + "broken\n")
    with pytest.raises(InputError, match=r"x:5 .*'broken'"):
        read_calibration_cache(tmp_path / "x")


def test_reading_what_tensorrt_wrote(tmp_path: Path) -> None:
    (tmp_path / "x").write_text(NATIVE)
    cache = read_calibration_cache(tmp_path / "x")
    assert (cache.number, cache.algorithm) == (100300, "EntropyCalibration2")
    assert list(cache.scales) == [
        "input_1:0",
        "conv1/convolution:0",
        "(Unnamed Layer* 4) [Fully Connected]_output",
    ]
    # Pixels from 0 to 1; TensorRT's calibrator ends at the middle of a bin, one of 2048.
    assert cache.scales["input_1:0"] == pytest.approx((1 + 0.5 / 2048) / 127, rel=1e-6)


def test_what_tensorrt_writes_for_zeros_and_twice(tmp_path: Path) -> None:
    """It prints digits without leading zeros, and a tensor under two layers."""
    text = "TRT-8503-EntropyCalibration2\nzeros: 0\na: 3c010a14\na: 3c010a14\nsmall: 10a14\n\n"
    (tmp_path / "x").write_text(text)
    cache = read_calibration_cache(tmp_path / "x")
    assert list(cache.scales) == ["zeros", "a", "small"]
    assert cache.scales["zeros"] == 0.0
    assert cache.to_bytes("8.5.3").decode() == text.replace("a: 3c010a14\n", "", 1).rstrip() + "\n"


@pytest.mark.parametrize("version", FOREIGN_BUILDS)
def test_one_for_each_device(version: str) -> None:
    first, _, rest = CalibrationCache({"a": 1.0}).to_bytes(version).partition(b"\n")
    assert first.decode() == cache_header(version)
    assert rest == b"a: 3f800000\n"


def test_writing_what_tensorrt_would_write(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text(NATIVE)
    write_calibration_cache(tmp_path / "y", read_calibration_cache(path).scales, version="10.3.0")
    assert (tmp_path / "y").read_text() == NATIVE


@pytest.mark.parametrize(
    ("version", "number"),
    [
        ("8.5.2", 8502),
        ("8.5.3.1", 8503),
        ("8.5.10", 8510),
        ("8.6.1", 8601),
        ("10.0.1", 100001),
        ("10.3.0", 100300),
        ("10.13.3.9", 101303),
    ],
)
def test_headers(version: str, number: int) -> None:
    assert cache_header(version) == f"TRT-{number}-EntropyCalibration2"
    assert cache_header(version, "MinMaxCalibration") == f"TRT-{number}-MinMaxCalibration"


@pytest.mark.parametrize(
    "version", ["", "8", "8.5", "7.2.3", "9.1.0", "11.4.0", "8.x.1", "8.100.0"]
)
def test_versions_without_such_a_cache(version: str) -> None:
    with pytest.raises(UsageError, match="TensorRT"):
        cache_header(version)


def test_an_unknown_algorithm() -> None:
    with pytest.raises(UsageError, match="Best"):
        cache_header("8.5.3", "Best")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "scales",
    [
        {"a": 0.0},
        {"a": -1.0},
        {"a": float("nan")},
        {"a": float("inf")},
        {"a": 1e39},
        {"a": 1e-45},
        {"": 1.0},
        {"a\nb": 1.0},
        {" a": 1.0},
    ],
)
def test_scales_that_cannot_be_written(scales: dict[str, float], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot hold"):
        write_calibration_cache(tmp_path / "x", scales)
    assert not list(tmp_path.iterdir())


names = st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1).filter(
    lambda name: name == name.strip()
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(names, st.floats(2.0**-126, 2.0**100, width=32), min_size=1))
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, scales: dict[str, float]
) -> None:
    path = tmp_path_factory.getbasetemp() / "round.cache"
    write_calibration_cache(path, scales, version="8.6.1")
    assert read_calibration_cache(path).scales == scales
    for line in path.read_text().splitlines()[1:]:
        name, _, digits = line.rpartition(": ")
        value = np.frombuffer(bytes.fromhex(digits.zfill(8)), ">f4")[0]
        assert value == np.float32(scales[name])


def test_a_full_disk_leaves_nothing_and_keeps_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_calibration_cache(tmp_path / "x", {"a": 1.0})
    before = (tmp_path / "x").read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ExportError, match="No space left"):
        write_calibration_cache(tmp_path / "x", {"a": 2.0})
    assert (tmp_path / "x").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["x"]

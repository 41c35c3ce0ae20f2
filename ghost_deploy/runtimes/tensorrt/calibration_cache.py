"""TensorRT's calibration cache: read and written, so that an implicit int8 build needs no images.

The file is text: a header that names the version of TensorRT and the algorithm, then a line for
each tensor with its scale, the largest magnitude over 127, as hexadecimal digits of a big-endian
float32:

    TRT-8502-EntropyCalibration2
    images: 3c010204

NVIDIA documents no format. This one was read off files that TensorRT 7.1 to 10.3 wrote and off
tools that read them: https://github.com/NVIDIA/TensorRT/issues/625, NVIDIA TAO's exporter, which
writes such files, and ONNX Runtime's TensorRT provider, whose `ReadDynamicRange` reads them.
`3c010204` is 1/127, the scale of pixels from 0 to 1; TensorRT's own entropy calibrator, which takes
the middle of the last of 2048 bins, writes `3c010a14`. It prints the digits without leading zeros:
the scale of a tensor that was always 0 is `0`. The number of the version is
`NV_TENSORRT_VERSION`: major * 1000 + minor * 100 + patch up to release 8, major * 10000 from 10 on
(8.5.3 is 8503, 10.3.0 is 100300).

A build ignores a cache with the header of another version or algorithm and calibrates with what
its calibrator feeds: nothing with ours, random numbers with `trtexec`. Tensors have the names that
they have in the ONNX graph. A tensor that is not listed runs in float. TensorRT 11 has no
calibrator any more.
"""

from __future__ import annotations

import math
import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from ghost_deploy.core.errors import InputError, UsageError
from ghost_deploy.core.files import MAX_TEXT_BYTES, read_regular, write_whole

CACHE_FILE = "model.int8.trtcache"
"""The cache in a bundle."""

FOREIGN_BUILDS = ("8.5.2", "8.5.3", "8.6.1", "8.6.2", "10.3.0", "10.7.0", "10.13.3", "10.16.2")
"""Versions of TensorRT that come with JetPack 5.1 to 7.2 and with DeepStream, for builds by other
tools. The first, where our package does not run, is the one that a bundle's cache is for; our own
builds put the version at hand into the header."""

Algorithm = Literal["EntropyCalibration2", "MinMaxCalibration"]
"""The calibrator class that the builder must be given: `IInt8EntropyCalibrator2`, which `trtexec
--calib` uses and which a DLA needs, or `IInt8MinMaxCalibrator`."""

_HEADER = re.compile(r"TRT-(\d+)-(\w+)")
# Names may hold colons themselves ("input_1:0"): the last one counts.
_LINE = re.compile(r"(.+): ([0-9a-fA-F]{1,8})")
_LARGEST = 3.4028234663852886e38  # of float32


@dataclass(frozen=True)
class CalibrationCache:
    """The content of a calibration cache.

    Attributes:
        scales: by tensor, in the order of the file; 0 for a tensor that was always 0.
        number: of the version of TensorRT, e.g. 8502 or 100300.
        algorithm: as the header names it.
    """

    scales: dict[str, float]
    number: int = 0
    algorithm: str = ""

    def to_bytes(self, version: str, algorithm: Algorithm = "EntropyCalibration2") -> bytes:
        """The file for a version of TensorRT and an algorithm; raises as `cache_header`."""
        lines = [f"{name}: {_digits(scale)}" for name, scale in self.scales.items()]
        return "\n".join([cache_header(version, algorithm), *lines, ""]).encode()


def cache_header(version: str, algorithm: Algorithm = "EntropyCalibration2") -> str:
    """The first line of a cache.

    Args:
        version: of TensorRT, `major.minor.patch` with more parts ignored; 8.0 to 10.x.
        algorithm: of the calibrator.

    Raises:
        UsageError: no such version or algorithm.
    """
    parts = version.split(".")[:3]
    numbers = [int(part) for part in parts if part.isdecimal()]
    ok = len(numbers) == 3 and numbers[0] in (8, 10) and max(numbers[1:]) < 100
    if not ok or algorithm not in get_args(Algorithm):
        raise UsageError(
            "no calibration cache can be written for this",
            got=f"TensorRT {version!r}, {algorithm!r}",
            expected=f"major.minor.patch of TensorRT 8 or 10, {' or '.join(get_args(Algorithm))}",
            fix="Name the version that `dpkg -l | grep nvinfer` shows on the device; "
            "TensorRT 11 takes the Q/DQ model instead",
        )
    major, minor, patch = numbers
    return f"TRT-{major * (1000 if major < 10 else 10_000) + minor * 100 + patch}-{algorithm}"


def write_calibration_cache(
    path: str | os.PathLike[str], scales: Mapping[str, float], *, version: str = FOREIGN_BUILDS[0]
) -> None:
    """Write the scales of symmetric ranges as a cache of the entropy calibrator.

    Args:
        path: of the file.
        scales: by tensor name, largest magnitude over 127.
        version: of TensorRT on the device; a cache is valid for exactly one.

    Raises:
        UsageError: no such version, or a scale or name that the format cannot hold.
        ExportError: the file cannot be written.
    """
    for name, scale in scales.items():
        if not name or "\n" in name or "\r" in name or name != name.strip():
            raise _unusable(name, "a name of one line")
        # 2**-126: the smallest that float32 holds in full.
        if not 2.0**-126 <= scale <= _LARGEST:
            raise _unusable(f"{name}: {scale}", "a scale above zero that float32 can hold")
    data = CalibrationCache(dict(scales)).to_bytes(version)
    write_whole(Path(path), lambda file: file.write(data))


def read_calibration_cache(path: str | os.PathLike[str]) -> CalibrationCache:
    """Read a calibration cache, TensorRT's or ours.

    A tensor may be listed twice with one scale, and have the scale 0, as in files that TensorRT
    wrote. A file without any tensor is refused: all of the model would run in float.

    Raises:
        InputError: it cannot be read or is no such file; the line is named.
    """
    name = os.fspath(path)
    try:
        lines = read_regular(path, MAX_TEXT_BYTES).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"the calibration cache {name} cannot be read", got=str(error), fix="Check the path"
        ) from error
    first = _HEADER.fullmatch(lines[0].strip()) if lines else None
    if first is None:
        raise _damaged(name, 1, lines, "TRT-8502-EntropyCalibration2 or alike")
    scales: dict[str, float] = {}
    for index, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        found = _LINE.fullmatch(line.strip())
        scale = _scale(found[2]) if found else math.nan
        if found is None or not scale >= 0 or scales.get(found[1], scale) != scale:
            raise _damaged(name, index, lines, "a tensor's `name: 3c010204`, one scale for each")
        scales[found[1]] = scale
    if not scales:
        raise _damaged(name, len(lines), lines, "a tensor's `name: 3c010204` after it")
    return CalibrationCache(scales, int(first[1]), first[2])


def _scale(digits: str) -> float:
    """The float32 of hexadecimal digits; NaN for one that is not finite."""
    (scale,) = struct.unpack(">f", bytes.fromhex(digits.zfill(8)))
    return float(scale) if math.isfinite(scale) else math.nan


def _digits(scale: float) -> str:
    return f"{int.from_bytes(struct.pack('>f', scale), 'big'):x}"


def _unusable(got: str, expected: str) -> UsageError:
    return UsageError(
        "a calibration cache cannot hold this",
        got=repr(got),
        expected=expected,
        fix="Rename the tensor or correct its range",
    )


def _damaged(name: str, index: int, lines: list[str], expected: str) -> InputError:
    return InputError(
        f"{name}:{index} is no line of a TensorRT calibration cache",
        got=repr(lines[index - 1][:80]) if lines else "an empty file",
        expected=expected,
        fix="Make it with: ghost-deploy calibrate BUNDLE --calib FOLDER",
    )

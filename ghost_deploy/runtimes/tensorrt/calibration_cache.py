"""The calibration cache that a legacy calibrator hands over: text, one activation range a line.

The first line names a TensorRT version and an algorithm; every other is `tensor: hhhhhhhh`, the
bits of a float32 scale in hexadecimal, big endian.
"""

from __future__ import annotations

import math
import re
import struct
from pathlib import Path

from ghost_deploy.core.errors import BundleError

__all__ = ["read_scales"]

_HEADER = re.compile(rb"TRT-\d+-\w+")
_LINE = re.compile(rb"(.+): ([0-9a-fA-F]{1,8})")


def read_scales(path: Path) -> bytes:
    """The content of a cache, after every line was looked at.

    Raises:
        BundleError: no such file, no cache, or a scale that is not a positive number.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error
    header, *lines = data.splitlines() or [b""]
    if not _HEADER.fullmatch(header.strip()):
        raise _unusable(path, f"first line {header[:40]!r}")
    scales = [_scale(line, path) for line in lines if line.strip()]
    if not scales:
        raise _unusable(path, "no scale in it")
    return data


def _scale(line: bytes, path: Path) -> float:
    match = _LINE.fullmatch(line.strip())
    if match is None:
        raise _unusable(path, f"line {line[:60]!r}")
    (scale,) = struct.unpack(">f", bytes.fromhex(match[2].decode().zfill(8)))
    if not (math.isfinite(scale) and scale > 0):
        raise _unusable(path, f"scale {scale} of {match[1][:60]!r}")
    return float(scale)


def _unusable(path: Path, got: str) -> BundleError:
    return BundleError(
        f"{path} is no calibration cache of TensorRT",
        got=got,
        expected="a line TRT-VERSION-ALGORITHM, then lines `tensor: hhhhhhhh`",
        fix="Make it with: ghost-deploy calibrate BUNDLE --calib FOLDER",
    )

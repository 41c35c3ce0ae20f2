"""File of the statistics of tensors, with a key of the model, images and preprocessing."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from ghost_deploy.calib.ranges.histogram import TensorStatistics
from ghost_deploy.core.errors import InputError
from ghost_deploy.core.files import read_regular, write_whole

_MAGIC = b"ghost-deploy statistics 1\n"
"""How a file starts; the sha256 of the rest follows, then the rest: zlib over MessagePack."""

_MAX_BYTES = 256 << 20
"""Of a file, and of its content unpacked: a network of 300 tensors needs 5 MiB."""

_PARTS = {
    "model": "another model",
    "images": "other images",
    "preprocessing": "another preprocessing",
    "tensors": "other tensors",
    "collector": "another version of the collector",
}


class StatisticsKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What statistics depend on.

    Attributes:
        model: sha256 of the graph and its weights, without metadata.
        images: fingerprint of the calibration set.
        preprocessing: fingerprint of the preprocessing.
        tensors: sha256 of the names of the tensors.
        collector: version of the code that collects.
    """

    model: str
    images: str
    preprocessing: str
    tensors: str
    collector: int

    @property
    def digest(self) -> str:
        """sha256 over all of it, in hexadecimal."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()

    def differences(self, other: StatisticsKey) -> list[str]:
        """The parts in which `other` differs, in words."""
        return [
            words for part, words in _PARTS.items() if getattr(self, part) != getattr(other, part)
        ]


@dataclass(frozen=True)
class Statistics:
    """The distributions of a model's tensors over a calibration set.

    Attributes:
        key: model, images and preprocessing.
        tensors: by tensor name, in the order of the graph.
        images: number of images.
        notes: remarks, e.g. on a damaged cache; not stored.
    """

    key: StatisticsKey
    tensors: Mapping[str, TensorStatistics]
    images: int
    notes: tuple[str, ...] = ()

    def save(self, path: Path) -> None:
        """Write a file atomically.

        Raises:
            ExportError: it cannot be written; an older file is unchanged.
        """
        entries = {name: _Entry.of(stats) for name, stats in self.tensors.items()}
        content = msgspec.msgpack.encode(_Content(self.key, self.images, entries))
        packed = zlib.compress(content, level=1)
        data = _MAGIC + hashlib.sha256(packed).digest() + packed
        write_whole(path, lambda file: file.write(data))

    @classmethod
    def load(cls, path: Path, *, expected: StatisticsKey | None = None) -> Statistics:
        """Read what `save` wrote.

        Args:
            path: the file.
            expected: the key that the statistics must have.

        Raises:
            InputError: the file cannot be read or is damaged, or its key is not `expected`.
        """
        content = _read(path)
        tensors = {name: entry.statistics() for name, entry in content.tensors.items()}
        statistics = cls(content.key, tensors, content.images)
        if expected is not None and statistics.key != expected:
            raise InputError(
                f"the statistics in {path} do not belong to this calibration",
                got=", ".join(statistics.key.differences(expected)),
                expected="the same model, images and preprocessing",
                fix="Collect them again",
            )
        return statistics


class _Entry(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """The stored form of `TensorStatistics`; the counts are little-endian int64."""

    count: int
    minimum: float
    maximum: float
    exponent: int
    first: int
    counts: bytes

    @classmethod
    def of(cls, stats: TensorStatistics) -> _Entry:
        counts = stats.counts.astype("<i8").tobytes()
        return cls(stats.count, stats.minimum, stats.maximum, stats.exponent, stats.first, counts)

    def statistics(self) -> TensorStatistics:
        counts = np.frombuffer(self.counts, "<i8").astype(np.int64)
        return TensorStatistics(
            self.count, self.minimum, self.maximum, self.exponent, self.first, counts
        )


class _Content(msgspec.Struct, forbid_unknown_fields=True):
    key: StatisticsKey
    images: int
    tensors: dict[str, _Entry]


def _read(path: Path) -> _Content:
    """The content of a file, decoded only if its checksum is right."""
    try:
        data = read_regular(path, _MAX_BYTES)
    except OSError as error:
        raise InputError(
            f"the statistics {path} cannot be read", got=error.strerror, fix="Check the path"
        ) from error
    start = len(_MAGIC) + hashlib.sha256().digest_size
    packed = data[start:]
    if data[:start] != _MAGIC + hashlib.sha256(packed).digest():
        raise _damaged(path, "another checksum than its own, or another kind of file")
    try:
        content = zlib.decompressobj().decompress(packed, _MAX_BYTES)
        return msgspec.msgpack.decode(content, type=_Content)
    except (zlib.error, msgspec.DecodeError, RecursionError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, got: str) -> InputError:
    return InputError(
        f"the statistics {path} are damaged or of another version",
        got=got,
        fix="Delete the file: they are collected again",
    )

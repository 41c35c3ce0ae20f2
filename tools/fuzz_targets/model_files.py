"""Checkpoints, and what is kept beside a model."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

import numpy as np

import ghost_deploy as gd
from tools.fuzz_targets.target import SIDE, Target


class CheckpointTarget(Target):
    """A checkpoint as torch writes it, and one of ours, looked into."""

    name = "checkpoint"
    tokens = (
        b"cos\nsystem\n",
        b"cbuiltins\neval\n",
        b"\x80\x04",
        b"(",
        b"R",
        b"b",
        b".",
        b"2",
        b"0",
        b"j\xff\xff\xff\x7f",
        b"]",
        b"}",
        b"\x85",
        b"Q",
        b"\x94",
        b"PK\x01\x02",
        b"PK\x05\x06",
    )

    def make(self) -> Sequence[bytes]:
        import torch
        from torch import nn

        from ghost_deploy.demo.embedded import MODEL_FILE

        found = []
        for stored in (
            {"model": {"a": torch.zeros(3, 4)}, "epoch": 3},
            nn.Sequential(nn.Conv2d(3, 4, 1)),
        ):
            buffer = io.BytesIO()
            torch.save(stored, buffer)
            found.append(buffer.getvalue())
        # The header, and too few weights: each case must be short.
        return [*found, MODEL_FILE.read_bytes()[:200_000]]

    def run(self, data: bytes) -> object:
        (self.folder / "best.pt").write_bytes(data)
        found = gd.inspect(self.folder / "best.pt")
        return not isinstance(found, gd.Bundle) and bool(found.exportable)


class StatisticsTarget(Target):
    """Statistics of a calibration, which carry a hash."""

    name = "statistics"
    exact = True

    def make(self) -> Sequence[bytes]:
        from ghost_deploy.calib.ranges.histogram import TensorStatistics
        from ghost_deploy.calib.ranges.statistics_file import Statistics, StatisticsKey

        key = StatisticsKey(model="m", images="i", preprocessing="p", tensors="t", collector=1)
        values = np.random.default_rng(0).normal(0, 3, 5000).astype(np.float32)
        Statistics(key, {"a": TensorStatistics.of(values)}, 3).save(self.folder / "s")
        return [(self.folder / "s").read_bytes()]

    def run(self, data: bytes) -> object:
        from ghost_deploy.calib.ranges.statistics_file import Statistics

        (self.folder / "s").write_bytes(data)
        found = Statistics.load(self.folder / "s")
        one = found.tensors["a"]
        return found.key, found.images, one.count, one.minimum, one.maximum, one.counts.tobytes()


class CalibrationCacheTarget(Target):
    """A calibration cache for TensorRT."""

    name = "trtcache"
    tokens = (
        b"TRT-",
        b"EntropyCalibration2",
        b": ",
        b"7f800000",
        b"\n",
        b"\x00",
        b"zz",
        b"f" * 5000,
    )

    def make(self) -> Sequence[bytes]:
        return [b"TRT-100300-EntropyCalibration2\nimages: 3c010a14\noutput0: 3f000000\n"]

    def run(self, data: bytes) -> object:
        from ghost_deploy.runtimes.tensorrt.calibration_cache import read_calibration_cache

        (self.folder / "c").write_bytes(data)
        return len(read_calibration_cache(self.folder / "c").scales)


class ModelCacheTarget(Target):
    """OpenVINO's compiled model in the cache: what it computes is what it computed."""

    name = "model-cache"
    exact = True

    def make(self) -> Sequence[bytes]:
        from ghost_deploy.runtimes.base import RuntimeOptions
        from tests.support.constant_model import write_constant_onnx

        self._model = write_constant_onnx(self.folder / "m.onnx")
        self._options = RuntimeOptions(cache_dir=self.folder / "cache")
        self._infer()
        self._blob = max((self.folder / "cache").rglob("*.blob"), key=lambda p: p.stat().st_size)
        return [self._blob.read_bytes()]

    def _infer(self) -> bytes:
        from ghost_deploy.runtimes.openvino import open_model

        image = np.full((1, 3, SIDE, SIDE), 0.5, np.float32)
        with contextlib.closing(open_model(self._model, self._options)) as runtime:
            return b"".join(each.tobytes() for each in runtime.run({"images": image}).values())

    def run(self, data: bytes) -> object:
        self._blob.write_bytes(data)
        return self._infer()

"""Builds of engines with the fake TensorRT: a GPU, a calibration cache, build settings."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from ghost_deploy.core.spec import InputSpec
from ghost_deploy.runtimes.tensorrt import compat
from ghost_deploy.runtimes.tensorrt.build_progress import BuildProgress
from ghost_deploy.runtimes.tensorrt.calibration_cache import CalibrationCache
from ghost_deploy.runtimes.tensorrt.engine_builder import BuildSettings, BuiltEngine, build_plan
from ghost_deploy.runtimes.tensorrt.fingerprint import GpuInfo
from ghost_deploy.runtimes.tensorrt.input_shapes import InputShapes
from ghost_deploy.runtimes.tensorrt.logger import TensorrtLog
from ghost_deploy.runtimes.tensorrt.precision_route import ROUTES
from tests.support.fake_tensorrt import Control, make_fake

ONNX = b"an ONNX file"
ORIN = GpuInfo("Orin", "8.7", "12.6", 6 << 30, 8 << 30, integrated=True)
CACHE = CalibrationCache({"images": (1 + 0.5 / 2048) / 127, "c": 0.0315})
CACHE_BYTES = CACHE.to_bytes("8.5.3")
STATIC = InputSpec(size_hw=(64, 64))
DYNAMIC = InputSpec(size_hw=(64, 64), batch=(1, 4), min_hw=(32, 32), max_hw=(128, 96))


def install(version: str, patch: pytest.MonkeyPatch) -> tuple[ModuleType, Control]:
    """The fake of a version in the place of the package, and the test's side of it."""
    fake = make_fake(version)
    patch.setitem(sys.modules, "tensorrt", fake)
    return fake, fake.__fake__


def make_settings(
    route: str = "fp32", input_spec: InputSpec = STATIC, **changes: Any
) -> BuildSettings:
    """Settings to build `ONNX`."""
    facts: dict[str, Any] = {
        "onnx": ONNX,
        "what": "model.onnx",
        "route": ROUTES[route],
        "shapes": InputShapes.of(input_spec),
        "workspace_bytes": 256 << 20,
    }
    return BuildSettings(**{**facts, **changes})


def build(
    settings: BuildSettings, log: TensorrtLog | None = None, progress: BuildProgress | None = None
) -> BuiltEngine:
    """Build with the TensorRT that is installed."""
    silent = BuildProgress(lambda what, done, total: None)
    return build_plan(compat.load(), settings, log or TensorrtLog(), progress or silent)

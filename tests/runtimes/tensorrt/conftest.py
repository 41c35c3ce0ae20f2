"""The strict fake of every TensorRT version in the place of the package."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from tests.support.fake_tensorrt import VERSIONS, make_fake


@pytest.fixture(params=VERSIONS)
def fake_trt(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The fake of each version in turn, importable as `tensorrt`."""
    fake = make_fake(request.param)
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    return fake

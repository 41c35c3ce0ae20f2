"""FakeRuntime returns the given detections."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import BackendError, UsageError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.runtimes import fake
from ghost_deploy.runtimes.fake import FakeRuntime
from tests.support.model_specs import make_spec

SIZE_HW = (64, 96)
FOUND = Detections([[8, 8, 40, 24], [2.5, 30, 10, 63]], [0.9, 0.4], [1, 0])


def zeros(*shape: int) -> dict[str, Any]:
    return {"images": np.zeros(shape, np.float32)}


def test_boxes_as_a_dfl_output() -> None:
    with FakeRuntime.for_spec(make_spec(SIZE_HW), FOUND) as runtime:
        raw = runtime.run(zeros(1, 3, 64, 96))["output0"]
        assert raw.shape == runtime.outputs[0].shape == (1, 7, 126)
    assert raw.dtype == np.float32
    np.testing.assert_array_equal(raw[0, :4, 0], [24, 16, 32, 16])
    np.testing.assert_array_equal(raw[0, 4:, :2].T, np.float32([[0, 0.9, 0], [0.4, 0, 0]]).tolist())
    assert not raw[0, :, 2:].any()


def test_boxes_as_a_one2one_output() -> None:
    with FakeRuntime.for_spec(make_spec(SIZE_HW, decoder="one2one"), FOUND) as runtime:
        raw = runtime.run(zeros(1, 3, 64, 96))["output0"]
        assert raw.shape == runtime.outputs[0].shape == (1, 300, 6)
    np.testing.assert_array_equal(raw[0, 0], np.float32([8, 8, 40, 24, 0.9, 1]))
    assert not raw[0, 2:].any()


@pytest.mark.parametrize("decoder", ["dfl", "one2one"])
def test_nothing_found(decoder: str) -> None:
    with FakeRuntime.for_spec(make_spec(SIZE_HW, decoder=decoder), Detections.empty()) as runtime:
        assert not runtime.run(zeros(1, 3, 64, 96))["output0"].any()


def test_a_dynamic_spec() -> None:
    dynamic = make_spec(SIZE_HW, batch=(1, 4), min_hw=(32, 32), max_hw=(128, 128))
    with FakeRuntime.for_spec(dynamic, FOUND) as runtime:
        assert runtime.inputs[0].shape == (-1, 3, -1, -1)
        assert runtime.outputs[0].shape == (-1, 7, -1)
        raw = runtime.run(zeros(3, 3, 64, 64))["output0"]
        assert raw.shape == (3, 7, 84)
        np.testing.assert_array_equal(raw[0], raw[2])


def test_a_function_of_the_feeds() -> None:
    def function(feeds: Any) -> Any:
        return {"output0": np.full((1, 7, 126), feeds["images"].max())}

    with FakeRuntime.for_spec(make_spec(SIZE_HW), function) as runtime:
        assert runtime.run({"images": np.ones((1, 3, 64, 96), np.float32)})["output0"][0, 0, 0] == 1


def test_dfl_raw_needs_a_function() -> None:
    with pytest.raises(UsageError, match="Pass a function"):
        FakeRuntime.for_spec(make_spec(SIZE_HW, decoder="dfl-raw"), FOUND)


def test_the_spec_is_its_metadata() -> None:
    with FakeRuntime.for_spec(make_spec(SIZE_HW), FOUND) as runtime:
        assert ModelSpec.from_json(runtime.metadata()[ModelSpec.Json]) == make_spec(SIZE_HW)


@pytest.mark.parametrize("broken", [lambda feeds: 1 / 0, lambda feeds: {}])
def test_a_failing_function(broken: Any) -> None:
    with FakeRuntime.for_spec(make_spec(SIZE_HW), broken) as runtime, pytest.raises(BackendError):
        runtime.run(zeros(1, 3, 64, 96))


def test_more_boxes_than_places() -> None:
    many = Detections(np.zeros((301, 4)), np.ones(301), np.zeros(301))
    with (
        FakeRuntime.for_spec(make_spec(SIZE_HW, decoder="one2one"), many) as runtime,
        pytest.raises(BackendError, match="function of a FakeRuntime"),
    ):
        runtime.run(zeros(1, 3, 64, 96))


def test_the_documented_examples() -> None:
    result = doctest.testmod(fake)
    assert result.failed == 0
    assert result.attempted > 0

from __future__ import annotations

import numpy as np
import pytest

from ghost_deploy.calib.forms import int8_form
from ghost_deploy.calib.graph.index import index_float
from ghost_deploy.calib.graph.structure import Structure, find_structure
from ghost_deploy.calib.quantize.conventions import PlacementOptions
from ghost_deploy.calib.quantize.scales import QuantParams, activation_scales, input_range
from ghost_deploy.calib.ranges.histogram import TensorStatistics
from ghost_deploy.calib.ranges.methods import METHODS, Method
from ghost_deploy.core.errors import InputError
from ghost_deploy.core.spec import InputSpec
from tests.support.int8_forms import place
from tests.support.small_graphs import ghost_net, random_inputs, statistics_of


@pytest.fixture(scope="module")
def structure() -> Structure:
    return find_structure(index_float(ghost_net()))


@pytest.fixture(scope="module")
def statistics() -> dict[str, TensorStatistics]:
    return statistics_of(ghost_net(), random_inputs())


def test_a_tensor_without_statistics_is_named(structure: Structure) -> None:
    with pytest.raises(InputError, match="images"):
        activation_scales(
            structure, place(structure, "tensorrt", PlacementOptions()), {}, method="minmax"
        )


@pytest.mark.parametrize(
    ("spec", "low", "high"),
    [
        (InputSpec(size_hw=(32, 32)), 0.0, 1.0),
        (InputSpec(size_hw=(32, 32), mean=(0.5, 0.25, 0.5), std=(0.5, 0.5, 1.0)), -1.0, 1.5),
    ],
)
def test_the_range_of_pixels_is_known(spec: InputSpec, low: float, high: float) -> None:
    assert input_range(spec) == {"images": (low, high)}


def test_a_graph_that_takes_pixels_rounds_no_input() -> None:
    assert input_range(InputSpec(size_hw=(32, 32), layout="nhwc", dtype="uint8")) == {}


@pytest.mark.parametrize(
    ("form", "low", "high", "scale", "zero_point"),
    [
        ("tensorrt", -1.0, 4.0, 4 / 127, 0),
        ("tensorrt", 0.0, 0.0, 2**-24, 0),
        ("openvino", -1.0, 4.1, 5.1 / 255, 50),
        ("ort-x86", 0.0, 5.1, 5.1 / 255, 0),
        ("ort-arm", 0.0, 5.1, 5.1 / 255, -128),
        ("ort-arm", -5.1, 0.0, 5.1 / 255, 127),
    ],
)
def test_levels_are_spread_over_the_range(
    form: str, low: float, high: float, scale: float, zero_point: int
) -> None:
    found = QuantParams.of(low, high, int8_form(form).convention)
    assert found.scale == pytest.approx(scale, rel=1e-6)
    assert found.scale == float(np.float32(found.scale))
    assert found.zero_point == zero_point


def test_a_group_has_the_range_that_holds_all_its_members(
    structure: Structure, statistics: dict[str, TensorStatistics]
) -> None:
    placement = place(structure, "tensorrt", PlacementOptions())
    found = activation_scales(structure, placement, statistics, method="minmax")
    assert found.keys() == placement.reads.keys()
    members = ("one.primary.mul:out", "one.concat:out")
    assert found[members[0]] == found[members[1]]
    largest = max(max(-statistics[m].minimum, statistics[m].maximum) for m in members)
    assert found[members[0]].scale == pytest.approx(largest / 127, rel=1e-6)


def test_a_known_range_is_used(
    structure: Structure, statistics: dict[str, TensorStatistics]
) -> None:
    placement = place(structure, "tensorrt", PlacementOptions())
    found = activation_scales(
        structure, placement, statistics, method="minmax", ranges={"images": (-2.54, 2.54)}
    )
    assert found["images"].scale == pytest.approx(0.02, rel=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_in_front_of_a_rounded_silu_far_negative_values_are_clipped(
    structure: Structure, statistics: dict[str, TensorStatistics], method: Method
) -> None:
    placement = place(structure, "ort-x86", PlacementOptions())
    values = np.linspace(-40, 4, 20_000, dtype=np.float32)
    wide = {**statistics, "first:out": TensorStatistics.of(values)}
    scales = activation_scales(structure, placement, wide, method=method)
    chosen = scales["first:out"]
    plain = QuantParams.of(-40, 4, int8_form("ort-x86").convention)

    def error(q: QuantParams) -> float:
        levels = np.clip(np.rint(values / q.scale) + q.zero_point, 0, 255) - q.zero_point
        return float(np.square(silu(levels * q.scale) - silu(values)).mean())

    assert error(chosen) < error(plain) / 4
    sigmoid = scales["first.sigmoid:out"]
    assert (sigmoid.scale, sigmoid.zero_point) == (pytest.approx(1 / 255), 0)


def silu(x: np.ndarray) -> np.ndarray:
    result: np.ndarray = x / (1 + np.exp(-x.astype(np.float64)))
    return result

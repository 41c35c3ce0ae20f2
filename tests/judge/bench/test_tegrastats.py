from __future__ import annotations

import pytest

from ghost_deploy.judge.bench.tegrastats import Rail, TegraSample, parse_line
from tests.support import tegrastats_lines as lines


@pytest.mark.parametrize("line", ["", "\n", "sh: tegrastats: not found", "RAM", "CPU [1%@102]"])
def test_what_is_no_line_of_tegrastats(line: str) -> None:
    assert parse_line(line) is None


@pytest.mark.parametrize(
    ("line", "gpu", "watts", "hottest", "rails"),
    [
        (lines.JP4_NANO, 0, None, 100.0, 3),
        (lines.JP5_XAVIER_NX, 0, 2.763, 50.0, 3),
        (lines.JP5_AGX_ORIN, 0, 6.755, 44.562, 6),
        (lines.JP6_ORIN_NANO, 99, 16.321, 58.625, 3),
        (lines.JP6_AGX_ORIN, 0, 8.726, 52.562, 3),
        (lines.JP71_THOR_IDLE, None, None, 34.5, 3),
        (lines.JP72_AGX_ORIN, 12, 13.907, 52.968, 3),
        (lines.JP72_THOR, 87, 124.486, 66.625, 3),
    ],
    ids=["4 Nano", "5 NX", "5 AGX", "6 Nano", "6 AGX", "7.1 Thor", "7.2 AGX", "7.2 Thor"],
)
def test_releases(
    line: str, gpu: int | None, watts: float | None, hottest: float, rails: int
) -> None:
    found = parse_line(line + "\n")
    assert found is not None
    assert found.gpu_load == gpu
    assert found.total_watts == (None if watts is None else pytest.approx(watts))
    assert max(found.temperatures.values()) == hottest
    assert len(found.rails) == rails


def test_the_momentary_power_counts_not_the_mean_since_the_start() -> None:
    found = parse_line(lines.JP72_THOR)
    assert found is not None
    assert found.rails == (
        Rail("VDD_GPU", 37939),
        Rail("VDD_CPU_SOC_MSS", 30059),
        Rail("VIN", 124486),
    )
    assert [rail.name for rail in found.total_rails] == ["VIN"]


def test_names_may_repeat_and_sensors_may_be_off() -> None:
    found = parse_line(lines.JP5_AGX_ORIN)
    assert found is not None
    assert [rail.name for rail in found.rails].count("NC") == 2
    assert "gpu" not in found.temperatures
    assert "cv0" not in found.temperatures
    assert found.temperatures["tboard"] == 32.0


def test_a_board_without_a_gpu_clock() -> None:
    found = parse_line("RAM 1/2MB CPU [3%] GR3D_FREQ 41% VDD_CPU 3mW/3mW")
    assert found == TegraSample(gpu_load=41, rails=(Rail("VDD_CPU", 3),))
    assert found.total_rails == ()

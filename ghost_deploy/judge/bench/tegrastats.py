"""The output of a Jetson's `tegrastats`, from JetPack 5 to 7.

The forms, with the releases that use them, are in `tests/support/tegrastats_lines.py`.
"""

from __future__ import annotations

import re

import msgspec

_RAM = re.compile(r"\bRAM \d+/\d+MB")
# `87%`, `87%@612`, `87%@[1574,1574]`; an idle Thor reports no load: `@[0,0,0]`.
_GPU_LOAD = re.compile(r"\bGR3D_FREQ (\d+)%")
# `GPU@45.5C` (5), `gpu@58.625C` (6), `gpu@56.937C/66.625C` with the maximum (7.2).
_TEMPERATURE = re.compile(r"\b(\w+)@(-?\d+(?:\.\d+)?)C\b")
# `VDD_IN 2763mW/2846mW`, from 7.2 on with a maximum, before 5 without a unit. The second value
# is the mean since tegrastats was started, so the first is the one to take.
_RAIL = re.compile(r"\b([A-Z]\w*) (\d+)(?:mW)?/\d+(?:mW)?(?:/\d+(?:mW)?)?(?=\s|$)")

_SENSOR_OFF = -256.0
_TOTAL_RAILS = (("VDD_IN",), ("VIN",), ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"))
"""The rails that measure the whole board: one on Orin NX, Orin Nano and Xavier NX; one on Thor from
JetPack 7.2 on; three together on AGX Orin."""


class Rail(msgspec.Struct, frozen=True):
    """A supply and its momentary power in milliwatts. Names may occur twice."""

    name: str
    milliwatts: int


class TegraSample(msgspec.Struct, frozen=True, kw_only=True):
    """One line of tegrastats.

    Attributes:
        gpu_load: in per cent; None where the line reports none.
        temperatures: degrees Celsius by sensor, in lower case, without sensors that are off.
        rails: in the order of the line.
    """

    gpu_load: int | None = None
    temperatures: dict[str, float] = {}
    rails: tuple[Rail, ...] = ()

    @property
    def total_rails(self) -> tuple[Rail, ...]:
        """The rails whose sum is the power of the board; empty where it has none of them."""
        by_name = {rail.name: rail for rail in reversed(self.rails)}  # the first of a name wins
        for names in _TOTAL_RAILS:
            if by_name.keys() >= set(names):
                return tuple(by_name[name] for name in names)
        return ()

    @property
    def total_watts(self) -> float | None:
        """Power of the board; None where it is not measured."""
        rails = self.total_rails
        return sum(rail.milliwatts for rail in rails) / 1000 if rails else None


def parse_line(line: str) -> TegraSample | None:
    """Read one line; None if it is not a line of tegrastats."""
    if _RAM.search(line) is None:
        return None
    load = _GPU_LOAD.search(line)
    temperatures = {
        name.lower(): float(value)
        for name, value in _TEMPERATURE.findall(line)
        if float(value) != _SENSOR_OFF
    }
    return TegraSample(
        gpu_load=int(load[1]) if load else None,
        temperatures=temperatures,
        rails=tuple(Rail(name, int(value)) for name, value in _RAIL.findall(line)),
    )

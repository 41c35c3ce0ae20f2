"""What a Jetson's `tegrastats` prints, from JetPack 5 to 7.

The forms, with the releases that use them, are those of the lines in `tests/bench`.
"""

from __future__ import annotations

import re

import msgspec

_RAM = re.compile(r"\bRAM (\d+)/(\d+)MB")
_CPU = re.compile(r"\bCPU \[([^\]]*)\]")
_LOAD = re.compile(r"(\d+)%")
# `87%`, `87%@612`, `87%@[1574,1574]`, and `@[0,0,0]` of an idle Thor, without load.
_GPU = re.compile(r"\bGR3D_FREQ (?:(\d+)%)?(?:@(?:\[([\d,]*)\]|(\d+)))?")
# `GPU@45.5C` (5), `gpu@58.625C` (6), `gpu@56.937C/66.625C` with the maximum (7.2).
_TEMPERATURE = re.compile(r"\b(\w+)@(-?\d+(?:\.\d+)?)C\b")
# `VDD_IN 2763mW/2846mW`, from 7.2 on with a maximum, before 5 without a unit. The second value
# is the mean since tegrastats was started, so the first is the one to take.
_RAIL = re.compile(r"\b([A-Z]\w*) (\d+)(?:mW)?/\d+(?:mW)?(?:/\d+(?:mW)?)?(?=\s|$)")

_SENSOR_OFF = -256.0
_TOTAL_RAILS = (("VDD_IN",), ("VIN",), ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"))
"""What measures the whole board: one rail on Orin NX, Orin Nano and Xavier NX; one on Thor from
JetPack 7.2 on; three together on AGX Orin."""


class Rail(msgspec.Struct, frozen=True):
    """A supply and its momentary power in milliwatts. Names may occur twice."""

    name: str
    milliwatts: int


class TegraSample(msgspec.Struct, frozen=True, kw_only=True):
    """One line of tegrastats.

    Attributes:
        ram_used_mb, ram_total_mb: memory that CPU and GPU share.
        cpu_load: per core in per cent; None for a core that is off.
        gpu_load: in per cent; None where the line does not tell, which is not 0.
        gpu_mhz: clock of each graphics cluster.
        temperatures: degrees Celsius by sensor, in lower case, without sensors that are off.
        rails: in the order of the line.
    """

    ram_used_mb: int
    ram_total_mb: int
    cpu_load: tuple[int | None, ...] = ()
    gpu_load: int | None = None
    gpu_mhz: tuple[int, ...] = ()
    temperatures: dict[str, float] = {}
    rails: tuple[Rail, ...] = ()

    @property
    def total_rails(self) -> tuple[Rail, ...]:
        """The rails whose sum is the power of the board; none where this board reports no total."""
        by_name = {rail.name: rail for rail in reversed(self.rails)}  # the first of a name wins
        for names in _TOTAL_RAILS:
            if by_name.keys() >= set(names):
                return tuple(by_name[name] for name in names)
        return ()

    @property
    def total_watts(self) -> float | None:
        """Power of the board; None where it is not reported."""
        rails = self.total_rails
        return sum(rail.milliwatts for rail in rails) / 1000 if rails else None


def parse_line(line: str) -> TegraSample | None:
    """Read one line; None if it is none of tegrastats."""
    ram = _RAM.search(line)
    if ram is None:
        return None
    cpu, gpu = _CPU.search(line), _GPU.search(line)
    clocks = (gpu[2] or gpu[3] or "") if gpu else ""
    temperatures = {
        name.lower(): float(value)
        for name, value in _TEMPERATURE.findall(line)
        if float(value) != _SENSOR_OFF
    }
    return TegraSample(
        ram_used_mb=int(ram[1]),
        ram_total_mb=int(ram[2]),
        cpu_load=tuple(map(_core, cpu[1].split(","))) if cpu else (),
        gpu_load=int(gpu[1]) if gpu and gpu[1] else None,
        gpu_mhz=tuple(int(clock) for clock in clocks.split(",") if clock),
        temperatures=temperatures,
        rails=tuple(Rail(name, int(value)) for name, value in _RAIL.findall(line)),
    )


def _core(text: str) -> int | None:
    load = _LOAD.match(text.strip())
    return int(load[1]) if load else None

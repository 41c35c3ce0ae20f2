"""The machine of a measurement."""

from __future__ import annotations

import hashlib

import msgspec

from ghost_deploy.core.evidence.json_document import Part


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The machine that a figure or a compiled model belongs to; unknown facts are empty or 0.

    Attributes:
        system: operating system and kernel.
        distribution: the `PRETTY_NAME` of the distribution.
        architecture: e.g. `x86_64`, `aarch64`.
        cpu: model of the processor.
        cpus: logical processors that this process may use.
        cpu_flags: instruction sets that matter for inference, sorted.
        memory_bytes, memory_available_bytes: RAM.
        board: name of an embedded board.
        jetson: release line of a Jetson's L4T.
        nvidia_driver: version of the NVIDIA kernel driver.
        nvidia_gpus: names of the discrete NVIDIA GPUs.
    """

    system: str
    architecture: str
    cpus: int
    distribution: str = ""
    cpu: str = ""
    cpu_flags: tuple[str, ...] = ()
    memory_bytes: int = 0
    memory_available_bytes: int = 0
    board: str = ""
    jetson: str = ""
    nvidia_driver: str = ""
    nvidia_gpus: tuple[str, ...] = ()

    @property
    def cpu_key(self) -> str:
        """Short name that two processors share only if they have one model and one set of flags."""
        text = "\n".join((self.architecture, self.cpu, *self.cpu_flags))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


class Snapshot(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The machine and the time of a measurement; unknown facts are empty, 0 or None.

    Attributes:
        measured_at: UTC, ISO 8601.
        machine: hardware and system.
        cpu_quota: whole CPUs that a container may use; 0 without such a limit.
        governors: that choose the clocks of the cores.
        load_before: mean number of running processes over the minute before.
        power_mode: of a Jetson, e.g. `MAXN`.
        packages: versions of the installed packages that may be used.
    """

    measured_at: str
    machine: Machine
    cpu_quota: int
    governors: tuple[str, ...]
    load_before: float | None
    power_mode: str
    packages: dict[str, str]

    @property
    def sentence(self) -> str:
        """One line that names the processor and the versions."""
        machine = self.machine
        packages = ", ".join(f"{name} {version}" for name, version in self.packages.items())
        parts = (
            machine.board,
            machine.cpu or machine.architecture,
            f"{machine.cpus} CPUs",
            ", ".join(machine.nvidia_gpus),
            f"power mode {self.power_mode}" if self.power_mode else "",
            packages,
        )
        return "; ".join(filter(None, parts))


class PowerFigures(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The output of tegrastats while one candidate ran from image files to detections.

    Attributes:
        samples: lines that fell into its turns.
        watts: mean power of the board; None where it reports no total.
        rails: the supplies that are summed.
        joules_per_image: mean power times the time that one image took; None as `watts`.
        gpu_load: mean, per cent; None where no line reports it.
        temperature_c: of the hottest sensor, its maximum; None where no sensor was on.
    """

    samples: int
    watts: float | None = None
    rails: tuple[str, ...] = ()
    joules_per_image: float | None = None
    gpu_load: float | None = None
    temperature_c: float | None = None

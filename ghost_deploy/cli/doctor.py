"""`ghost-deploy doctor`: what this machine can run, and what adds the rest."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ghost_deploy.cli.console import Column, Console
from ghost_deploy.cli.options import above_zero, add_json, add_value

if TYPE_CHECKING:
    from ghost_deploy.api.doctor import DoctorReport
    from ghost_deploy.core.evidence.machine import Machine
    from ghost_deploy.runtimes.base import Probe

DESCRIPTION = """\
Show which runtimes, devices and precisions this machine has, and the command that would add
what is missing. Installs nothing and changes nothing. A vendor package that is broken so badly
that importing it ends the process is reported like any other fault.
"""
EXAMPLES = """\
examples:
  ghost-deploy doctor
  ghost-deploy doctor --json > machine.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    limit = "seconds that looking at one package may take (default: 120)"
    add_value(parser, "--timeout", "S", limit, above_zero, dest="timeout_s", default=120.0)
    add_json(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Examine and print."""
    from ghost_deploy import api

    report = api.doctor(timeout_s=args.timeout_s)
    if args.json:
        console.document(report)
    else:
        _print(report, console)
    return 0


def _print(report: DoctorReport, console: Console) -> None:
    machine = report.machine
    facts: list[tuple[str, Any]] = [
        ("ghost-deploy", report.ghost_deploy),
        ("Python", report.python),
        ("system", " · ".join(filter(None, (machine.distribution, machine.system)))),
        ("board", " · ".join(filter(None, (machine.board, machine.jetson)))),
        ("CPU", f"{machine.cpu} · {machine.architecture} · {machine.cpus} usable"),
        ("CPU has", " ".join(machine.cpu_flags)),
        ("int8 dot product", report.int8_dot_product),
        ("memory", _memory(machine)),
        ("NVIDIA GPU", ", ".join(machine.nvidia_gpus)),
        ("NVIDIA driver", machine.nvidia_driver),
        ("OpenCV", _opencv_line(report.opencv)),
        ("usage telemetry", _telemetry(report.telemetry)),
        ("packages", ", ".join(f"{k} {v}" for k, v in report.packages.items() if v)),
        ("absent", ", ".join(k for k, v in report.packages.items() if not v)),
    ]
    console.facts([(name, value) for name, value in facts if value])
    console.result("")
    columns = [Column(t) for t in ("runtime", "version", "device", "precisions", "what it is")]
    console.table(columns, [row for found in report.runtimes for row in _rows(found)])
    console.result("")
    console.facts(
        [
            (f"{found.runtime} {key}", value)
            for found in report.runtimes
            for key, value in found.details.items()
        ]
    )
    console.result("")
    rows = [list(item) for item in report.sources.details.items()]
    console.table([Column("source of infer"), Column("read by")], rows)
    for known in report.tensorrt_known:
        console.result(f"\nknown: {known}")
    for found in (*report.runtimes, report.opencv, report.sources):
        if found.problem:
            console.result(f"\n{found.runtime}: {found.problem}\n  {found.fix}")


def _telemetry(states: dict[str, bool]) -> str:
    return ", ".join(f"{name} {'on' if is_on else 'off'}" for name, is_on in states.items())


def _rows(found: Probe) -> list[list[str]]:
    state = (found.version or "-") if found.installed else "not installed"
    if not found.devices:
        return [[found.runtime, state, "-", "-", ""]]
    return [
        [found.runtime, state, device.name, " ".join(device.precisions), device.description]
        for device in found.devices
    ]


def _memory(machine: Machine) -> str:
    total, free = (
        f"{count / 2**30:.1f} GiB"
        for count in (machine.memory_bytes, machine.memory_available_bytes)
    )
    return f"{total}, {free} available" if machine.memory_bytes else ""


def _opencv_line(found: Probe) -> str:
    if not found.installed or found.problem:
        return "not usable, see below"
    details = ", ".join(f"{key} {value}" for key, value in found.details.items())
    return f"{found.version} ({details})"

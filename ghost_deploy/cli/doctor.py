"""`ghost-deploy doctor`: what this machine can run, and what would add the rest."""

from __future__ import annotations

import argparse
import platform
import signal
import subprocess
import sys
from typing import Any

import msgspec

from ghost_deploy._version import __version__
from ghost_deploy.cli.console import Column, Console, separated_output
from ghost_deploy.cli.options import add_json
from ghost_deploy.core.evidence.machine import Machine
from ghost_deploy.judge.bench.machine import read_machine
from ghost_deploy.runtimes import RUNTIMES, Probe, probe
from ghost_deploy.runtimes.cpu import read_dot_product

__all__ = ["DESCRIPTION", "EXAMPLES", "add_arguments", "run", "tell"]

DESCRIPTION = """\
Say which runtimes, devices and precisions this machine has, and the command that would add
what is missing. Installs nothing and changes nothing. A vendor package that is broken so badly
that importing it ends the process is reported like any other fault.
"""
EXAMPLES = """\
examples:
  ghost-deploy doctor
  ghost-deploy doctor --json > machine.json
"""

SCHEMA = 1
_OPENCV = "opencv"
_SOURCES = "sources"
_PROBE_LIMIT_S = 120
# Packages that no runtime reports: what loads, exports and (later) builds.
_PACKAGES = ("numpy", "msgspec", "torch", "safetensors", "onnx", "onnxsim", "tensorrt")


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `doctor --json`.

    `packages` maps a name to a version or to nothing; the details of `sources` map the forms of a
    source of `infer` to what reads it here. `int8_dot_product` says whether this CPU adds 8-bit
    products without losing any. `tensorrt_known` is what is known against the TensorRT
    that is installed, for whatever use.
    """

    ghost_deploy: str
    python: str
    machine: Machine
    runtimes: tuple[Probe, ...]
    opencv: Probe
    sources: Probe
    packages: dict[str, str]
    int8_dot_product: str
    tensorrt_known: tuple[str, ...] = ()
    schema: int = SCHEMA


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_json(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Look and print."""
    report = _examine()
    if args.json:
        console.document(report)
    else:
        _print(report, console)
    return 0


def tell(name: str) -> None:
    """Print the probe of a runtime, of `opencv` or of `sources`, as JSON; run in a process of its
    own."""
    others = {_OPENCV: _probe_opencv, _SOURCES: _probe_sources}
    with separated_output() as out:
        found = others[name]() if name in others else probe(name)
        out.write(msgspec.json.encode(found).decode())
        out.flush()


def _examine() -> Report:
    names = [name for name in RUNTIMES if name != "fake"]
    # Started together, then collected: the slowest import decides, not the sum.
    children = {name: _start(name) for name in (*names, _OPENCV, _SOURCES)}
    probes = {name: _collect(name, child) for name, child in children.items()}
    packages = {name: _version(name) for name in _PACKAGES}
    return Report(
        ghost_deploy=__version__,
        python=f"{platform.python_version()} ({platform.python_implementation()})",
        machine=read_machine(),
        runtimes=tuple(probes[name] for name in names),
        opencv=probes[_OPENCV],
        sources=probes[_SOURCES],
        packages=packages,
        int8_dot_product=read_dot_product().sentence,
        tensorrt_known=_known(probes["trt"].version or packages["tensorrt"]),
    )


def _start(name: str) -> subprocess.Popen[str]:
    code = f"from ghost_deploy.cli.doctor import tell; tell({name!r})"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _collect(name: str, child: subprocess.Popen[str]) -> Probe:
    try:
        out, err = child.communicate(timeout=_PROBE_LIMIT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return _broken(name, f"looking at it did not end within {_PROBE_LIMIT_S} s")
    if child.returncode < 0:
        return _broken(name, f"importing it ends the process ({_signal(-child.returncode)})")
    if child.returncode:
        last = err.strip().rpartition("\n")[2]
        return _broken(name, f"looking at it fails: {last}")
    return msgspec.json.decode(out, type=Probe)


def _broken(name: str, problem: str) -> Probe:
    brings = _install(RUNTIMES[name].extra) if name in RUNTIMES else _OPENCV_FIX
    fix = f"Its package does not fit this machine; reinstall it: {brings}"
    return Probe(runtime=name, installed=True, problem=problem, fix=fix)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _install(extra: str) -> str:
    return f'pip install "ghost-deploy[{extra}]"'


_OPENCV_FIX = _install("stream")


def _probe_opencv() -> Probe:
    try:
        import cv2
    except ImportError as error:
        if not isinstance(error, ModuleNotFoundError) and "numpy" in str(error):
            return _numpy_clash(error)
        return Probe(
            runtime=_OPENCV, installed=False, problem=str(error), fix=f"Run: {_OPENCV_FIX}"
        )
    built = cv2.getBuildInformation()
    details = {key: _built_with(built, key) for key in ("GStreamer", "FFMPEG", "GUI", "CUDA")}
    return Probe(runtime=_OPENCV, installed=True, version=cv2.__version__, details=details)


def _numpy_clash(error: ImportError) -> Probe:
    """An OpenCV that was compiled for NumPy 1 below a newer NumPy, as on a Jetson with JetPack 6,
    where pip put NumPy 2 above the system's."""
    return Probe(
        runtime=_OPENCV,
        installed=True,
        problem=f"OpenCV was compiled for another NumPy than {_version('numpy')}: {error}",
        fix='Run: pip install "numpy<2"',
    )


def _probe_sources() -> Probe:
    try:
        from ghost_deploy.stream.sources.backends import source_backends
    except ImportError as error:
        return Probe(
            runtime=_SOURCES, installed=False, problem=str(error), fix=f"Run: {_OPENCV_FIX}"
        )
    return Probe(runtime=_SOURCES, installed=True, details=source_backends())


def _built_with(built: str, key: str) -> str:
    """The value of a line `key: value` of OpenCV's build information, `NO` without one."""
    for line in built.splitlines():
        name, colon, value = line.partition(":")
        if colon and name.strip().removeprefix("NVIDIA ") == key:
            return value.strip() or "YES"
    return "NO"


def _known(version: str) -> tuple[str, ...]:
    """What is known against a version of TensorRT; nothing for none."""
    if not version:
        return ()
    from ghost_deploy.runtimes.tensorrt.releases import known_problems, release_of

    return tuple(f"{entry.what}. {entry.fix}" for entry in known_problems(release_of(version)))


def _version(package: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _print(report: Report, console: Console) -> None:
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


def _rows(found: Probe) -> list[list[str]]:
    state = found.version if found.installed else "not installed"
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

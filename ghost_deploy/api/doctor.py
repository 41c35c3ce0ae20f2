"""Find out what this machine can run, and what would add the rest."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from dataclasses import replace

import msgspec

from ghost_deploy._version import __version__
from ghost_deploy.core.errors import MissingExtraError
from ghost_deploy.core.evidence.machine import Machine
from ghost_deploy.core.install_command import install_command
from ghost_deploy.core.telemetry import telemetry
from ghost_deploy.judge.bench.read_machine import read_machine
from ghost_deploy.runtimes.base import Probe
from ghost_deploy.runtimes.dot_product import read_dot_product
from ghost_deploy.runtimes.table import RUNTIMES, probe
from ghost_deploy.runtimes.wheels import illegal_instruction

SCHEMA = 1
_OPENCV = "opencv"
_SOURCES = "sources"
# Packages that no runtime reports: what loads, exports and builds.
_PACKAGES = ("numpy", "msgspec", "torch", "safetensors", "onnx", "onnxsim", "tensorrt")


class DoctorReport(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `doctor --json`.

    `packages` maps a name to a version or to nothing; the details of `sources` map the forms of a
    source of `infer` to what reads it here. `int8_dot_product` says whether this CPU adds 8-bit
    products without losing any. `telemetry` maps a library that can send usage data to whether it
    may do so here. `tensorrt_known` lists the known faults of the TensorRT that is installed.
    """

    ghost_deploy: str
    python: str
    machine: Machine
    runtimes: tuple[Probe, ...]
    opencv: Probe
    sources: Probe
    packages: dict[str, str]
    int8_dot_product: str
    telemetry: dict[str, bool]
    tensorrt_known: tuple[str, ...] = ()
    schema: int = SCHEMA


def doctor(*, timeout_s: float = 120.0) -> DoctorReport:
    """Find out which runtimes, devices and precisions this machine has.

    Each vendor package is imported in a process of its own, so that one that ends the process is
    reported like any other fault. Nothing is installed or changed.

    Args:
        timeout_s: seconds that looking at one package may take.
    """
    names = [name for name in RUNTIMES if name != "fake"]
    # Started together, then collected: the slowest import decides, not the sum.
    children = {name: _start(name) for name in (*names, _OPENCV, _SOURCES)}
    probes = {name: _collect(name, child, timeout_s) for name, child in children.items()}
    packages = {name: _version(name) for name in _PACKAGES}
    return DoctorReport(
        ghost_deploy=__version__,
        python=f"{platform.python_version()} ({platform.python_implementation()})",
        machine=read_machine(),
        runtimes=tuple(probes[name] for name in names),
        opencv=probes[_OPENCV],
        sources=probes[_SOURCES],
        packages=packages,
        int8_dot_product=read_dot_product().sentence,
        telemetry=telemetry(),
        tensorrt_known=_known(probes["trt"].version or packages["tensorrt"]),
    )


def _start(name: str) -> subprocess.Popen[str]:
    code = f"from ghost_deploy.api.doctor import _answer; _answer({name!r})"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    )


def _collect(name: str, child: subprocess.Popen[str], timeout_s: float) -> Probe:
    try:
        out, err = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        found = _broken(name, f"looking at it did not end within {timeout_s:g} s")
        longer = "On a slow or busy machine: ghost-deploy doctor --timeout SECONDS. Otherwise"
        return replace(found, fix=f"{longer} {found.fix[0].lower()}{found.fix[1:]}")
    if child.returncode == -signal.SIGILL and name in RUNTIMES:
        error = illegal_instruction(RUNTIMES[name].package)
        problem = f"{error.what}: {error.got}" if error.got else error.what
        return Probe(runtime=name, installed=True, problem=problem, fix=error.fix)
    if child.returncode < 0:
        return _broken(name, f"importing it ends the process ({_signal(-child.returncode)})")
    if child.returncode:
        last = err.strip().rpartition("\n")[2]
        return _broken(name, f"looking at it fails: {last}")
    return msgspec.json.decode(out, type=Probe)


def _broken(name: str, problem: str) -> Probe:
    brings = install_command(RUNTIMES[name].extra if name in RUNTIMES else "stream")
    fix = f"Its package does not fit this machine; reinstall it: {brings}"
    return Probe(runtime=name, installed=True, problem=problem, fix=fix)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _probe_opencv() -> Probe:
    try:
        import cv2
    except ImportError as error:
        if not isinstance(error, ModuleNotFoundError) and "numpy" in str(error):
            return _numpy_clash(error)
        return _missing(_OPENCV, error)
    built = cv2.getBuildInformation()
    details = {key: _built_with(built, key) for key in ("GStreamer", "FFMPEG", "GUI", "CUDA")}
    return Probe(runtime=_OPENCV, installed=True, version=cv2.__version__, details=details)


def _missing(name: str, error: ImportError) -> Probe:
    return Probe(
        runtime=name, installed=False, problem=str(error), fix=f"Run: {install_command('stream')}"
    )


def _numpy_clash(error: ImportError) -> Probe:
    """An OpenCV that was compiled for NumPy 1 below a newer NumPy, as on a Jetson with JetPack 6
    where pip installed NumPy 2."""
    return Probe(
        runtime=_OPENCV,
        installed=True,
        problem=f"OpenCV was compiled for another NumPy than {_version('numpy')}: {error}",
        fix='Run: pip install "numpy<2"',
    )


def _probe_sources() -> Probe:
    try:
        from ghost_deploy.stream.sources.source_table import source_backends

        details = source_backends()
    except ImportError as error:
        return _missing(_SOURCES, error)
    except MissingExtraError as error:
        return Probe(runtime=_SOURCES, installed=False, problem=error.what, fix=error.fix)
    return Probe(runtime=_SOURCES, installed=True, details=details)


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


def _answer(name: str) -> None:
    """Print the probe of a runtime, of `opencv` or of `sources` as JSON; the main function of a
    child process."""
    answer = os.dup(1)
    os.dup2(2, 1)  # vendor libraries print, from C++ too
    others = {_OPENCV: _probe_opencv, _SOURCES: _probe_sources}
    found = others[name]() if name in others else probe(name)
    with os.fdopen(answer, "wb") as out:
        out.write(msgspec.json.encode(found))

"""Run ghost-deploy on processors that are not there, by emulation (qemu-user, Debian's packages).

    python tools/emulate.py haswell -- doctor
    python tools/emulate.py haswell cortex-a72 -- check out/best --no-speed --timeout 1800

Needs `qemu-user-static`. ARM processors also need `apt-get` and pip, which fetch Debian's Python
for arm64 and the aarch64 wheels of the runtimes into a folder of their own (`--cache`), nothing
into the system. x86 processors run the Python that runs this script. qemu 7.2 has AVX2, no AVX-512.

An emulated run takes 20 to 150 times as long: what it says of times means nothing.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ghost-deploy-emulation"

ARM_PACKAGES = (
    *("python3-minimal", "libpython3-stdlib", "libc6", "libgcc-s1", "libstdc++6", "zlib1g"),
    *("libexpat1", "libssl3", "libffi8", "liblzma5", "libbz2-1.0", "libsqlite3-0", "libuuid1"),
    *("libncursesw6", "libtinfo6", "libreadline8", "libdb5.3", "libcrypt1", "libnsl2"),
    *("libtirpc3", "libgomp1"),
)
ARM_WHEELS = (
    "numpy",
    "msgspec",
    "rich",
    "shtab",
    "opencv-python-headless",
    "onnxruntime",
    "openvino",
    "ncnn",
)
_GLIBC = (17, 24, 26, 27, 28, 31, 34, 35, 36)
"""manylinux_2_N tags that Debian 12's C library can load."""

_X86_BASE = "fpu sse sse2 ssse3 cx16 sse4_1 sse4_2 popcnt"


@dataclass(frozen=True)
class Processor:
    """A processor to emulate.

    Attributes:
        name: on the command line.
        qemu: the program that emulates it.
        cpu: value of its option `-cpu`; without features that it would warn of.
        cpuinfo: what `/proc/cpuinfo` tells programs, which look there for features.
        boards: what people have with such a processor.
        midr: on ARM the value of the register MIDR_EL1, which programs read to know the core.
    """

    name: str
    qemu: str
    cpu: str
    cpuinfo: str
    boards: str
    midr: str = ""

    @property
    def arm(self) -> bool:
        """Whether it needs a Python of its own."""
        return self.qemu == "qemu-aarch64-static"


def _x86(model: str, flags: str) -> str:
    return "".join(
        f"processor\t: {core}\nvendor_id\t: GenuineIntel\nmodel name\t: {model} (emulated)\n"
        f"flags\t\t: {flags}\n\n"
        for core in range(2)
    )


def _arm(part: str, features: str) -> str:
    return "".join(
        f"processor\t: {core}\nBogoMIPS\t: 108.00\nFeatures\t: {features}\n"
        "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\n"
        f"CPU part\t: {part}\nCPU revision\t: 3\n\n"
        for core in range(2)
    )


_X86 = "qemu-x86_64-static"
_ARM = "qemu-aarch64-static"
PROCESSORS = {
    each.name: each
    for each in (
        Processor(
            "nehalem", _X86, "Nehalem", _x86("Nehalem", _X86_BASE), "Celeron, Atom: SSE4.2, no AVX"
        ),
        Processor(
            "haswell",
            _X86,
            "Haswell,-pcid,-x2apic,-tsc-deadline,-hle,-invpcid,-rtm",
            _x86("Haswell", f"{_X86_BASE} avx f16c avx2 fma bmi1 bmi2"),
            "Core i3 to i7 of generations 4 to 9, Zen to Zen 3: AVX2, no VNNI",
        ),
        Processor(
            "cortex-a72", _ARM, "cortex-a72", _arm("0xd08", "fp asimd crc32 cpuid"),
            "Raspberry Pi 4: no 8-bit dot product", "0x00000000410fd083",
        ),
        Processor(
            "cortex-a76", _ARM, "cortex-a76",
            _arm("0xd0b", "fp asimd crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"),
            "Raspberry Pi 5, RK3588, Orin class: SDOT", "0x00000000414fd0b1",
        ),
    )
}  # fmt: skip


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line on each processor; returns the largest exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("processors", nargs="+", choices=[*PROCESSORS, "all"], metavar="PROCESSOR")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of the arm64 system")
    parser.add_argument("--timeout", type=float, default=7200, help="seconds for each processor")
    given = list(sys.argv[1:] if words is None else words)
    cut = given.index("--") if "--" in given else len(given)
    args = parser.parse_args(given[:cut])
    command = given[cut + 1 :] or ["doctor"]
    names = list(PROCESSORS) if "all" in args.processors else args.processors
    codes = []
    for name in names:
        print(f"== {name}: {PROCESSORS[name].boards}", file=sys.stderr, flush=True)
        codes.append(run(PROCESSORS[name], command, args.cache, args.timeout))
    return max(codes)


def run(processor: Processor, command: Sequence[str], cache: Path, timeout: float) -> int:
    """Run `ghost-deploy COMMAND` on an emulated processor.

    Args:
        processor: which.
        command: the words after `ghost-deploy`.
        cache: folder of the arm64 system and of the compiled models of each processor.
        timeout: seconds.

    Returns:
        The exit code of the command; 124 where it took longer.
    """
    start, environment = prepare(processor, cache)
    words = [*start, "-m", "ghost_deploy.cli.main", *command]
    try:
        return subprocess.run(words, env=environment, timeout=timeout, check=False).returncode
    except subprocess.TimeoutExpired:
        print(f"{processor.name}: no answer within {timeout:g} s", file=sys.stderr)
        return 124


def prepare(processor: Processor, cache: Path) -> tuple[list[str], dict[str, str]]:
    """The words that start Python on an emulated processor, and its environment.

    Args:
        processor: which.
        cache: see `run`.

    Raises:
        SystemExit: qemu is not installed, or the arm64 system cannot be fetched.
    """
    qemu = shutil.which(processor.qemu)
    if qemu is None:
        raise SystemExit(f"{processor.qemu} is not installed: apt-get install qemu-user-static")
    system = cache / ("arm64" if processor.arm else "x86")
    python = sys.executable
    paths = [str(ROOT)]
    if processor.arm:
        python = str(arm_python(system))
        paths.append(str(arm_packages(system, cache / "site-arm64", python)))
    # Below the system's folder, qemu shows a program these files in place of the machine's.
    place = cache / f"{processor.name}-root"
    shutil.rmtree(place, ignore_errors=True)
    if processor.arm:
        shutil.copytree(system, place, symlinks=True, copy_function=os.link)
        python = str(place / Path(python).relative_to(system))
    (place / "proc").mkdir(parents=True, exist_ok=True)
    (place / "proc" / "cpuinfo").write_text(processor.cpuinfo)
    for core in range(2 * processor.arm):  # OpenVINO's code generator ends the process without
        registers = place / f"sys/devices/system/cpu/cpu{core}/regs/identification"
        registers.mkdir(parents=True, exist_ok=True)
        (registers / "midr_el1").write_text(f"{processor.midr}\n")
    start = [qemu, "-cpu", processor.cpu, "-L", str(place), python]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(_emulated_children(place, start)), *paths)),
        "OMP_NUM_THREADS": "1",
        "XDG_CACHE_HOME": str(cache / f"{processor.name}-cache"),
    }
    return start, environment


def _emulated_children(place: Path, start: Sequence[str]) -> Path:
    """A folder for PYTHONPATH that makes `sys.executable` start an emulated Python.

    qemu-user runs what an emulated process starts on the machine's own processor.
    """
    folder = place / "emulation"
    folder.mkdir(exist_ok=True)
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nexec {shlex.join(start)} "$@"\n')
    script.chmod(0o755)
    (folder / "sitecustomize.py").write_text(f"import sys\n\nsys.executable = {str(script)!r}\n")
    return folder


def arm_python(system: Path) -> Path:
    """Debian's Python for arm64 below `system`, fetched unless it is there."""
    found = sorted(system.glob("usr/bin/python3.[0-9]*"))
    if found:
        return found[0]
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise SystemExit("ARM processors need apt-get and dpkg, to fetch Debian's Python for arm64")
    work = system.parent / "packages"
    for folder in (work / "lists" / "partial", work / "cache" / "archives" / "partial", system):
        folder.mkdir(parents=True, exist_ok=True)
    apt = [
        "apt-get", "-qq",
        *(f"-oAPT::Architectures::={name}" for name in ("amd64", "arm64")),
        f"-oDir::State::lists={work / 'lists'}", f"-oDir::Cache={work / 'cache'}",
        "-oAPT::Sandbox::User=root",
    ]  # fmt: skip
    subprocess.run([*apt, "update"], check=True)
    found_names = _versioned(apt)
    subprocess.run([*apt, "download", *(f"{n}:arm64" for n in found_names)], cwd=work, check=True)
    for package in sorted(work.glob("*.deb")):
        subprocess.run(["dpkg", "-x", str(package), str(system)], check=True)
    return next(iter(sorted(system.glob("usr/bin/python3.[0-9]*"))))


def _versioned(apt: Sequence[str]) -> list[str]:
    """The packages of `ARM_PACKAGES`, with the release's own version of Python."""
    shown = subprocess.run(
        ["apt-cache", *apt[2:], "depends", "python3-minimal:arm64"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    version = next(w.split("-")[0] for w in shown.split() if w.startswith("python3.")).removeprefix(
        "python"
    )
    own = {
        "python3-minimal": [f"python{version}-minimal", f"libpython{version}-minimal"],
        "libpython3-stdlib": [f"libpython{version}-stdlib"],
    }
    return [found for name in ARM_PACKAGES for found in own.get(name, [name])]


def arm_packages(system: Path, site: Path, python: str) -> Path:
    """The aarch64 wheels of the runtimes in `site`, fetched unless they are there."""
    if all((site / name).is_dir() for name in ("onnxruntime", "ncnn")):
        return site
    version = Path(python).name.removeprefix("python")
    tags = [f"--platform=manylinux_2_{minor}_aarch64" for minor in _GLIBC]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--upgrade", "--target", str(site), *tags,
         "--platform=manylinux2014_aarch64", "--python-version", version,
         "--implementation", "cp", "--only-binary=:all:", "-c", str(ROOT / "constraints.txt"),
         *ARM_WHEELS],
        check=True,
    )  # fmt: skip
    for name in ("possible", "present"):
        file = system / "sys" / "devices" / "system" / "cpu" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("0-1\n")
    return site


if __name__ == "__main__":
    sys.exit(main())

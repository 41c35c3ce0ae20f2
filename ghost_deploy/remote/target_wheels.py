"""Wheels for the Python and the processor of a board, resolved here by pip."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ghost_deploy.core.errors import UnavailableError
from ghost_deploy.remote.board import Board

_GLIBC_LEAST = {"x86_64": 5, "aarch64": 17, "armv7l": 17}
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}  # PEP 600


def target_options(board: Board) -> list[str]:
    """The options of `pip download` that stand for a board's Python.

    Raises:
        UnavailableError: there are no wheels for such a Python.
    """
    version = ".".join(board.python.split(".")[:2])
    if board.implementation != "cpython":
        raise UnavailableError(
            "wheels are resolved for CPython alone",
            got=board.implementation,
            fix="Install CPython on the board, or leave --wheels out",
        )
    tag = f"cp{version.replace('.', '')}"
    return [
        *("--only-binary=:all:", "--implementation", "cp", "--python-version", version),
        *(word for abi in (tag, "abi3", "none") for word in ("--abi", abi)),
        *(word for each in platform_tags(board) for word in ("--platform", each)),
    ]


def platform_tags(board: Board) -> list[str]:
    """The platform tags of wheels that the board can load, the newest first (PEP 600, PEP 656).

    Raises:
        UnavailableError: its C library is not known.
    """
    architecture = board.architecture
    if board.bits == 32 and architecture in ("aarch64", "armv8l"):
        architecture = "armv7l"  # a 32-bit system on a 64-bit kernel, as on many Raspberry Pis
    found = re.fullmatch(r"(glibc|musl) (\d+)\.(\d+).*", board.libc)
    if found is None:
        raise UnavailableError(
            "the C library of the board is not known, so no wheels can be chosen for it",
            got=board.libc or "none",
            expected="glibc or musl",
            fix="Leave --wheels out, and let the board take them from its own index",
        )
    family, major, minor = found[1], int(found[2]), int(found[3])
    tags = []
    if family == "musl":
        tags = [f"musllinux_{major}_{n}_{architecture}" for n in range(minor, -1, -1)]
    else:
        for n in range(minor, _GLIBC_LEAST.get(architecture, 17) - 1, -1):
            tags.append(f"manylinux_{major}_{n}_{architecture}")
            if n in _LEGACY:
                tags.append(f"{_LEGACY[n]}_{architecture}")
    return [*tags, f"linux_{architecture}"]


def resolve_wheels(
    board: Board, own: Path, extras: Sequence[str], wheels: Path, scratch: Path
) -> Mapping[str, Path]:
    """The wheels that a board needs, by name.

    Args:
        board: for its Python and processor.
        own: the wheel of this package.
        extras: of it.
        wheels: a folder here; what it lacks is fetched into it from the index of this machine.
        scratch: a new folder for the choice.

    Raises:
        UnavailableError: pip is not installed here, or a package has no wheel for such a board.
    """
    wheels.mkdir(parents=True, exist_ok=True)
    package = f"{own}[{','.join(extras)}]" if extras else str(own)
    options = [*target_options(board), "--find-links", str(wheels), package]
    if _pip_download(["--no-index", "--dest", str(scratch), *options], {}).returncode:
        shutil.rmtree(scratch, ignore_errors=True)
        fetched = _pip_download(["--dest", str(scratch), *options], {})
        if fetched.returncode:
            raise _unresolved(board, wheels, fetched.stderr)
        for path in scratch.iterdir():
            if path.name != own.name:
                shutil.copy(path, wheels / path.name)
    return {path.name: path for path in scratch.iterdir() if path.name != own.name}


def _pip_download(
    words: Sequence[str], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", *words]
    return subprocess.run(
        command,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **environment},
    )


def _unresolved(board: Board, wheels: Path, messages: str) -> UnavailableError:
    if "No module named pip" in messages:
        return UnavailableError(
            "wheels are resolved by pip, which is not installed here",
            fix="Install it: python -m ensurepip",
        )
    lines = [line.removeprefix("ERROR: ") for line in messages.splitlines() if "ERROR" in line]
    return UnavailableError(
        f"there are no wheels for Python {board.python} on {board.architecture} ({board.libc})",
        got="; ".join(lines[-2:])[-400:] or messages[-400:],
        fix=f"Put what is missing into {wheels}, or give the board another Python",
    )

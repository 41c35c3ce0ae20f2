"""The Python environment on a board: this package as it runs here, and one backend."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import BoardError, UnavailableError, UsageError
from ghost_deploy.remote.board import Board
from ghost_deploy.runtimes.table import RUNTIMES, RuntimeRow, runtime_row

_ORDER = {"x86_64": ("openvino", "ort"), "aarch64": ("ort", "openvino")}
"""The backends to prefer by processor, where none is named: the faster one on most boards."""

INSTALLED_BYTES = 700 << 20
"""Room that an environment with the largest of these backends takes, and some more to unpack it."""


@dataclass(frozen=True)
class Wanted:
    """What an environment must hold.

    Attributes:
        extras: pip extras of this package.
        system_packages: see the packages of the board's system too, e.g. JetPack's TensorRT.
    """

    extras: tuple[str, ...]
    system_packages: bool

    def key(self, wheel: Path, python: str) -> str:
        """Name of the folder; extras may be added to an environment that is there."""
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        parts = (digest, python, str(self.system_packages))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def choose_backends(
    bundles: Sequence[Bundle], board: Board, runtimes: Sequence[str] | None
) -> tuple[RuntimeRow, ...]:
    """The backends that are installed on a board.

    Args:
        bundles: that run there.
        board: where.
        runtimes: those that the user named; where None, TensorRT if the board's system has it,
            else the one that suits its processor and has artifacts.

    Raises:
        UsageError: a runtime that no board gets, or no artifact for any.
    """
    if runtimes:
        rows = tuple(runtime_row(name) for name in runtimes if name != "auto")
        for row in rows:
            if row.format == "checkpoint" or row.remote:
                raise UsageError(
                    f"the runtime {row.name} is not installed on boards",
                    fix="Name another, or leave --runtime out",
                )
        if rows:
            return rows
    formats = {artifact.format for bundle in bundles for artifact in bundle.artifacts}
    if "tensorrt" in board.packages and formats & {"tensorrt", "onnx"}:
        return (RUNTIMES["trt"],)
    order = _ORDER.get(board.architecture, ("ort", "openvino"))
    others = [r.name for r in RUNTIMES.values() if not r.remote and r.format != "checkpoint"]
    known = dict.fromkeys((*order, *(name for name in others if name != "trt")))
    fitting = [RUNTIMES[name] for name in known if RUNTIMES[name].format in formats]
    if not fitting:
        raise UsageError(
            "the bundle has no artifact that a board of this kind runs",
            got=", ".join(sorted(formats)) or "none",
            expected=" or ".join(RUNTIMES[name].format for name in order),
            fix="Export one, or name a runtime with --runtime",
        )
    return (fitting[0],)


def wanted(rows: Sequence[RuntimeRow], board: Board, extras: Sequence[str] = ()) -> Wanted:
    """What these backends need there.

    Args:
        rows: of the backends.
        board: where.
        extras: that the command needs besides.

    Raises:
        UnavailableError: TensorRT, which a board's system has or has not.
    """
    system = any(row.name == "trt" for row in rows)
    if system and "tensorrt" not in board.packages:
        raise UnavailableError(
            "the board has no TensorRT",
            got=f"{board.executable} cannot import it",
            fix="Install JetPack's or NVIDIA's Python package there",
        )
    return Wanted(tuple(sorted({*(row.extra for row in rows), *extras})), system)


def failed_install(name: str, messages: str, *, carried: bool) -> BoardError | UnavailableError:
    """The error for a board on which pip failed.

    Args:
        name: of the board.
        messages: of pip.
        carried: the wheels came from here.
    """
    said = [line for line in messages.splitlines() if line.startswith("ERROR")] or messages.split(
        "\n"
    )
    got = "; ".join(line.removeprefix("ERROR: ") for line in said[-2:])[-400:]
    if "No space left on device" in messages:
        return BoardError(
            f"{name} has too little free space for the environment",
            got=got,
            fix="Free some, remove what an earlier command left (--clean), or name another folder: "
            "ssh://HOST/FOLDER",
        )
    if "certificate is not yet valid" in messages or "certificate has expired" in messages:
        fix = "Set the clock of the board, or let the wheels come from here: --wheels DIR"
        return UnavailableError(
            f"the packages cannot be installed on {name}: its clock is wrong", got=got, fix=fix
        )
    fix = (
        "Look at the wheels in that folder; they must be for the board's Python and processor"
        if carried
        else "Without a network there: --wheels DIR fetches the wheels here and carries them over"
    )
    return UnavailableError(f"the packages cannot be installed on {name}", got=got, fix=fix)

"""Rockchip's systems on a chip: which one this board has, and what describes a file for one.

A `.rknn` file says nothing about itself that Rockchip's Python interface would give: its names,
shapes and target are in a `.json` beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from numpy.typing import NDArray

from ghost_deploy.core.bundle import sha256_of
from ghost_deploy.core.errors import BackendError, SpecError
from ghost_deploy.core.files import MAX_TEXT_BYTES, read_regular, text_of
from ghost_deploy.core.spec import ModelSpec, decode_json, encode_json

SOCS = {
    "rk3562": "RKNPU2-T4",
    "rk3566": "RKNPU2-LITE",
    "rk3568": "RKNPU2-LITE",
    "rk3576": "RKNPU2-F2",
    "rk3588": "RKNPU2-V2",
    "rv1126b": "RKNPU2-F3",
}
"""Systems on a chip that rknn-toolkit-lite2 runs on, and the NPU of each, by its own table
(`cpu_npu_mapper.yml` of 2.5.0). Files for one NPU run on all with that NPU."""

CORES = {"rk3576": 2, "rk3588": 3}
"""Cores of the NPU, where it has several."""

ROOT = Path("/")
"""Of the file system that is looked at."""

_COMPATIBLE = "proc/device-tree/compatible"
_NAMED = re.compile(r"rockchip,(r[kv]\d{4}b?)")


def board_soc(root: Path | None = None) -> str:
    """The system on a chip of this machine, e.g. `rk3588`; empty where it is none of `SOCS`.

    Args:
        root: of the file system; `ROOT` by default.
    """
    for entry in text_of((root or ROOT) / _COMPATIBLE).split("\0"):
        found = _NAMED.match(entry)
        if found and found[1] in SOCS:
            return found[1]
    return ""


def socs_here(root: Path | None = None) -> tuple[str, ...]:
    """The targets whose files run on this machine, its own first; none where there is no NPU."""
    own = board_soc(root)
    if not own:
        return ()
    return (own, *(name for name, npu in SOCS.items() if npu == SOCS[own] and name != own))


class RknnDescription(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the `.json` beside a `.rknn` file says.

    Attributes:
        target: a name of `SOCS`.
        spec: of the file: uint8 pixels in; the outputs in the order of the file.
        sha256: of the `.rknn` file.
        schema: of this form.
    """

    target: str
    spec: ModelSpec
    sha256: str
    schema: int = 1


def description_path(path: Path) -> Path:
    """Where the description of a `.rknn` file is."""
    return path.with_suffix(".json")


def write_description(path: Path, target: str, spec: ModelSpec) -> Path:
    """Describe a `.rknn` file; returns the description's path."""
    described = RknnDescription(target=target, spec=spec, sha256=sha256_of(path))
    place = description_path(path)
    place.write_bytes(encode_json(described))
    return place


def read_description(path: Path) -> RknnDescription:
    """The description of a `.rknn` file.

    Raises:
        BackendError: it is missing, damaged, or that of another file.
    """
    place = description_path(path)
    try:
        text = read_regular(place, MAX_TEXT_BYTES)
        found = decode_json(text, RknnDescription, where=str(place))
        fits = found.schema == 1 and found.target in SOCS and found.sha256 == sha256_of(path)
        problem = "" if fits else "it is that of another file, or of another version"
    except (OSError, SpecError) as error:
        problem = str(error)
    if problem:
        raise BackendError(
            f"the description of {path.name}, {place.name}, cannot be used",
            got=problem,
            fix="Keep the two files of the export together, or export again with --rknn",
        )
    return found


Simulate = Callable[[NDArray[Any]], list[NDArray[Any]]]
"""From pixels (1, H, W, 3) uint8 to the outputs, as the NPU gives them."""


@dataclass(frozen=True)
class Simulation:
    """A network that the vendor's toolkit simulates in a process of its own.

    Attributes:
        run: it.
        version: of what simulates.
    """

    run: Simulate
    version: str


_simulations: dict[str, Simulation] = {}
"""By sha256 of the file: the toolkit can simulate a network only where it was built."""


@contextmanager
def simulated(path: Path, simulation: Simulation) -> Iterator[None]:
    """Let `open_model` of the runtime `rknn` open a file in the simulator, within the block."""
    key = sha256_of(path)
    _simulations[key] = simulation
    try:
        yield
    finally:
        _simulations.pop(key, None)


def simulation_of(path: Path) -> Simulation | None:
    """The simulation of a file, if one is open in this process."""
    if not _simulations:
        return None
    try:
        return _simulations.get(sha256_of(path))
    except OSError:
        return None

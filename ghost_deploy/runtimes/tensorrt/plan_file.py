"""Engines as files: a plain plan, which trtexec, Triton and DeepStream load, and a sidecar.

The plan holds nothing of ours; `model.fp16.plan.json` beside it says what the numbers mean and
what it was built on. Engines of Ultralytics are read too: four bytes, little endian, with the
length of a JSON header, that header, then the plan.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ghost_deploy.core.errors import BackendError, SpecError
from ghost_deploy.core.evidence.build import Fingerprint
from ghost_deploy.core.files import write_whole
from ghost_deploy.core.spec import ModelSpec, decode_json, encode_json
from ghost_deploy.runtimes.tensorrt.foreign import spec_from_header

SCHEMA = 1
_MAX_HEADER = 1 << 24
_LENGTH = 4


class Sidecar(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of a plan.

    Attributes:
        spec: what its numbers mean.
        fingerprint: what it was built on and runs on.
        precision: `fp32`, `fp16` or `int8`.
        route: how that precision was reached, a name of `precision.ROUTES`.
        plan_sha256: of the plan; another plan is not believed.
        created_with: our version.
    """

    spec: ModelSpec
    fingerprint: Fingerprint
    precision: str
    route: str
    plan_sha256: str
    created_with: str
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"this version reads plan schema {SCHEMA}, got {self.schema}")


@dataclass(frozen=True)
class Plan:
    """A plan that was read.

    Attributes:
        path: its file.
        data: what TensorRT deserializes, without any header.
        sidecar: None for a plan of others.
        header: of an Ultralytics engine, else None.
    """

    path: Path
    data: bytes
    sidecar: Sidecar | None = None
    header: dict[str, Any] | None = None

    def spec(self, output_shape: tuple[int, ...] | None = None) -> ModelSpec | None:
        """What the numbers mean, as far as anything says so.

        Args:
            output_shape: of the engine's output: decides which levels an Ultralytics head has.

        Raises:
            SpecError: an Ultralytics header that describes no detector of ours.
        """
        if self.sidecar is not None:
            return self.sidecar.spec
        if self.header is not None:
            return spec_from_header(self.header, output_shape, where=str(self.path))
        return None


def sidecar_path(path: Path) -> Path:
    """`model.fp16.plan.json` for `model.fp16.plan`."""
    return path.with_name(path.name + ".json")


def read_plan(path: Path) -> Plan:
    """Read an engine file and what lies beside it; TensorRT is not needed for that.

    Raises:
        BackendError: no such file, an empty one, or one that its sidecar does not describe.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BackendError(
            f"cannot open the engine {path}", got=error.strerror, fix="Check the path"
        ) from error
    header, plan = _split(data)
    if not plan:
        raise BackendError(
            f"the engine {path} is empty", fix="Build it again: ghost-deploy build BUNDLE --trt"
        )
    return Plan(path, plan, _sidecar(path, plan), header)


def write_plan(path: Path, data: bytes, sidecar: Sidecar) -> tuple[Path, Path]:
    """Write a plan and its sidecar, each whole or not at all; the two paths.

    Raises:
        ExportError: the disk refuses; no half file is left.
    """
    beside = sidecar_path(path)
    # An older sidecar must not describe the new plan, should this be interrupted in between.
    with contextlib.suppress(FileNotFoundError):
        beside.unlink()
    write_file(path, data)
    write_file(beside, encode_json(sidecar))
    return path, beside


def write_file(path: Path, data: bytes) -> None:
    """Write `data` whole or not at all.

    Raises:
        ExportError: the disk refuses; what was at `path` is still there.
    """
    write_whole(path, lambda file: file.write(data))


def _split(data: bytes) -> tuple[dict[str, Any] | None, bytes]:
    """An Ultralytics header, if there is one, and the plan behind it."""
    length = int.from_bytes(data[:_LENGTH], "little")
    end = _LENGTH + length
    if 2 <= length <= _MAX_HEADER and end < len(data) and data[_LENGTH : _LENGTH + 1] == b"{":
        try:
            header = json.loads(data[_LENGTH:end])
        except (UnicodeDecodeError, ValueError, RecursionError):
            return None, data
        return header, data[end:]
    return None, data


def _sidecar(path: Path, plan: bytes) -> Sidecar | None:
    beside = sidecar_path(path)
    if not beside.is_file():
        return None
    try:
        sidecar = decode_json(beside.read_bytes(), Sidecar, where=str(beside))
    except (OSError, SpecError) as error:
        raise BackendError(
            f"{beside} cannot be read",
            got=str(error),
            fix="Build the engine again: ghost-deploy build BUNDLE --trt",
        ) from error
    if hashlib.sha256(plan).hexdigest() != sidecar.plan_sha256:
        raise BackendError(
            f"{beside} describes another engine than {path.name}",
            expected=f"sha256 {sidecar.plan_sha256[:12]}",
            fix="Copy both files together, or build the engine again",
        )
    return sidecar

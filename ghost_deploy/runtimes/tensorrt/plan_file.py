"""Engine files: a plain plan, which trtexec, Triton and DeepStream load, and a sidecar.

`model.fp16.plan.json` beside `model.fp16.plan` has the description of the model and the fingerprint
of the machine. Engines of Ultralytics are read too: four bytes, little endian, with the length of a
JSON header, the header, then the plan.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ghost_deploy.core.bundle.manifest import MAX_FILE_BYTES
from ghost_deploy.core.errors import BackendError, SpecError
from ghost_deploy.core.evidence.build import Fingerprint
from ghost_deploy.core.files import MAX_TEXT_BYTES, read_regular, write_whole
from ghost_deploy.core.spec import ModelSpec, decode_json, encode_json
from ghost_deploy.runtimes.ultralytics_header import spec_from_header

SCHEMA = 1
_MAX_HEADER = 1 << 24
_LENGTH = 4


class Sidecar(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Metadata of a plan.

    Attributes:
        spec: of the model.
        fingerprint: of the machine that it was built for.
        precision: `fp32`, `fp16` or `int8`.
        route: to that precision, a name in `precision_route.ROUTES`.
        plan_sha256: of the plan that it describes.
        created_with: version of ghost-deploy.
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
class EngineFile:
    """The content of an engine file.

    Attributes:
        path: of the file.
        data: the plan, without header.
        sidecar: None for a plan without one.
        header: of an Ultralytics engine; None otherwise.
    """

    path: Path
    data: bytes
    sidecar: Sidecar | None = None
    header: dict[str, Any] | None = None

    def spec(self, output_shape: tuple[int, ...] | None = None) -> ModelSpec | None:
        """The description of the model; None if the file has none.

        Args:
            output_shape: of the engine; determines the levels of an Ultralytics head.

        Raises:
            SpecError: the Ultralytics header does not describe a supported detector.
        """
        if self.sidecar is not None:
            return self.sidecar.spec
        if self.header is not None:
            return spec_from_header(self.header, output_shape, where=str(self.path))
        return None


def sidecar_path(path: Path) -> Path:
    """`model.fp16.plan.json` for `model.fp16.plan`."""
    return path.with_name(path.name + ".json")


def read_plan(path: str | os.PathLike[str]) -> EngineFile:
    """Read an engine file and its sidecar; does not need TensorRT.

    Raises:
        BackendError: the file is missing or empty, or its sidecar describes another plan.
    """
    path = Path(path)
    try:
        data = read_regular(path, MAX_FILE_BYTES)
    except OSError as error:
        raise BackendError(
            f"cannot open the engine {path}", got=error.strerror, fix="Check the path"
        ) from error
    header, plan = _split(data)
    if not plan:
        raise BackendError(
            f"the engine {path} is empty", fix="Build it again: ghost-deploy build BUNDLE --trt"
        )
    return EngineFile(path, plan, _sidecar(path, plan), header)


def write_plan(path: Path, data: bytes, sidecar: Sidecar) -> tuple[Path, Path]:
    """Write a plan and its sidecar, each whole or not at all; returns both paths.

    Raises:
        ExportError: the disk refuses; no half file is left.
    """
    beside = sidecar_path(path)
    # An older sidecar must not stay beside the new plan if this is interrupted in between.
    beside.unlink(missing_ok=True)
    write_whole(path, lambda file: file.write(data))
    write_whole(beside, lambda file: file.write(encode_json(sidecar)))
    return path, beside


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
        sidecar = decode_json(read_regular(beside, MAX_TEXT_BYTES), Sidecar, where=str(beside))
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

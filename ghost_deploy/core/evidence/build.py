"""What a bundle remembers of the engines that were built from it: evidence of the kind `build`."""

from __future__ import annotations

from typing import Any

import msgspec

from ghost_deploy.core.spec import decode_json
from ghost_deploy.runtimes.tensorrt.dla import DlaReport
from ghost_deploy.runtimes.tensorrt.fingerprint import Fingerprint

__all__ = ["KIND", "SCHEMA", "BuildRecord", "BuildRecords"]

KIND = "build"
SCHEMA = 1


class BuildRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One engine.

    Attributes:
        route: how its precision was reached.
        built_from: the ONNX artifact.
        fingerprint: what it runs on.
        workspace_mib: scratch memory that it was built with.
        precisions: number of layers by the precision that they really have.
        reformats: number of layers that only change the format.
        pinned: layers that were held in float32 or float16.
        dla: what the DLA takes; None on the GPU.
        timing_cache: `new`, `reused` or `ignored`.
        notes: what a user should know; the builder's warnings and ours.
    """

    route: str
    built_from: str
    fingerprint: Fingerprint
    workspace_mib: int
    precisions: dict[str, int]
    reformats: int
    pinned: int
    dla: DlaReport | None
    timing_cache: str
    notes: tuple[str, ...] = ()


class BuildRecords(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All engines of a bundle, by the id of their artifact."""

    engines: dict[str, BuildRecord] = {}
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"this version reads build schema {SCHEMA}, got {self.schema}")

    def to_document(self) -> dict[str, Any]:
        """The JSON form as plain values, for `Bundle.with_evidence`."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        return document

    @classmethod
    def from_document(cls, document: dict[str, Any], *, where: str) -> BuildRecords:
        """Read what `to_document` wrote; SpecError for anything else."""
        return decode_json(msgspec.json.encode(document), cls, where=where)

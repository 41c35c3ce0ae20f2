"""The document beside the parts: which model and settings they are of, and what is there."""

from __future__ import annotations

from typing import Any

import msgspec

from ghost_deploy._version import __version__
from ghost_deploy.batch.result_rows import COLUMNS, KEY
from ghost_deploy.core.errors import SpecError, StoreError, UsageError
from ghost_deploy.core.spec import decode_json, encode_json
from ghost_deploy.core.thresholds import Thresholds

MANIFEST = "_manifest.json"
"""Its name: readers of Parquet folders pass over names that begin with an underscore."""

SCHEMA = 1


class RunIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """What makes two runs the same, so that one may continue the other.

    Attributes:
        model: sha256 of the model's files.
        thresholds: of the detections.
        classes: numbers of the classes that are kept; all when empty.
        class_conf: least score by class number, in the place of that of the thresholds.
        slices, overlap: as in `ghost_deploy.load`.
        every, every_s: which frames of videos are taken.
    """

    model: str
    thresholds: Thresholds
    classes: tuple[int, ...] = ()
    class_conf: dict[str, float] = {}
    slices: int | None = None
    overlap: float = 0.2
    every: int = 1
    every_s: float | None = None


class PartRecord(msgspec.Struct, frozen=True):
    """A part: its file, its rows, and how many of them hold an error."""

    file: str
    rows: int
    errors: int = 0


class RunManifest(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `_manifest.json`.

    Attributes:
        identity: see `RunIdentity`.
        name: of the model.
        artifact: what was opened of it, e.g. `onnx-fp32`, and by which runtime, in words.
        class_names: by class id.
        part_rows: most rows of a part.
        key: the columns that no two rows have in common.
        columns: what each column holds.
        parts: that are there; while a run is under way, those of the runs before.
        complete: every source of the last run has its rows.
        created_with: name and version of the program.
        schema: version of this document.
    """

    identity: RunIdentity
    name: str
    artifact: str
    class_names: tuple[str, ...]
    part_rows: int
    key: tuple[str, ...] = KEY
    columns: dict[str, str] = msgspec.field(default_factory=COLUMNS.copy)
    parts: tuple[PartRecord, ...] = ()
    complete: bool = False
    created_with: str = f"ghost-deploy {__version__}"
    schema: int = SCHEMA

    def to_json(self) -> bytes:
        """The JSON form."""
        return encode_json(self)

    @classmethod
    def from_json(cls, data: bytes, where: str) -> RunManifest:
        """Parse the JSON form.

        Args:
            data: the JSON text.
            where: its file, for messages.

        Raises:
            StoreError: it is damaged or of another version.
        """
        fix = "Give another folder; what is in this one stays readable as Parquet"
        try:
            found = decode_json(data, cls, where=where)
        except SpecError as error:
            raise StoreError(f"{where} cannot be used", got=error.got, fix=fix) from error
        if found.part_rows < 1:
            raise StoreError(f"{where} cannot be used", got=f"part_rows {found.part_rows}", fix=fix)
        if found.schema != SCHEMA:
            raise StoreError(
                f"{where} was written by another version",
                got=f"schema {found.schema}",
                expected=SCHEMA,
                fix=fix,
            )
        return found


def refuse_other(found: RunIdentity, asked: RunIdentity, where: str) -> None:
    """Require that a run may continue what is there.

    Args:
        found: of the manifest.
        asked: of the run.
        where: the output folder.

    Raises:
        UsageError: they differ; the message says in what.
    """
    pairs = [(name, getattr(found, name), getattr(asked, name)) for name in found.__struct_fields__]
    different = [(name, old, new) for name, old, new in pairs if old != new]
    if different:
        raise UsageError(
            f"{where} holds rows of another model or other settings",
            got=", ".join(f"{name} {_short(new)}" for name, _, new in different),
            expected=", ".join(f"{name} {_short(old)}" for name, old, _ in different),
            fix="Give another folder with -o, or the settings of the run that is there",
        )


def _short(value: Any) -> str:
    if isinstance(value, str):
        return value[:12]
    if isinstance(value, Thresholds):
        limits = value.class_conf or value.conf
        agnostic = " agnostic" if value.agnostic else ""
        return f"conf {limits} iou {value.iou} max_det {value.max_det}{agnostic}"
    return str(value)

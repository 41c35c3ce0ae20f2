"""A bundle: the folder that an export writes and everything else reads.

    out/
      bundle.json        the spec, the artefacts with their hashes and lineage, the evidence
      model.fp32.onnx    ... one file or folder for each artefact

Writing is atomic: `BundleWriter` fills a hidden folder beside the target and renames it, and
`Bundle.save` replaces `bundle.json` by a rename. Hashes are checked before an artefact is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from ghost_deploy.errors import BundleError, ExportError, GhostDeployError, UsageError
from ghost_deploy.spec import ModelSpec, decode_json, encode_json

__all__ = ["Artifact", "Bundle", "BundleDocument", "BundleWriter", "Source", "sha256_of"]

DOCUMENT = "bundle.json"
SCHEMA = 1
_CHUNK = 1 << 20


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the weights came from. File names only: no folder of anybody's machine.

    Attributes:
        file: name of the checkpoint.
        sha256: of the checkpoint; the parent of every first-generation artefact.
        trained_with: framework and version that wrote it, e.g. `ultralytics 8.4.190`.
        trained_at: date recorded in the checkpoint, or an empty string.
        metrics: metrics recorded in the checkpoint, e.g. `mAP50-95`.
        class_paths: the `module.Class` paths found, and which of our definitions stands for each.
        modules: user-given definition files (`--modules`) by name, with their sha256.
        warnings: what the loader found worth saying.
    """

    file: str
    sha256: str
    trained_with: str = ""
    trained_at: str = ""
    metrics: dict[str, float] = {}
    class_paths: dict[str, str] = {}
    modules: dict[str, str] = {}
    warnings: tuple[str, ...] = ()


class Artifact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One deployable model in a bundle.

    Attributes:
        format: `onnx`, `openvino` or `tensorrt`.
        precision: `fp32`, `fp16` or `int8`: a property of the graph.
        path: what a runtime opens, relative to the bundle, with forward slashes.
        files: sha256 of every file that belongs to it, by relative path.
        parent: sha256 of what it was made from.
        tools: versions of what made it.
        options: what the export was asked for, as far as it changed the graph.
    """

    format: str
    precision: str
    path: str
    files: dict[str, str]
    parent: str
    tools: dict[str, str] = {}
    options: dict[str, str] = {}

    @property
    def id(self) -> str:
        """Short name within the bundle, e.g. `onnx-fp16`."""
        return f"{self.format}-{self.precision}"


class BundleDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of `bundle.json`.

    `evidence` maps a kind (`parity`, `accuracy`, `latency`) to the JSON document which that
    layer wrote; its form belongs to that layer and carries its own schema number.
    """

    spec: ModelSpec
    source: Source
    artifacts: tuple[Artifact, ...]
    created_with: str
    evidence: dict[str, Any] = {}
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"this version reads bundle schema {SCHEMA}, got {self.schema}")
        ids = [artifact.id for artifact in self.artifacts]
        if len(set(ids)) != len(ids):
            raise ValueError(f"artefacts must differ in format or precision, got {ids}")
        for artifact in self.artifacts:
            for name in (artifact.path, *artifact.files):
                if not _is_inside(name):
                    raise ValueError(f"an artefact path must stay inside the bundle, got {name!r}")


class Bundle:
    """A bundle on disk that was read and checked.

    Attributes:
        path: the folder.
        document: the content of `bundle.json`.
    """

    def __init__(self, path: Path, document: BundleDocument) -> None:
        self.path = path
        self.document = document

    def __repr__(self) -> str:
        ids = ", ".join(artifact.id for artifact in self.artifacts)
        return f"Bundle({str(self.path)!r}: {self.spec.name}; {ids})"

    @property
    def spec(self) -> ModelSpec:
        """The model's description."""
        return self.document.spec

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """All artefacts, in the order in which they were made."""
        return self.document.artifacts

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, verify: bool = False) -> Bundle:
        """Read `bundle.json` and see that every artefact is there.

        Args:
            path: the folder, or its `bundle.json`.
            verify: also check the hash of every file now; `verified_path` does it for one.

        Raises:
            BundleError: no bundle there, another schema, a missing or a changed file.
        """
        folder = Path(path)
        if folder.name == DOCUMENT:
            folder = folder.parent
        file = folder / DOCUMENT
        try:
            data = file.read_bytes()
        except OSError as error:
            raise BundleError(
                f"{folder} is not a bundle",
                got=f"{error.strerror} for {DOCUMENT}",
                fix="Make one with: ghost-deploy export CHECKPOINT -o BUNDLE",
            ) from error
        try:
            bundle = cls(folder, decode_json(data, BundleDocument, where=str(file)))
        except GhostDeployError as error:
            raise BundleError(
                f"{file} cannot be used",
                got=error.got,
                fix="It is damaged or from another version: export the model again",
            ) from error
        for artifact in bundle.artifacts:
            bundle._check_present(artifact)
            if verify:
                bundle.verified_path(artifact)
        return bundle

    def artifact(self, format: str, precision: str) -> Artifact:
        """The artefact of that format and precision.

        Raises:
            BundleError: the bundle has none; the message lists those that it has.
        """
        for artifact in self.artifacts:
            if (artifact.format, artifact.precision) == (format, precision):
                return artifact
        raise BundleError(
            f"{self.path} has no {format} artefact in {precision}",
            got=", ".join(a.id for a in self.artifacts) or "none",
            fix="Export it, or choose one of those",
        )

    def verified_path(self, artifact: Artifact) -> Path:
        """Absolute path of the artefact, after its hashes were checked.

        Raises:
            BundleError: a file is missing or is not the one that was written.
        """
        self._check_present(artifact)
        for name, wanted in artifact.files.items():
            found = sha256_of(self.path / name)
            if found != wanted:
                raise BundleError(
                    f"{self.path / name} was changed after it was written",
                    got=f"sha256 {found[:12]}",
                    expected=wanted[:12],
                    fix="Copy the bundle again, or export the model again",
                )
        return (self.path / artifact.path).resolve()

    def with_evidence(self, kind: str, document: Any) -> Bundle:
        """The same bundle with `document` as its evidence of that kind, not yet saved."""
        evidence = {**self.document.evidence, kind: document}
        return Bundle(self.path, msgspec.structs.replace(self.document, evidence=evidence))

    def save(self) -> None:
        """Write `bundle.json` atomically.

        Raises:
            BundleError: the folder cannot be written to; the old file is untouched.
        """
        data = encode_json(self.document)
        try:
            handle, name = tempfile.mkstemp(dir=self.path, prefix=".bundle-", suffix=".json")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                # mkstemp makes a file for the owner alone; a bundle is read by other accounts.
                os.chmod(name, 0o644)
                os.replace(name, self.path / DOCUMENT)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(name)
                raise
        except OSError as error:
            raise BundleError(
                f"cannot write {self.path / DOCUMENT}",
                got=error.strerror,
                fix="Free some space or choose a folder that you may write to",
            ) from error

    def _check_present(self, artifact: Artifact) -> None:
        for name in artifact.files:
            if not (self.path / name).is_file():
                raise BundleError(
                    f"{self.path} lacks {name}",
                    fix="Copy the whole folder again, or export the model again",
                )


class BundleWriter:
    """Fill a new bundle in a hidden folder and put it in place at the end, whole or not at all.

    Use it as a context manager: write files below `folder`, call `add` for each artefact and
    `finish` once. Leaving the block without `finish` removes everything.

    Raises:
        UsageError: `target` exists and is no bundle, or is one and `overwrite` is not set.
        ExportError: the disk refuses; nothing is left behind.
    """

    def __init__(self, target: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        self.target = Path(target)
        self._artifacts: list[Artifact] = []
        self._check_target(overwrite)
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            name = tempfile.mkdtemp(dir=self.target.parent, prefix=f".{self.target.name}-")
        except OSError as error:
            raise _disk(self.target, error) from error
        self.folder = Path(name)

    def add(
        self,
        *,
        format: str,
        precision: str,
        path: Path,
        parent: str,
        tools: dict[str, str],
        options: dict[str, str] | None = None,
        extra_files: tuple[Path, ...] = (),
    ) -> Artifact:
        """Record an artefact whose files lie below `folder`.

        Args:
            format, precision, parent, tools, options: as in `Artifact`.
            path: what a runtime opens.
            extra_files: files that belong to it besides `path`.
        """
        files = {self._relative(file): sha256_of(file) for file in (path, *extra_files)}
        artifact = Artifact(
            format=format,
            precision=precision,
            path=self._relative(path),
            files=files,
            parent=parent,
            tools=tools,
            options=options or {},
        )
        self._artifacts.append(artifact)
        return artifact

    def draft(self, spec: ModelSpec, source: Source, created_with: str) -> Bundle:
        """Write `bundle.json` into the hidden folder and return that bundle, to be proved."""
        document = BundleDocument(
            spec=spec, source=source, artifacts=tuple(self._artifacts), created_with=created_with
        )
        bundle = Bundle(self.folder, document)
        bundle.save()
        return bundle

    def finish(self) -> Bundle:
        """Put the folder in place and return the bundle there.

        Raises:
            ExportError: the disk refuses; an older bundle at the target is still there.
        """
        old: Path | None = None
        try:
            os.chmod(self.folder, 0o755)
            if self.target.exists():
                old = self.folder.with_name(self.folder.name + ".old")
                os.replace(self.target, old)
            os.replace(self.folder, self.target)
        except OSError as error:
            if old is not None and old.exists() and not self.target.exists():
                os.replace(old, self.target)
            raise _disk(self.target, error) from error
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)
        return Bundle.read(self.target)

    def __enter__(self) -> BundleWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise _disk(self.target, error) from error

    def _relative(self, file: Path) -> str:
        return file.resolve().relative_to(self.folder.resolve()).as_posix()

    def _check_target(self, overwrite: bool) -> None:
        if not self.target.exists():
            return
        is_bundle = (self.target / DOCUMENT).is_file()
        is_empty_folder = self.target.is_dir() and not any(self.target.iterdir())
        if is_empty_folder or (is_bundle and overwrite):
            return
        raise UsageError(
            f"{self.target} exists already" + ("" if is_bundle else " and is not a bundle"),
            fix="Choose another folder" + (", or pass --overwrite" if is_bundle else ""),
        )


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The file's sha256 in hexadecimal, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _is_inside(name: str) -> bool:
    parts = Path(name).parts
    return bool(parts) and not Path(name).is_absolute() and ".." not in parts


def _disk(target: Path, error: OSError) -> ExportError:
    return ExportError(
        f"cannot write {target}",
        got=error.strerror or str(error),
        fix="Free some space or choose a folder that you may write to; nothing was left behind",
    )

"""The content of `bundle.json`: description of the model, its source, artifacts and evidence."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec

from ghost_deploy.core.files import open_regular
from ghost_deploy.core.spec import HeadSpec, InputSpec, ModelSpec

DOCUMENT = "bundle.json"
"""Name of the document within the bundle's folder."""

SCHEMA = 1
"""Version of the document's form; a reader refuses any other."""

FORM_KEY = "ghost_deploy.int8_form"
"""Key of the metadata inside an int8 file that holds its form."""

NMS_FORM = "efficient-nms"
"""The form of an ONNX graph with TensorRT's plugin inside: no runtime opens it, engines are built
from it."""

CANDIDATE = "+"
"""Between a form and the name of a candidate: the machine that runs the bundle decides."""

GUARD_KEY = "ghost_deploy.overflow_guard"
"""Key of the metadata inside an int8 file whose weights were chosen so that nothing overflows."""

GUARD = "pairs"
"""Value of `GUARD_KEY`: sums of two neighbouring products fit into int16."""

MAX_FILE_BYTES = 8 << 30
"""Largest file of a bundle that is read; the protobuf of an ONNX file ends at 2 GiB."""

_MAX_ARTIFACTS = 256
_MAX_FILES = 64
_CHUNK = 1 << 20


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The origin of the weights. Files by name only, without folders of the exporting machine.

    Attributes:
        file: name of the checkpoint.
        sha256: of the checkpoint; the parent of every first-generation artifact.
        trained_with: framework and version that wrote it, e.g. `ultralytics 8.4.190`.
        trained_at: date recorded in the checkpoint, or an empty string.
        trained_hw: (height, width) in pixels that it was trained and its metrics were measured at;
            None where the checkpoint does not say, and in bundles of older versions.
        metrics: metrics recorded in the checkpoint, e.g. `mAP50-95`.
        training: how it was trained, in words by topic, e.g. `command`, `data`, `seed`; our own
            trainer records it.
        class_paths: the `module.Class` paths found, and which of our definitions stands for each.
        modules: user-given definition files (`--modules`) by name, with their sha256.
        warnings: of the loader.
    """

    file: str
    sha256: str
    trained_with: str = ""
    trained_at: str = ""
    metrics: dict[str, float] = {}
    training: dict[str, str] = {}
    class_paths: dict[str, str] = {}
    modules: dict[str, str] = {}
    warnings: tuple[str, ...] = ()
    trained_hw: tuple[int, int] | None = None


class Artifact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One deployable model in a bundle.

    Attributes:
        format: `onnx`, `openvino`, `litert` or `tensorrt`.
        precision: `fp32`, `fp16` or `int8`: a property of the graph.
        path: of the file that a runtime opens, relative to the bundle, with forward slashes.
        files: sha256 of every file that belongs to it, by relative path.
        sizes: bytes of every file that belongs to it; of files by versions that did not record
            them, empty.
        parent: sha256 of the file that it was converted from.
        tools: versions of the packages that wrote it.
        options: of the export, as far as they changed the graph.
        form: of an int8 graph, the runtime that its Q/DQ placement is for, e.g. `ort-x86`: no
            single int8 file serves all runtimes; of a candidate with its name, e.g.
            `ort-x86+minmax-entry-int8`. `NMS_FORM` of a graph with TensorRT's plugin. Else empty.
        head: of a graph whose outputs are others than those of the bundle's spec, as of one that
            was cut before its decoding; else None.
        input: of a graph whose input is another one, e.g. of a fixed size; else None.
    """

    format: str
    precision: str
    path: str
    files: dict[str, str]
    parent: str
    tools: dict[str, str] = {}
    options: dict[str, str] = {}
    form: str = ""
    sizes: dict[str, int] = {}
    head: HeadSpec | None = None
    input: InputSpec | None = None

    def spec_in(self, bundle: ModelSpec) -> ModelSpec:
        """The description of this artifact's graph: that of the bundle, with its own parts."""
        return msgspec.structs.replace(
            bundle, head=self.head or bundle.head, input=self.input or bundle.input
        )

    @property
    def id(self) -> str:
        """Short name within the bundle, e.g. `onnx-fp16` or `onnx-int8-ort-x86`."""
        tail = f"-{self.form}" if self.form not in ("", self.format) else ""
        return f"{self.format}-{self.precision}{tail}"

    @property
    def kernels(self) -> str:
        """The form that a runtime must execute: `form` without the name of a candidate."""
        return self.form.partition(CANDIDATE)[0]

    @property
    def is_candidate(self) -> bool:
        """Whether it is another int8 file of a form, taken only where it was found faster."""
        return CANDIDATE in self.form


class BundleDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of `bundle.json`.

    Attributes:
        spec: description of the model.
        source: origin of the weights.
        artifacts: of the bundle; no two of one format, precision and form.
        created_with: name and version of the program that wrote it.
        evidence: the JSON text of each document by its kind; `Bundle.evidence` decodes them.
        schema: version of this document.
    """

    spec: ModelSpec
    source: Source
    artifacts: tuple[Artifact, ...]
    created_with: str
    evidence: dict[str, msgspec.Raw] = {}
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"this version reads bundle schema {SCHEMA}, got {self.schema}")
        for kind, text in self.evidence.items():
            if not bytes(text).lstrip().startswith(b"{"):
                raise ValueError(f"the evidence {kind!r} is not a JSON object")
        ids = [artifact.id for artifact in self.artifacts]
        if len(set(ids)) != len(ids):
            raise ValueError(f"artifacts must differ in format, precision or form, got {ids}")
        if len(self.artifacts) > _MAX_ARTIFACTS:
            raise ValueError(f"a bundle has at most {_MAX_ARTIFACTS} artifacts, got {len(ids)}")
        for artifact in self.artifacts:
            if len(artifact.files) > _MAX_FILES:
                raise ValueError(f"{artifact.id} has {len(artifact.files)} files, not a model's")
            for name in (artifact.path, *artifact.files):
                if not _is_inside(name):
                    raise ValueError(f"an artifact path must stay inside the bundle, got {name!r}")
            if artifact.path not in artifact.files:
                raise ValueError(f"{artifact.path!r} is not among the files that have a hash")


def file_name(path: str | os.PathLike[str]) -> str:
    """The name without its folder, as text: bytes that are not UTF-8 are replaced.

    Python keeps such bytes as surrogates, which neither JSON nor a model's metadata can hold.
    """
    return os.fsencode(Path(path).name).decode("utf-8", "replace")


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The sha256 of a regular file in hexadecimal, read in pieces.

    Raises:
        OSError: it cannot be read, is no regular file, or exceeds `MAX_FILE_BYTES`.
    """
    digest = hashlib.sha256()
    with open_regular(path, MAX_FILE_BYTES) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _is_inside(name: str) -> bool:
    parts = Path(name).parts
    return bool(parts) and not Path(name).is_absolute() and ".." not in parts

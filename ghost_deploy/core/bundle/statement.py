"""What is signed of a bundle: two documents beside `bundle.json`, each with its signature.

    model.signed.json     the description of the model, its source, artifacts with hashes and sizes
    device.signed.json    what a device added later: engines, int8 artifacts, evidence

The bytes of these files are what is signed, so that no form of JSON has to be agreed upon; what
they say is compared with `bundle.json` by value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from ghost_deploy.core.bundle.manifest import Artifact, BundleDocument, Source
from ghost_deploy.core.spec import ModelSpec, encode_json

MODEL_FILE, DEVICE_FILE = "model.signed.json", "device.signed.json"
"""Names of the documents that are signed."""

SIGNATURE_SUFFIX = ".sig"
"""Of the file with the signature of a document, as `ssh-keygen -Y sign` names it."""

MODEL_NAMESPACE, DEVICE_NAMESPACE = "ghost-deploy-model", "ghost-deploy-device"
"""What a signature is for: a file of allowed signers can allow a key one of them only."""

SIGNING_FILES = tuple(
    name + suffix for name in (MODEL_FILE, DEVICE_FILE) for suffix in ("", SIGNATURE_SUFFIX)
)
"""All files that signing adds to a bundle."""

_FREE = frozenset({"accuracy", "boards", "latency"})
"""Kinds of evidence that `load` does not look at; they may change without a new signature."""


class ModelStatement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the key of a maker signs.

    Attributes:
        spec, source, artifacts: as in `BundleDocument`, of all artifacts at that time.
        evidence: sha256 of each kind of evidence that `load` depends on, see `evidence_hashes`.
        created_with: name and version of the program that wrote the statement.
        statement: `model`.
        schema: version of this document.
    """

    spec: ModelSpec
    source: Source
    artifacts: tuple[Artifact, ...]
    evidence: dict[str, str]
    created_with: str
    statement: Literal["model"] = "model"
    schema: Literal[1] = 1


class DeviceStatement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the key of a device signs: what it added to a model that its maker signed.

    Attributes:
        model: sha256 of the bytes of the model's statement.
        artifacts: those that the model's statement does not have.
        evidence: sha256 of each kind of evidence that differs from the model's statement.
        created_with, schema: as in `ModelStatement`.
        statement: `device`.
    """

    model: str
    artifacts: tuple[Artifact, ...]
    evidence: dict[str, str]
    created_with: str
    statement: Literal["device"] = "device"
    schema: Literal[1] = 1


def evidence_hashes(document: BundleDocument) -> dict[str, str]:
    """sha256 by kind of the evidence that `load` depends on, of its JSON without whitespace."""
    return {
        kind: hashlib.sha256(msgspec.json.format(bytes(text), indent=-1)).hexdigest()
        for kind, text in document.evidence.items()
        if kind not in _FREE
    }


def describe_model(document: BundleDocument, created_with: str) -> bytes:
    """The statement about all that a bundle holds."""
    return encode_json(
        ModelStatement(
            spec=document.spec,
            source=document.source,
            artifacts=document.artifacts,
            evidence=evidence_hashes(document),
            created_with=created_with,
        )
    )


def describe_device(document: BundleDocument, model: bytes, created_with: str) -> bytes:
    """The statement about what a bundle holds beyond the model's statement.

    Args:
        document: of the bundle.
        model: the bytes of the model's statement.
        created_with: name and version of this program.
    """
    base = msgspec.json.decode(model, type=ModelStatement)
    known = {artifact.id for artifact in base.artifacts}
    added = tuple(each for each in document.artifacts if each.id not in known)
    evidence = {
        kind: digest
        for kind, digest in evidence_hashes(document).items()
        if base.evidence.get(kind) != digest
    }
    return encode_json(
        DeviceStatement(
            model=hashlib.sha256(model).hexdigest(),
            artifacts=added,
            evidence=evidence,
            created_with=created_with,
        )
    )


def model_changes(document: BundleDocument, model: ModelStatement) -> Iterator[str]:
    """How the description, source and artifacts of a bundle differ from what was signed."""
    if encode_json(document.spec) != encode_json(model.spec):
        yield "the model's description was changed"
    if encode_json(document.source) != encode_json(model.source):
        yield "the record of the checkpoint was changed"
    yield from _artifact_changes(document, model.artifacts)


def other_changes(
    document: BundleDocument, model: ModelStatement, device: DeviceStatement | None
) -> Iterator[str]:
    """What a bundle holds, or lacks, that neither statement covers."""
    added = device.artifacts if device else ()
    signed = {artifact.id for artifact in model.artifacts}
    yield from (f"{each.id} is signed twice" for each in added if each.id in signed)
    yield from _artifact_changes(document, added)
    signed |= {artifact.id for artifact in added}
    yield from (f"{each.id} was added" for each in document.artifacts if each.id not in signed)
    hashes = {**model.evidence, **(device.evidence if device else {})}
    found = evidence_hashes(document)
    for kind in sorted({*hashes, *found}):
        if kind not in found:
            yield f"the evidence of {kind} was removed"
        elif kind not in hashes:
            yield f"evidence of {kind} was added"
        elif found[kind] != hashes[kind]:
            yield f"the evidence of {kind} was changed"


def drop_stale(folder: Path, document: BundleDocument) -> None:
    """Remove the statements that do not hold for a bundle that is being written.

    Args:
        folder: that of the bundle, before it is put in place.
        document: its document.
    """
    model = _decoded(folder / MODEL_FILE, ModelStatement)
    if model is None or any(model_changes(document, model)):
        stale: Sequence[str] = SIGNING_FILES
    else:
        device = _decoded(folder / DEVICE_FILE, DeviceStatement)
        holds = device is not None and not any(_artifact_changes(document, device.artifacts))
        stale = [] if holds else [name for name in SIGNING_FILES if name.startswith(DEVICE_FILE)]
    for name in stale:
        (folder / name).unlink(missing_ok=True)


def _decoded(path: Path, kind: type[msgspec.Struct]) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _artifact_changes(document: BundleDocument, signed: Sequence[Artifact]) -> Iterator[str]:
    found = {artifact.id: artifact for artifact in document.artifacts}
    for artifact in signed:
        if artifact.id not in found:
            yield f"{artifact.id} was removed"
        elif found[artifact.id] != artifact:
            yield f"{artifact.id} was changed"

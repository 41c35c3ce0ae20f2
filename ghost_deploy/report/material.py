"""The sources of a report: JSON documents of other commands, and bundles."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from ghost_deploy.core.bundle import DOCUMENT, Bundle, BundleDocument, file_name
from ghost_deploy.core.bundle.trust import claimed_signers
from ghost_deploy.core.errors import GhostDeployError, InputError, UsageError
from ghost_deploy.core.evidence.accuracy import AccuracyReport
from ghost_deploy.core.evidence.comparison import CompareReport
from ghost_deploy.core.evidence.json_document import Document
from ghost_deploy.core.evidence.latency import BenchReport
from ghost_deploy.core.evidence.parity import ParityReport
from ghost_deploy.core.files import MAX_TEXT_BYTES, read_regular
from ghost_deploy.report.checks import contradictions
from ghost_deploy.report.report_document import BundleFacts, Report, SourceFile

_Part: TypeAlias = "ParityReport | AccuracyReport | BenchReport"

_PARTS = (ParityReport, AccuracyReport, BenchReport)
_KINDS: dict[str, type[Document]] = {each.KIND: each for each in (*_PARTS, Report, CompareReport)}
_AGAIN = "Make it again with this version: ghost-deploy validate, bench or parity with --json"
_MAKERS = "validate --json, bench --json, parity --json, report --json, or a bundle"


@dataclass
class Material:
    """The documents and bundles that a report is built from."""

    parity: list[ParityReport] = field(default_factory=list)
    accuracy: list[AccuracyReport] = field(default_factory=list)
    latency: list[BenchReport] = field(default_factory=list)
    bundles: list[BundleFacts] = field(default_factory=list)
    sources: list[SourceFile] = field(default_factory=list)

    def add(self, part: _Part, where: str) -> None:
        """Add a document, once.

        Args:
            part: the document.
            where: its source, for the error message.

        Raises:
            InputError: it contradicts itself.
        """
        problems = list(contradictions(part))
        if problems:
            raise InputError(f"{where} contradicts itself", got="; ".join(problems[:3]), fix=_AGAIN)
        place: list[_Part] = getattr(self, part.KIND)
        if part not in place:
            place.append(part)

    def add_comparison(self, comparison: CompareReport) -> None:
        """Add the documents of a comparison.

        Raises:
            InputError: one contradicts itself.
        """
        self.add(comparison.accuracy, "the comparison")
        if comparison.latency is not None:
            self.add(comparison.latency, "the comparison")

    def add_report(self, report: Report) -> None:
        """Add the sources of another report."""
        parts: tuple[_Part, ...] = (*report.parity, *report.accuracy, *report.latency)
        for part in parts:
            self.add(part, "the report")
        self.sources += report.sources
        self.bundles += [bundle for bundle in report.bundles if bundle not in self.bundles]

    def add_bundle(self, bundle: Bundle) -> None:
        """Add a bundle; see `use_evidence`."""
        signers = bundle.signers or claimed_signers(bundle.path)
        name = bundle.path.resolve().name
        signed = tuple(map(str, signers))
        self.bundles.append(BundleFacts(name=name, document=bundle.document, signed_by=signed))

    def use_evidence(self) -> None:
        """Use the evidence of bundles where no document of that kind was given.

        Evidence of a bundle has no raw samples, curves or images: a document is preferred.

        Raises:
            SpecError: stored evidence is damaged or of another version.
        """
        kinds = [each.KIND for each in _PARTS]
        lacking = [kind for kind in kinds if not getattr(self, kind)]
        for index, facts in enumerate(self.bundles):
            for kind in kinds:
                part = getattr(facts.evidence, kind)
                if part is not None and kind in lacking:
                    self.add(part, f"the {kind} evidence of {facts.name}")
            others = {k: v for k, v in facts.document.evidence.items() if k not in kinds}
            document = msgspec.structs.replace(facts.document, evidence=others)
            self.bundles[index] = msgspec.structs.replace(facts, document=document)


def read_sources(paths: Sequence[str | os.PathLike[str]]) -> Material:
    """Read documents and bundles, each recognized by its content.

    Args:
        paths: JSON files that commands printed, reports, bundle folders or their `bundle.json`.

    Raises:
        UsageError: no path, or one twice.
        InputError: a file cannot be read or is none of the known documents.
        BundleError: a folder is no bundle, or a damaged one.
    """
    places = [Path(path) for path in paths]
    if not places:
        raise UsageError("there is nothing to report on", expected=_MAKERS, fix="Name a file")
    material = Material()
    for place in places:
        if places.count(place) > 1:
            raise UsageError(f"{place} is given twice", fix="Name each file once")
        if place.is_dir() or place.name == DOCUMENT:
            _read_bundle(place, material)
        else:
            _read_file(place, material)
    material.use_evidence()
    return material


def _read_bundle(place: Path, material: Material) -> None:
    bundle = Bundle.read(place)
    material.add_bundle(bundle)
    data = read_regular(bundle.path / DOCUMENT, MAX_TEXT_BYTES)
    material.sources.append(_source(bundle.path.resolve() / DOCUMENT, "bundle", data))


def _read_file(place: Path, material: Material) -> None:
    try:
        data = read_regular(place, MAX_TEXT_BYTES)
        document = msgspec.json.decode(data)
    except OSError as error:
        raise InputError(
            f"cannot read {place}", got=error.strerror, fix="Check the path"
        ) from error
    # RecursionError: nested too deeply.
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(
            f"{place} is not a JSON document", got=str(error), expected=_MAKERS, fix=_AGAIN
        ) from error
    kind = _kind_of(document, place)
    try:
        part = _KINDS[kind].from_document(document, where=str(place))
    except GhostDeployError as error:
        raise InputError(
            f"{place} looks like a {kind} document and cannot be read", got=error.got, fix=_AGAIN
        ) from error
    if isinstance(part, Report):
        material.add_report(part)
    elif isinstance(part, CompareReport):
        material.add_comparison(part)
    elif isinstance(part, _PARTS):
        material.add(part, str(place))
    material.sources.append(_source(place, kind, data))


def _kind_of(document: object, place: Path) -> str:
    """The one kind whose required keys are all there."""
    keys = set(document) if isinstance(document, dict) else set()
    for kind, form in _KINDS.items():
        required = {each.name for each in msgspec.structs.fields(form) if each.required}
        if required <= keys:
            return kind
    required = {each.name for each in msgspec.structs.fields(BundleDocument) if each.required}
    hint = "Name the bundle's folder" if required <= keys else _AGAIN
    listed = ", ".join(sorted(map(str, keys))[:8])
    raise InputError(
        f"{place} is no document that a report can be built from",
        got=f"the keys {listed}" if listed else f"a JSON {type(document).__name__}",
        expected=_MAKERS,
        fix=hint,
    )


def _source(place: Path, kind: Any, data: bytes) -> SourceFile:
    name = place.parent.name if kind == "bundle" else file_name(place)
    return SourceFile(name=name, kind=kind, sha256=hashlib.sha256(data).hexdigest())

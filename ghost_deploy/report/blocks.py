"""The report: one document from which every page is rendered, and nothing else."""

from __future__ import annotations

from itertools import chain
from typing import Any, Literal

import msgspec

from ghost_deploy.core.bundle import BundleDocument
from ghost_deploy.core.errors import SpecError
from ghost_deploy.core.evidence.accuracy import AccuracyReport
from ghost_deploy.core.evidence.int8 import Int8Report
from ghost_deploy.core.evidence.kinds import Evidence
from ghost_deploy.core.evidence.latency import BenchReport
from ghost_deploy.core.evidence.parity import ParityReport
from ghost_deploy.core.spec import decode_json
from ghost_deploy.report.checks import contradictions

__all__ = ["SCHEMA", "BundleFacts", "Place", "Report", "Row", "SourceFile", "Tone", "Verdict"]

SCHEMA = 1
"""Version of the JSON form of `Report`; a reader refuses any other."""

Tone = Literal["good", "warn", "bad"]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the document's parts."""


class SourceFile(_Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file that the report was made of: its name without its folder, and its sha256."""

    name: str
    kind: Literal["accuracy", "bundle", "latency", "parity", "report"]
    sha256: str


class BundleFacts(_Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A bundle: its folder's name, and its document without the evidence that stands elsewhere."""

    name: str
    document: BundleDocument

    @property
    def evidence(self) -> Evidence:
        """What the bundle keeps and no other document of the report says."""
        return Evidence(self.document.evidence, self.name)

    @property
    def int8(self) -> Int8Report | None:
        """Its calibration; None also where that is of another version, see `sections.evidence`."""
        try:
            return self.evidence.int8
        except SpecError:
            return None


class Place(_Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a row's figures are: index of the report of that kind, and of the row in it."""

    report: int
    row: int


class Row(_Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One artifact on one runtime in one precision, wherever it was measured.

    Attributes:
        label: names it among all rows, e.g. `OpenVINO FP16`.
        artifact, sha256: its id, and the hash of the file that the runtime opens.
        runtime, precision: what it was run on and in.
        baseline: it is there for others to be compared with.
        parity, accuracy, latency: its figures; None where there are none.
        standing: `passes` where something vouches for it and nothing failed; `unproved` where
            nothing was judged; `skipped` where this machine cannot run it.
        reasons: why it does not pass.
    """

    label: str
    artifact: str
    sha256: str
    runtime: str
    precision: str
    baseline: bool = False
    parity: Place | None = None
    accuracy: Place | None = None
    latency: Place | None = None
    standing: Literal["passes", "fails", "unproved", "skipped"] = "unproved"
    reasons: tuple[str, ...] = ()


class Verdict(_Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to do, in one sentence.

    Attributes:
        tone: `bad` where nothing may be deployed, `warn` where something must be known first.
        headline: the sentence.
        reasons: what it rests on, and what speaks against it.
        row: index of the recommended row; None where none is.
    """

    tone: Tone
    headline: str
    reasons: tuple[str, ...] = ()
    row: int | None = None


class Report(_Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that was measured of one or several deployments.

    Attributes:
        title: the models' names.
        created_at: UTC, ISO 8601.
        created_with: the program and its version.
        verdict: what follows from the rest.
        rows: each thing that was run, and where its figures are.
        parity, accuracy, latency: what the commands reported, whole.
        bundles: what the artifacts are and where they come from.
        sources: the files that were read.
    """

    title: str
    created_at: str
    created_with: str
    verdict: Verdict
    rows: tuple[Row, ...]
    parity: tuple[ParityReport, ...] = ()
    accuracy: tuple[AccuracyReport, ...] = ()
    latency: tuple[BenchReport, ...] = ()
    bundles: tuple[BundleFacts, ...] = ()
    sources: tuple[SourceFile, ...] = ()
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"this version reads report schema {SCHEMA}, got {self.schema}")
        parts: tuple[ParityReport | AccuracyReport | BenchReport, ...]
        parts = (*self.parity, *self.accuracy, *self.latency)
        for problem in chain.from_iterable(map(contradictions, parts)):
            raise ValueError(problem)
        for row in self.rows:
            for place, reports in (
                (row.parity, self.parity),
                (row.accuracy, self.accuracy),
                (row.latency, self.latency),
            ):
                if place and not _exists(place, reports):
                    raise ValueError(f"the figures of {row.label!r} are not in the document")
        if self.verdict.row is not None and not 0 <= self.verdict.row < len(self.rows):
            raise ValueError("the verdict names a row that is not in the document")

    def to_document(self) -> dict[str, Any]:
        """The JSON form as plain values."""
        # Through JSON: bundles keep their evidence as JSON text.
        document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return document

    @classmethod
    def from_document(cls, document: dict[str, Any], *, where: str = "the report") -> Report:
        """Read what `to_document` wrote.

        Raises:
            SpecError: unknown keys, another schema, or values of the wrong type.
        """
        return decode_json(msgspec.json.encode(document), cls, where=where)


def _exists(place: Place, reports: tuple[ParityReport | AccuracyReport | BenchReport, ...]) -> bool:
    return 0 <= place.report < len(reports) and 0 <= place.row < len(reports[place.report].rows)

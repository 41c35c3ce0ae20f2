"""The report: the document from which all pages are rendered."""

from __future__ import annotations

from itertools import chain
from typing import Any, ClassVar, Literal, TypeVar

import msgspec

from ghost_deploy.core.bundle import BundleDocument
from ghost_deploy.core.errors import SpecError
from ghost_deploy.core.evidence.accuracy import AccuracyReport
from ghost_deploy.core.evidence.int8 import Int8Report
from ghost_deploy.core.evidence.json_document import Document, Part
from ghost_deploy.core.evidence.kinds import Evidence
from ghost_deploy.core.evidence.latency import BenchReport
from ghost_deploy.core.evidence.parity import ParityReport
from ghost_deploy.report.checks import contradictions

D = TypeVar("D", bound=Document)

Tone = Literal["good", "warn", "bad"]


class SourceFile(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file that the report was built from: its name without its folder, and its sha256."""

    name: str
    kind: Literal["accuracy", "bundle", "comparison", "latency", "parity", "report"]
    sha256: str


class BundleFacts(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A bundle.

    Attributes:
        name: of its folder.
        document: its document, without the evidence that is elsewhere.
        signed_by: who signed it, in words.
    """

    name: str
    document: BundleDocument
    signed_by: tuple[str, ...] = ()

    @property
    def evidence(self) -> Evidence:
        """Evidence that is in no other document of the report."""
        return Evidence(self.document.evidence, self.name)

    @property
    def int8(self) -> Int8Report | None:
        """The result of its calibration, see `read`."""
        return self.read(Int8Report)

    def read(self, kind: type[D]) -> D | None:
        """Its document of a kind; None also where that is damaged or of another version."""
        try:
            document = getattr(self.evidence, kind.KIND)
        except SpecError:
            return None
        assert document is None or isinstance(document, kind)
        return document


class RowRef(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The place of a row's figures: index of the document of that kind, and of the row in it."""

    report: int
    row: int


class ReportRow(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One artifact on one runtime in one precision, with all that was measured of it.

    Attributes:
        label: names it among all rows, e.g. `OpenVINO FP16`.
        artifact, sha256: its id, and the hash of the file that the runtime opens.
        runtime, precision: what it was run on and in.
        baseline: the others are compared with it.
        parity, accuracy, latency: its figures; None where there are none.
        standing: `passes` where a gate was passed and none failed; `unproved` where nothing
            was judged; `skipped` where this machine cannot run it.
        reasons: why it does not pass.
    """

    label: str
    artifact: str
    sha256: str
    runtime: str
    precision: str
    baseline: bool = False
    parity: RowRef | None = None
    accuracy: RowRef | None = None
    latency: RowRef | None = None
    standing: Literal["passes", "fails", "unproved", "skipped"] = "unproved"
    reasons: tuple[str, ...] = ()


class Verdict(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The recommendation, in one sentence.

    Attributes:
        tone: `bad` where nothing may be deployed, `warn` where something must be known first.
        headline: the sentence.
        reasons: its grounds and its limits.
        row: index of the recommended row; None where none is.
    """

    tone: Tone
    headline: str
    reasons: tuple[str, ...] = ()
    row: int | None = None


class Report(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that was measured of one or several deployments.

    Attributes:
        title: the models' names.
        created_at: UTC, ISO 8601.
        created_with: the program and its version.
        verdict: what follows from the rest.
        rows: all runs, and where their figures are.
        parity, accuracy, latency: the documents of the commands.
        bundles: the artifacts and their lineage.
        sources: the files that were read.
    """

    KIND: ClassVar[str] = "report"

    title: str
    created_at: str
    created_with: str
    verdict: Verdict
    rows: tuple[ReportRow, ...]
    parity: tuple[ParityReport, ...] = ()
    accuracy: tuple[AccuracyReport, ...] = ()
    latency: tuple[BenchReport, ...] = ()
    bundles: tuple[BundleFacts, ...] = ()
    sources: tuple[SourceFile, ...] = ()

    def __post_init__(self) -> None:
        Document.__post_init__(self)
        parts: tuple[ParityReport | AccuracyReport | BenchReport, ...]
        parts = (*self.parity, *self.accuracy, *self.latency)
        for problem in chain.from_iterable(map(contradictions, parts)):
            raise ValueError(problem)
        for row in self.rows:
            for kind in ("parity", "accuracy", "latency"):
                ref = getattr(row, kind)
                found = [len(each.rows) for each in getattr(self, kind)]
                if ref and not (0 <= ref.report < len(found) and 0 <= ref.row < found[ref.report]):
                    raise ValueError(f"the figures of {row.label!r} are not in the document")
        if self.verdict.row is not None and not 0 <= self.verdict.row < len(self.rows):
            raise ValueError("the verdict names a row that is not in the document")

    def to_document(self) -> dict[str, Any]:
        """The JSON form as plain values."""
        # Through JSON: bundles keep their evidence as JSON text.
        document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return document

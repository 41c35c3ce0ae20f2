"""Two models, the old and the new one, on the same images."""

from __future__ import annotations

from typing import ClassVar

from ghost_deploy.core.evidence.accuracy import AccuracyReport, AccuracyRow
from ghost_deploy.core.evidence.json_document import Document, Part
from ghost_deploy.core.evidence.latency import BenchReport, Ratio


class ComparedModel(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of the two.

    Attributes:
        name: what the user gave, without its folder.
        artifact: its id in the bundle, or the name of the file.
        sha256: of the file that was opened.
        runtime, precision: of the run.
        classes: its class names, by class id.
    """

    name: str
    artifact: str
    sha256: str
    runtime: str
    precision: str
    classes: tuple[str, ...]

    @property
    def label(self) -> str:
        """Short name, e.g. `best openvino-fp32 on openvino in fp32`; a file is named once."""
        names = " ".join(dict.fromkeys((self.name, self.artifact)))
        return f"{names} on {self.runtime}{f' in {self.precision}' if self.precision else ''}"


class CompareReport(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The new model against the old one.

    Attributes:
        old, new: the models.
        accuracy: the old model is its reference, the new one its only row.
        latency: of both, side by side; the old model is the baseline. None if it was not measured.
        left_out: classes that only one of the two has, and that were not compared.
        warnings: for the reader.
    """

    KIND: ClassVar[str] = "comparison"

    old: ComparedModel
    new: ComparedModel
    accuracy: AccuracyReport
    latency: BenchReport | None = None
    left_out: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def row(self) -> AccuracyRow:
        """The figures of the new model, and its difference from the old one."""
        return self.accuracy.rows[0]

    @property
    def outcome(self) -> bool | None:
        """Whether the new model lost no more than is allowed."""
        return self.row.status == "passed"

    @property
    def speed(self) -> Ratio | None:
        """How many times as fast the new model is, from file to detections or alone; None where
        it was not measured."""
        rows = self.latency.rows if self.latency else ()
        found = next((row.comparison for row in rows if row.comparison), None)
        return None if found is None else found.end_to_end or found.run

    def summary(self) -> str:
        """The verdict in one sentence."""
        row = self.row
        verdict = "passes" if self.outcome else "fails"
        figures = f"{row.delta or 0:+.2f} points of mAP50-95"
        figures += f" ({row.interval})" if row.interval else ""
        text = f"The new model {verdict}: {figures}, {row.max_drop:g} may be lost"
        if self.speed is None:
            return text
        word = "" if self.speed.decided else ", which may be chance"
        return f"{text}; {self.speed} times as fast{word}"

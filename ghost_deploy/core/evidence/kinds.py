"""The evidence of a bundle: typed documents by kind, decoded on access."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, cast

import msgspec

from ghost_deploy.core.evidence.json_document import Document
from ghost_deploy.core.spec import decode_json

if TYPE_CHECKING:
    from ghost_deploy.core.evidence.accuracy import AccuracyReport
    from ghost_deploy.core.evidence.boards import BoardsReport
    from ghost_deploy.core.evidence.build import BuildRecords
    from ghost_deploy.core.evidence.fork_report import ForkReport
    from ghost_deploy.core.evidence.int8 import Int8Report
    from ghost_deploy.core.evidence.latency import BenchReport
    from ghost_deploy.core.evidence.parity import ParityReport
    from ghost_deploy.core.evidence.reference import ReferenceNote
    from ghost_deploy.core.evidence.statistics_report import StatisticsReport
    from ghost_deploy.core.evidence.threshold_report import ThresholdReport

_CLASSES = {
    "accuracy": "accuracy.AccuracyReport",
    "boards": "boards.BoardsReport",
    "build": "build.BuildRecords",
    "fork": "fork_report.ForkReport",
    "int8": "int8.Int8Report",
    "latency": "latency.BenchReport",
    "parity": "parity.ParityReport",
    "reference": "reference.ReferenceNote",
    "statistics": "statistics_report.StatisticsReport",
    "thresholds": "threshold_report.ThresholdReport",
}
"""The class of each kind, below this package. It is imported when a bundle has such a document: to
detect objects takes few of them.
"""


class _Named(msgspec.Struct):
    """The keys by which a document names a file beside `bundle.json`."""

    file: object = ""
    sha256: object = ""


class Evidence:
    """The measurements of the artifacts of a bundle.

    Each property is None where the bundle has no document of that kind, and raises SpecError
    where it is damaged or of another version. Documents of kinds that this version does not know
    are kept as they are.

    Args:
        documents: JSON text by kind, as `bundle.json` has it.
        where: the bundle, for error messages.
    """

    def __init__(self, documents: Mapping[str, msgspec.Raw], where: str) -> None:
        self.documents = dict(documents)
        self._where = where

    @cached_property
    def parity(self) -> ParityReport | None:
        """Differences from the checkpoint."""
        return cast("ParityReport | None", self._read("parity"))

    @cached_property
    def accuracy(self) -> AccuracyReport | None:
        """mAP of each artifact."""
        return cast("AccuracyReport | None", self._read("accuracy"))

    @cached_property
    def latency(self) -> BenchReport | None:
        """Times of each artifact."""
        return cast("BenchReport | None", self._read("latency"))

    @cached_property
    def int8(self) -> Int8Report | None:
        """Result of calibration."""
        return cast("Int8Report | None", self._read("int8"))

    @cached_property
    def build(self) -> BuildRecords | None:
        """TensorRT engines."""
        return cast("BuildRecords | None", self._read("build"))

    @cached_property
    def boards(self) -> BoardsReport | None:
        """What the bundle did on boards at the other end of an SSH line."""
        return cast("BoardsReport | None", self._read("boards"))

    @cached_property
    def reference(self) -> ReferenceNote | None:
        """The images and outputs that the bundle carries."""
        return cast("ReferenceNote | None", self._read("reference"))

    @cached_property
    def fork(self) -> ForkReport | None:
        """The fork's own code that was executed."""
        return cast("ForkReport | None", self._read("fork"))

    @cached_property
    def statistics(self) -> StatisticsReport | None:
        """Recorded batch norm statistics of the checkpoint against its network."""
        return cast("StatisticsReport | None", self._read("statistics"))

    @cached_property
    def thresholds(self) -> ThresholdReport | None:
        """Score thresholds by class, and the curves that they were chosen from."""
        return cast("ThresholdReport | None", self._read("thresholds"))

    def files(self) -> list[tuple[str, str]]:
        """(name, sha256) of the files that documents of any kind name by `file` and `sha256`."""
        texts = (msgspec.json.decode(text, type=_Named) for text in self.documents.values())
        return [
            (each.file, each.sha256)
            for each in texts
            if isinstance(each.file, str) and isinstance(each.sha256, str) and each.sha256
        ]

    def having(self, document: Document) -> Evidence:
        """A copy in which `document` takes the place of the one of its kind."""
        text = msgspec.Raw(msgspec.json.encode(document.to_document()))
        return Evidence({**self.documents, document.KIND: text}, self._where)

    def _read(self, kind: str) -> Document | None:
        text = self.documents.get(kind)
        if text is None:
            return None
        module, name = _CLASSES[kind].split(".")
        found = importlib.import_module(f"ghost_deploy.core.evidence.{module}")
        where = f"the {kind} evidence of {self._where}"
        plain = decode_json(bytes(text), dict[str, msgspec.Raw], where=where)
        return cast("type[Document]", getattr(found, name)).from_document(plain, where=where)

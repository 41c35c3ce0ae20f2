"""The parity report: figures, verdicts and what they rest on, ready for JSON."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ghost_deploy.core.spec import Thresholds, decode_json
from ghost_deploy.judge.parity.figures import DetectionFigures, TensorFigures
from ghost_deploy.judge.parity.gate import Gate

__all__ = [
    "SCHEMA",
    "Attribution",
    "Evidence",
    "ImageRef",
    "ParityReport",
    "ParityRow",
    "StageFinding",
]

SCHEMA = 1
"""Version of the JSON form of `ParityReport`; a reader refuses any other."""


class ImageRef(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An image that was compared: its file name, and the first 12 digits of its sha256."""

    name: str
    sha256: str


class Evidence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the verdict rests on.

    Attributes:
        source: the user's images, or the demo scenes.
        strength: `weak` when a passed gate says little about this model's real pictures.
        images, detections: how many; detections are the reference's, above the threshold.
        sentence: the same for a person.
    """

    source: Literal["images", "demo"]
    strength: Literal["good", "weak"]
    images: int
    detections: int
    sentence: str


class StageFinding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One stage swapped alone: whether it agrees, and the figures."""

    stage: str
    ok: bool
    sentence: str


class Attribution(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a failed gate's difference comes from.

    Attributes:
        stage: `preprocess`, `graph`, `precision`, `graph or precision`, `decode/NMS`, `descale`,
            or `unclear`.
        sentence: the finding on that stage, in words and figures.
        image: the image that was looked at, the worst one.
        findings: every stage that was tried, in the order of the road.
    """

    stage: str
    sentence: str
    image: str
    findings: tuple[StageFinding, ...] = ()


class ParityRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One artifact on one runtime in one precision.

    Attributes:
        artifact: its id in the bundle, e.g. `onnx-fp16`.
        sha256: of the file that the runtime opens.
        runtime, precision: what it was asked to run on and in.
        status: `skipped` is no verdict: this machine cannot run it.
        reasons: why it failed or was skipped; empty when it passed.
        gate: the bars.
        coarse: why the bars are wider than the precision's and the figures are against float64,
            where float32 itself is too coarse for the network; empty elsewhere.
        tensor, detections: the figures; None when it did not run.
        attribution: where the difference comes from; None unless a comparison failed.
        device, version, compute, notes: as the runtime reported them.
    """

    artifact: str
    sha256: str
    runtime: str
    precision: str
    status: Literal["passed", "failed", "skipped"]
    gate: Gate
    coarse: str = ""
    reasons: tuple[str, ...] = ()
    tensor: TensorFigures | None = None
    detections: DetectionFigures | None = None
    attribution: Attribution | None = None
    device: str = ""
    version: str = ""
    compute: str = ""
    notes: tuple[str, ...] = ()


class ParityReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a bundle's artifacts compare with the PyTorch module.

    Attributes:
        model: name of the model.
        checkpoint, checkpoint_sha256: the reference's weights.
        reference: what the reference ran on, e.g. `eager (PyTorch 2.6.0), fp32`.
        semantics: whose arithmetic the pre- and post-processing and the network follow.
        sizes_hw: input sizes (height, width) in pixels; the images took turns where a dynamic
            graph has several.
        thresholds: of the post-processing.
        rows: one for each artifact, runtime and precision.
        evidence: what the verdict rests on.
        images: what was compared.
        tools: versions of what took part.
        warnings: anything else that a reader should know.
    """

    model: str
    checkpoint: str
    checkpoint_sha256: str
    reference: str
    semantics: str
    sizes_hw: tuple[tuple[int, int], ...]
    thresholds: Thresholds
    rows: tuple[ParityRow, ...]
    evidence: Evidence
    images: tuple[ImageRef, ...]
    tools: dict[str, str]
    warnings: tuple[str, ...] = ()
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"this version reads parity schema {SCHEMA}, got {self.schema}")

    @property
    def passed(self) -> bool:
        """Whether something ran and nothing that ran failed."""
        states = {row.status for row in self.rows}
        return "passed" in states and "failed" not in states

    def summary(self) -> str:
        """The verdict in one sentence."""
        counts = {s: sum(row.status == s for row in self.rows) for s in ("passed", "failed")}
        ran = counts["passed"] + counts["failed"]
        skipped = len(self.rows) - ran
        tail = f"; {skipped} skipped" if skipped else ""
        if not ran:
            return f"Parity failed: nothing could be run on this machine{tail}"
        verdict = "passed" if self.passed else "failed"
        return f"Parity {verdict}: {counts['passed']} of {ran} runs within their gates{tail}"

    def to_document(self) -> dict[str, Any]:
        """The JSON form as plain values, with the verdict, for `Bundle.with_evidence`."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        return {"passed": self.passed, **document}

    @classmethod
    def from_document(cls, document: dict[str, Any], *, where: str = "the report") -> ParityReport:
        """Read what `to_document` wrote.

        Raises:
            SpecError: unknown keys, another schema, or values of the wrong type.
        """
        plain = {key: value for key, value in document.items() if key != "passed"}
        return decode_json(msgspec.json.encode(plain), cls, where=where)

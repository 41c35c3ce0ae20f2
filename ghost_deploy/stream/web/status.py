"""The state of a run as one document, for programs and the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from ghost_deploy.detector import Detector
from ghost_deploy.stream.sinks.sink import DeliveryStats
from ghost_deploy.stream.source_stats import SourceStats
from ghost_deploy.stream.web.latest_results import SourceTotals


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """The model that runs and what it runs on, as the runtime reports it.

    Attributes:
        name: of the model.
        runtime, version: the backend and the version of its package.
        device: the device obtained.
        precision: the precision of the run.
        size_hw: (height, width) of the model's input.
        class_names: names by class id.
    """

    name: str
    runtime: str
    version: str
    device: str
    precision: str
    size_hw: tuple[int, int]
    class_names: tuple[str, ...]

    @classmethod
    def of(cls, detector: Detector) -> ModelCard:
        """Return the card of a detector."""
        info = detector.runtime.info
        return cls(
            name=detector.spec.name,
            runtime=info.runtime,
            version=info.version,
            device=info.device,
            precision=info.precision,
            size_hw=detector.spec.input.size_hw,
            class_names=tuple(detector.spec.class_names),
        )


@dataclass(frozen=True)
class SourceStatus(SourceStats):
    """A source: its `SourceStats`, and what was detected.

    Attributes:
        counts: detections of each class in the newest result.
        totals: the same, summed over all results; an object counts in each frame.
        timings_ms: of the newest result, by stage.
    """

    counts: dict[str, int] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    timings_ms: Mapping[str, float] = field(default_factory=dict)


class RunStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The whole run at one moment.

    Attributes:
        schema: version of this document.
        tool: version of ghost-deploy.
        health, reasons: see `Health`.
        uptime_s: since the start of the view, seconds.
        deliveries: counters of the sinks that may lose results, by name.
    """

    schema: int = 1
    tool: str
    health: str
    reasons: tuple[str, ...] = ()
    uptime_s: float
    model: ModelCard
    sources: tuple[SourceStatus, ...]
    deliveries: dict[str, DeliveryStats]


def describe(stats: SourceStats, totals: SourceTotals | None) -> SourceStatus:
    """Combine the counters of the pipeline with what was detected."""
    if totals is None:
        return SourceStatus(**vars(stats))
    latest = totals.latest.result
    return SourceStatus(
        **vars(stats),
        counts=Counter(latest.detections.names),
        totals=totals.detections,
        timings_ms=latest.timings_ms,
    )

"""The state of a run as one document, for programs and for the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict

import msgspec

from ghost_deploy.detector import Detector
from ghost_deploy.stream.result import SourceStats
from ghost_deploy.stream.sinks.outbox import DeliveryStats
from ghost_deploy.stream.web.board import Figures

__all__ = ["ModelCard", "SourceStatus", "Status", "describe", "health"]

_SERVING = frozenset({"live", "ended"})


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """The model that runs and what it runs on, as the runtime says it.

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
        """The card of a loaded detector."""
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


class SourceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A source: its `SourceStats`, and what was seen.

    Attributes:
        counts: detections of each class in the newest result.
        totals: the same summed over all results; an object is counted in every frame.
        timings_ms: of the newest result, by stage.
    """

    id: str
    label: str
    state: str
    captured: int
    processed: int
    dropped: dict[str, int]
    reconnects: int
    last_frame_age_ms: float | None
    fps: float
    age_p50_ms: float | None
    age_p99_ms: float | None
    size_hw: tuple[int, int] | None
    last_error: str
    counts: dict[str, int]
    totals: dict[str, int]
    timings_ms: dict[str, float]


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The whole run at one moment.

    Attributes:
        schema: version of this form.
        tool: version of ghost-deploy.
        health: `ok`; `starting`, while no source has failed and some have not begun;
            `degraded`, when a source is lost or failed or a sink hangs; `down`, when no source is
            left.
        uptime_s: since the view was opened, seconds.
        deliveries: counters of the sinks that may lose results, by name.
    """

    schema: int = 1
    tool: str
    health: str
    uptime_s: float
    model: ModelCard
    sources: tuple[SourceStatus, ...]
    deliveries: dict[str, DeliveryStats]


def health(sources: tuple[SourceStats, ...], deliveries: Iterable[DeliveryStats] = ()) -> str:
    """One word for the state of all sources and sinks, see `Status.health`."""
    states = {source.state for source in sources}
    if not states or (states <= _SERVING | {"connecting"} and "connecting" in states):
        return "starting"
    if states <= _SERVING:
        return "degraded" if any(each.stuck for each in deliveries) else "ok"
    return "degraded" if states & (_SERVING | {"connecting"}) else "down"


def describe(stats: SourceStats, figures: Figures | None) -> SourceStatus:
    """Join what the pipeline counts with what was seen."""
    facts = asdict(stats)
    facts["dropped"] = {str(cause): count for cause, count in stats.dropped.items()}
    return SourceStatus(
        **facts,
        counts=dict(Counter(figures.latest.detections.names)) if figures else {},
        totals=figures.totals if figures else {},
        timings_ms=dict(figures.latest.timings_ms) if figures else {},
    )

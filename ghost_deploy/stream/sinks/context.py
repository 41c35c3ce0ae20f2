"""What the sinks of a live run are built from."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ghost_deploy.stream.sinks.record import Annotator, file_stem
from ghost_deploy.stream.sinks.sink import Annotate, ReadDelivery

if TYPE_CHECKING:
    from ghost_deploy.detector import Detector
    from ghost_deploy.stream.pipeline import Pipeline


@dataclass(frozen=True)
class SinkContext:
    """The run that sinks belong to.

    Attributes:
        pipeline: that writes to the sinks.
        detector: the model that runs.
        most_bytes: that a sink keeps on disk at most; all when None.
        out: the stream that the target `-` stands for.
        token: that requests to the web view must carry.
        strict_health: `/healthz` of the web view answers 503 if anything is not as it should be.
        note: shows the user a line.
        save: the forms that `--save` names.
        overwrite: replace results of an earlier run.
        budget: frames that `--save-uncertain` keeps at most.
        limits: the score limit of each class; 1 or more for one that is not kept.
        annotate: shared by the sinks, so that each result is drawn once.
        deliveries: the counters of the sinks that may lose results, by name; filled as sinks are
            opened.
        kept: the number of files of a sink that chooses what it keeps, by its option; likewise.
    """

    pipeline: Pipeline
    detector: Detector
    most_bytes: int | None = None
    out: IO[str] = field(default_factory=lambda: sys.stdout)
    token: str | None = None
    strict_health: bool = False
    note: Callable[[str], None] = lambda _: None
    save: tuple[str, ...] = ()
    overwrite: bool = False
    budget: int = 100
    limits: tuple[float, ...] | None = None
    annotate: Annotate = field(default_factory=Annotator)
    deliveries: dict[str, ReadDelivery] = field(default_factory=dict)
    kept: dict[str, Callable[[], int]] = field(default_factory=dict)

    def stem_of(self, source: str) -> str:
        """The beginning of the names of files about a source: of its input, or a live one's id."""
        address = self.pipeline.address_of(source)
        if address.is_live:
            return file_stem(source)
        return Path(address.target).stem.strip(".") or source

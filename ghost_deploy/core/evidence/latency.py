"""Evidence of latency: times of artifacts on one machine."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar, Literal

import msgspec

from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.evidence.json_document import Document, Part
from ghost_deploy.core.evidence.machine import PowerFigures, Snapshot

ISOLATION = (
    "each candidate in a process of its own, the processes taking turns in an order drawn anew "
    "for each round; with the hint `latency` (one stream) ONNX Runtime's threads spin, as in a "
    "deployment of one model, with `throughput` (several) they sleep"
)


class RunConfig(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a candidate is run.

    Attributes:
        runtime: a name in the runtimes table.
        precision: of the run; empty for a single file, which names none.
        batch: images a request.
        threads: requested CPU threads; 0 lets the runtime choose.
        streams: concurrent requests, each to its own copy of the model.
    """

    runtime: str
    precision: str = ""
    batch: int = 1
    threads: int = 0
    streams: int = 1

    @property
    def hint(self) -> Literal["latency", "throughput"]:
        """The optimization target, see `RuntimeOptions.hint`."""
        return "latency" if self.streams == 1 else "throughput"


class Settings(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Durations of a measurement.

    Attributes:
        duration_s: for each candidate, half of it end to end, half the model alone.
        rounds: turns that each candidate has in that time; ratios are taken round by round.
        warmup_s: before that, for each candidate and phase.
        seed: of the order within the rounds.
    """

    duration_s: float = 10.0
    rounds: int = 20
    warmup_s: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        for what, ok, got in (
            ("duration", 0 < self.duration_s <= 86_400, self.duration_s),
            ("number of rounds", 2 <= self.rounds <= 10_000, self.rounds),
            ("warm-up", 0 <= self.warmup_s <= 3600, self.warmup_s),
        ):
            if not ok:
                raise UsageError(
                    f"this {what} is not possible",
                    got=got,
                    expected="a duration above 0 s, 2 rounds or more, a warm-up from 0 s",
                    fix="Correct that value",
                )


class ImagesUsed(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The images that were measured on: their source and number."""

    source: str
    count: int


class Obtained(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Facts that the runtime reported, see `RuntimeInfo`."""

    device: str
    version: str
    precision: str
    compute: str
    threads: int
    notes: tuple[str, ...]


class TimeSummary(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sample of times in milliseconds; percentiles are interpolated linearly.

    Attributes:
        count: number of times.
        images_per_second: images that such a time each covers, over the sum of the times.
    """

    count: int
    mean: float
    min: float
    p50: float
    p90: float
    p99: float
    max: float
    images_per_second: float


class Ratio(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Median and quartiles of the ratios of values that were measured in the same round."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.3f} to {self.high:.3f})"

    @property
    def decided(self) -> bool:
        """Whether the quartiles lie on one side of 1."""
        return self.low > 1 or self.high < 1


class LatencyFigures(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The figures of one candidate. Times are milliseconds, host to host, of a batch.

    Attributes:
        stages: by stage: `decode` (file to pixels), `pre`, `run`, `post` and their sum
            `end_to_end`; `run_alone`, the model on one tensor repeatedly.
        throughput: images per second end to end, over all streams, by the wall clock.
        run_throughput: the same of `run_alone`.
        spread: distance of the quartiles of the rounds' medians of `run_alone`, over their
            median: the drift of the machine.
        cpu_cores: processor time over wall time, end to end.
        load_ms, first_run_ms, start_bytes: see `Ready`.
        peak_bytes: most memory that the process ever had resident.
        samples: each stage's raw times, a list a round.
        rates: images per second of each round, end to end; `run_rates`: of `run_alone`.
        power: None where tegrastats reports none.
    """

    stages: dict[str, TimeSummary]
    throughput: float | None
    run_throughput: float
    spread: float
    cpu_cores: float
    load_ms: float
    first_run_ms: float
    start_bytes: int
    peak_bytes: int
    samples: dict[str, list[list[float]]] = {}
    rates: list[float] = []
    run_rates: list[float] = []
    power: PowerFigures | None = None


class SpeedComparison(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Speed of a row as a multiple of another row's that was measured beside it.

    Attributes:
        reference: index of the other row.
        run: by the median time that an image takes in `run_alone`.
        end_to_end: by that end to end; None where one of the two has none.
        throughput: by images per second, end to end where both have it, else of `run_alone`.
    """

    reference: int
    run: Ratio
    end_to_end: Ratio | None
    throughput: Ratio


class BenchRow(
    Part,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"failed_verdicts": "against"},
):
    """One artifact, run in one way.

    Attributes:
        subject: name of the bundle or model file, unique in the report.
        baseline: whether the others are compared with it.
        artifact: id in the bundle, or the name of the file.
        sha256: of the file that the runtime opens.
        bytes: of all its files.
        model, family: as the bundle describes it; empty for a single file.
        status: `skipped` where this machine cannot run it, `failed` after an error.
        reason: why, in that case.
        failed_verdicts: verdicts in the evidence of the bundle that it failed, in sentences;
            the JSON key is `against`.
    """

    subject: str
    baseline: bool
    artifact: str
    sha256: str
    bytes: int
    model: str
    family: str
    config: RunConfig
    status: Literal["measured", "skipped", "failed"]
    reason: str = ""
    obtained: Obtained | None = None
    figures: LatencyFigures | None = None
    comparison: SpeedComparison | None = None
    failed_verdicts: tuple[str, ...] = ()


class BenchReport(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Latency of deployments on one machine, measured side by side.

    Attributes:
        rows: in the order of the command line, the baseline's last.
        images: that were measured on.
        settings: durations and rounds.
        isolation: how the candidates are kept from disturbing each other.
        snapshot: the machine.
        warnings: reasons to doubt the figures.
    """

    KIND: ClassVar[str] = "latency"

    rows: tuple[BenchRow, ...]
    images: ImagesUsed
    settings: Settings
    snapshot: Snapshot
    isolation: str = ISOLATION
    warnings: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether something was measured and nothing failed."""
        states = {row.status for row in self.rows}
        return "measured" in states and "failed" not in states

    def only(self, subjects: Collection[str]) -> BenchReport:
        """A copy for a bundle: the rows of some subjects, without raw samples.

        A ratio stays where the row that it is of stays.
        """
        kept = [index for index, row in enumerate(self.rows) if row.subject in subjects]
        places = {index: place for place, index in enumerate(kept)}
        rows = tuple(_thin(self.rows[index], places) for index in kept)
        return msgspec.structs.replace(self, rows=rows)


def _thin(row: BenchRow, places: Mapping[int, int]) -> BenchRow:
    figures = row.figures and msgspec.structs.replace(
        row.figures, samples={}, rates=[], run_rates=[]
    )
    comparison = row.comparison
    if comparison:
        place = places.get(comparison.reference)
        comparison = None if place is None else msgspec.structs.replace(comparison, reference=place)
    return msgspec.structs.replace(row, figures=figures, comparison=comparison)

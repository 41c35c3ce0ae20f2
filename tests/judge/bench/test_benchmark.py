from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import (
    BackendError,
    DeviceError,
    GhostDeployError,
    SpecError,
    UnavailableError,
    UsageError,
)
from ghost_deploy.core.evidence.latency import BenchReport, Settings
from ghost_deploy.judge.bench import benchmark as run_module
from ghost_deploy.judge.bench.benchmark import run_bench
from ghost_deploy.judge.bench.power import Sampler
from ghost_deploy.judge.bench.selection import Selection
from ghost_deploy.judge.bench.statistics import ratio, round_medians, summarize
from ghost_deploy.judge.bench.timer import STAGES
from ghost_deploy.judge.bench.worker_main import Task
from tests.support import tegrastats_lines as tegra_lines
from tests.support.clocks import ManualClock
from tests.support.constant_model import write_constant_bundle, write_constant_onnx
from tests.support.fake_measurer import FakeMeasurer

SHORT = Settings(duration_s=0.6, rounds=5, warmup_s=0.0)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    folder = tmp_path_factory.mktemp("bundles")
    return [
        write_constant_bundle(folder / name, ("fp32", "fp16"), batch=(1, 16))
        for name in ("ghost", "plain")
    ]


class Fakes:
    """Opens fakes on one clock. By file name: milliseconds of a run, or an error; `later` breaks
    after a few turns."""

    def __init__(self, times: dict[str, Any], later: dict[str, GhostDeployError] | None = None):
        self.clock, self.log, self.opened = ManualClock(), [], []
        self._times, self._later = times, later or {}

    def __call__(self, task: Task) -> FakeMeasurer:
        key = Path(task.path).parent.name + "/" + Path(task.path).name
        found = next(value for name, value in self._times.items() if name in key)
        if isinstance(found, Exception):
            raise found
        broken = next((error for name, error in self._later.items() if name in key), None)
        measurer = FakeMeasurer(task, self.clock, found, self.log, broken)
        self.opened.append(measurer)
        return measurer

    def bench(self, models: list[Any], images: list[Path], **options: Any) -> BenchReport:
        return run_bench(
            models,
            images,
            open_measurer=self,
            clock=self.clock.seconds,
            **{"settings": SHORT, **options},
        )


def test_no_image(bundles: list[Bundle]) -> None:
    with pytest.raises(UsageError, match="no image"):
        run_bench(bundles, [])


@pytest.mark.parametrize("wrong", [{"rounds": 1}, {"duration_s": 0.0}, {"warmup_s": -1.0}], ids=str)
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="not possible"):
        Settings(**wrong)


def test_figures_come_from_the_samples(bundles: list[Bundle], images: list[Path]) -> None:
    report = Fakes({"fp32": 10.0, "fp16": 5.0}).bench(bundles[:1], images)
    assert report.complete
    assert [row.status for row in report.rows] == ["measured", "measured"]
    for row, expected in zip(report.rows, (10.0, 5.0), strict=True):
        figures = row.figures
        assert figures is not None
        assert set(figures.stages) == {*STAGES, "run_alone"}
        for name, summary in figures.stages.items():
            assert len(figures.samples[name]) == SHORT.rounds
            flat = [time for times in figures.samples[name] for time in times]
            assert summary == summarize(flat)
        assert figures.stages["run_alone"].p50 == expected
        assert figures.run_throughput == pytest.approx(1000 / expected)
        assert figures.throughput == pytest.approx(1000 / expected)
        assert figures.cpu_cores == pytest.approx(2)
        assert (figures.spread, figures.power) == (0, None)
        assert (figures.load_ms, figures.first_run_ms) == (5, 20)
        assert (figures.start_bytes, figures.peak_bytes) == (1_000_000, 3_000_000)
        assert row.obtained is not None
        assert row.obtained.notes == ("a note",)
        assert (row.model, row.family) == ("small", "test")


def test_candidates_take_turns(bundles: list[Bundle], images: list[Path]) -> None:
    fakes = Fakes({"fp32": 10.0, "fp16": 5.0})
    fakes.bench(bundles[:1], images)
    turns = fakes.log[4:]  # after the warm-up of two candidates in two phases
    rounds = [turns[start : start + 4] for start in range(0, len(turns), 4)]
    assert len(rounds) == SHORT.rounds
    assert all(len(set(each)) == 4 for each in rounds)
    assert len({each[0] for each in rounds}) == 2
    assert all(each.closed for each in fakes.opened)


def test_without_a_baseline_the_first_is_the_reference(
    bundles: list[Bundle], images: list[Path]
) -> None:
    report = Fakes({"fp32": 10.0, "fp16": 5.0}).bench(bundles[:1], images)
    first, second = report.rows
    assert first.comparison is None
    found = second.comparison
    assert found is not None
    assert first.figures is not None
    assert second.figures is not None
    assert found.reference == 0
    assert found.run.median == 2.0
    assert found.run == ratio(
        *(round_medians(row.figures.samples["run_alone"]) for row in (first, second))  # type: ignore[union-attr]
    )
    assert found.throughput == ratio(second.figures.rates, first.figures.rates)
    assert found.end_to_end is not None


def test_a_baseline_is_compared_way_by_way(bundles: list[Bundle], images: list[Path]) -> None:
    fakes = Fakes({"plain/model.fp32": 8.0, "plain/model.fp16": 4.0, "fp32": 10.0, "fp16": 6.0})
    report = fakes.bench(bundles[:1], images, baseline=bundles[1])
    assert [row.baseline for row in report.rows] == [False, False, True, True]
    found = [row.comparison for row in report.rows]
    assert found[2:] == [None, None]
    assert [each.reference for each in found if each] == [2, 3]
    assert [round(each.run.median, 3) for each in found if each] == [0.8, 0.667]


def test_a_bare_file_as_baseline(bundles: list[Bundle], images: list[Path], tmp_path: Path) -> None:
    theirs = write_constant_onnx(tmp_path / "theirs.onnx")
    fakes = Fakes({"theirs": 20.0, "fp32": 10.0})
    report = fakes.bench(
        bundles[:1],
        images,
        baseline=theirs,
        selection=Selection(precisions=["fp32"], batches=[1, 4]),
    )
    ours, _, last, batch = report.rows
    assert last.figures is not None
    assert set(last.figures.stages) == {"run_alone"}
    assert last.figures.throughput is None
    assert ours.comparison is not None
    assert (ours.comparison.reference, ours.comparison.end_to_end) == (2, None)
    assert ours.comparison.throughput.median == pytest.approx(2)
    assert batch.config.batch == 4
    assert batch.figures is not None
    assert batch.figures.run_throughput == pytest.approx(4 * 1000 / 20)


def test_times_are_compared_by_image(bundles: list[Bundle], images: list[Path]) -> None:
    selection = Selection(precisions=["fp32"], batches=[1, 4])
    report = Fakes({"fp32": 10.0}).bench(bundles[:1], images, selection=selection)
    found = report.rows[1].comparison
    assert found is not None
    assert found.run.median == pytest.approx(4)
    assert found.throughput.median == pytest.approx(4)


def test_what_this_machine_lacks_is_skipped(bundles: list[Bundle], images: list[Path]) -> None:
    lacks = DeviceError("no fp16 here", fix="Use fp32")
    report = Fakes({"fp16": lacks, "fp32": 10.0}).bench(bundles[:1], images)
    assert [row.status for row in report.rows] == ["measured", "skipped"]
    assert report.complete
    assert "no fp16 here" in report.rows[1].reason
    assert any("was not measured (skipped)" in line for line in report.warnings)
    named = Selection(precisions=["fp16", "fp32"])
    with pytest.raises(DeviceError):
        Fakes({"fp16": lacks, "fp32": 10.0}).bench(bundles[:1], images, selection=named)


def test_nothing_that_runs_here(bundles: list[Bundle], images: list[Path]) -> None:
    with pytest.raises(UnavailableError, match="nothing here"):
        Fakes({"fp": UnavailableError("nothing here", fix="Buy")}).bench(bundles[:1], images)


def test_what_breaks_when_it_is_opened(bundles: list[Bundle], images: list[Path]) -> None:
    broken = SpecError("damaged", fix="Export")
    report = Fakes({"fp16": broken, "fp32": 10.0}).bench(bundles[:1], images)
    assert [row.status for row in report.rows] == ["measured", "failed"]
    assert not report.complete


def test_what_breaks_on_the_way(bundles: list[Bundle], images: list[Path]) -> None:
    fakes = Fakes({"fp": 10.0}, later={"fp32": BackendError("out of memory", fix="Buy some")})
    report = fakes.bench(bundles[:1], images)
    assert [row.status for row in report.rows] == ["failed", "measured"]
    assert report.rows[0].figures is None
    assert report.rows[1].comparison is None
    assert report.rows[1].figures is not None
    assert len(report.rows[1].figures.rates) == SHORT.rounds
    assert all(each.closed for each in fakes.opened)


def test_power_belongs_to_the_turns(
    bundles: list[Bundle], images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line in every tenth of a second of a run whose walks last long enough."""
    import contextlib

    fakes = Fakes({"fp32": 10.0})
    ticks = iter([0.35, 0.45, *(1000.0 + t for t in range(3))])
    lines = [tegra_lines.JP6_ORIN_NANO] * 5
    sampler = Sampler(iter(lines), lambda: next(ticks))
    sampler.join()
    monkeypatch.setattr(run_module, "sampling", lambda: contextlib.nullcontext(sampler))
    report = fakes.bench(
        bundles[:1],
        images,
        selection=Selection(precisions=["fp32"]),
        settings=Settings(duration_s=2.0, rounds=2, warmup_s=0.0),
    )
    figures = report.rows[0].figures
    assert figures is not None
    assert figures.power is not None
    assert figures.power.samples == 2
    assert figures.power.joules_per_image == pytest.approx(16.321 / 100)


def test_progress(bundles: list[Bundle], images: list[Path]) -> None:
    told: list[tuple[str, int, int]] = []
    Fakes({"fp": 10.0}).bench(
        bundles[:1], images, progress=lambda *words: told.append(words), settings=SHORT
    )
    assert told[0] == ("loading ghost onnx-fp32 on ort", 0, 0)
    assert told[2] == ("warming up", 0, 0)
    assert told[3:] == [("measuring", done, 5) for done in range(6)]


@pytest.fixture
def report(bundles: list[Bundle], images: list[Path]) -> BenchReport:
    return Fakes({"fp32": 10.0, "fp16": 5.0}).bench(bundles, images, image_source="a folder")


def test_the_document_reads_back(report: BenchReport) -> None:
    document = report.to_document()
    assert BenchReport.from_document(document) == report
    assert document["images"] == {"source": "a folder", "count": 3}
    assert "turns" in document["isolation"]


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(schema=2),
        lambda document: document.update(extra=1),
        lambda document: document["rows"][0].update(status="good"),
        lambda document: document["settings"].update(rounds="many"),
    ],
)
def test_another_document(report: BenchReport, change: Callable[[Any], None]) -> None:
    document = msgspec.json.decode(msgspec.json.encode(report.to_document()))
    change(document)
    with pytest.raises(SpecError):
        BenchReport.from_document(document)


def test_what_a_bundle_keeps(report: BenchReport) -> None:
    kept = report.only(["plain"])
    assert [row.subject for row in kept.rows] == ["plain", "plain"]
    for row in kept.rows:
        assert row.comparison is None
        assert row.figures is not None
        assert (row.figures.samples, row.figures.rates) == ({}, [])
        assert row.figures.stages
    assert BenchReport.from_document(kept.to_document()) == kept


def test_a_ratio_stays_where_its_reference_stays(report: BenchReport) -> None:
    assert report.rows[1].comparison is not None
    assert report.only(["ghost"]).rows[1].comparison == report.rows[1].comparison
    moved = msgspec.structs.replace(report.rows[1].comparison, reference=2)
    last = msgspec.structs.replace(report.rows[3], comparison=moved)
    found = msgspec.structs.replace(report, rows=(*report.rows[:3], last)).only(["plain"])
    assert found.rows[1].comparison == msgspec.structs.replace(moved, reference=0)

"""What to deploy on this machine, in one sentence, and what speaks for and against it.

The fastest of those that pass is recommended, and only differences that were shown are claimed:
a ratio whose quartiles lie on both sides of 1 is no difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ghost_deploy.core.evidence.accuracy import AccuracyReport, AccuracyRow
from ghost_deploy.core.evidence.latency import BenchRow, Comparison, Ratio
from ghost_deploy.report.blocks import Row, Verdict
from ghost_deploy.report.material import Material
from ghost_deploy.report.number_format import points
from ghost_deploy.report.rows import int8_rows

__all__ = ["judge"]

_END_TO_END, _ALONE = "end_to_end", "run_alone"


@dataclass(frozen=True)
class _Timed:
    """A row that was timed; `ms` is what an image takes, the median."""

    index: int
    row: Row
    figures: BenchRow
    ms: float

    @property
    def label(self) -> str:
        return self.row.label


def judge(material: Material, rows: Sequence[Row]) -> Verdict:
    """The verdict over all rows.

    Only rows of the first latency document are held against each other: others were not
    measured side by side with them.
    """
    timed = _timed(material, rows)
    passing = [each for each in timed if each.row.standing == "passes" and not each.row.baseline]
    if not passing:
        return _nothing(rows, timed)
    best = min(passing, key=lambda each: each.ms)
    verdict = _recommend(best, passing, timed, material)
    chosen = best.index if verdict.row is None else verdict.row
    others = tuple(_others(timed, best))
    several = (
        ("The other latency documents were not measured side by side with the first and are "
         "not compared with it",)
        if len(material.latency) > 1
        else ()
    )  # fmt: skip
    return Verdict(
        tone=verdict.tone,
        headline=verdict.headline,
        reasons=(
            *verdict.reasons,
            *_accuracy_reasons(rows[chosen], material),
            *others,
            *several,
            *_unrest(material),
        ),
        row=chosen,
    )


def _timed(material: Material, rows: Sequence[Row]) -> list[_Timed]:
    """Rows with times of the first latency document.

    Of a thing that was timed several ways, those with the fewest streams and the smallest batch:
    the verdict is about how long one image takes.
    """
    found = []
    for index, row in enumerate(rows):
        if row.latency and row.latency.report == 0:
            figures = material.latency[0].rows[row.latency.row]
            if figures.figures:
                found.append((index, row, figures))
    least: dict[tuple[str, str, str], tuple[int, int]] = {}
    for _, row, figures in found:
        key, size = _key(row), (figures.config.streams, figures.config.batch)
        least[key] = min(size, least.get(key, size))
    found = [
        (index, row, figures)
        for index, row, figures in found
        if (figures.config.streams, figures.config.batch) == least[_key(row)]
    ]
    stage = _stage([figures for _, _, figures in found])
    return [_Timed(index, row, f, _per_image(f, stage)) for index, row, f in found]


def _key(row: Row) -> tuple[str, str, str]:
    return row.sha256, row.runtime, row.precision


def _stage(figures: Sequence[BenchRow]) -> str:
    """From file to detections where all were timed so, else the model alone."""
    every = all(row.figures and _END_TO_END in row.figures.stages for row in figures)
    return _END_TO_END if every else _ALONE


def _per_image(row: BenchRow, stage: str) -> float:
    assert row.figures is not None
    return row.figures.stages[stage].p50 / row.config.batch


def _nothing(rows: Sequence[Row], timed: Sequence[_Timed]) -> Verdict:
    """Why nothing can be recommended."""
    own = [row for row in rows if not row.baseline]
    failed = [f"{row.label}: {reason}" for row in own for reason in row.reasons]
    passing = [row.label for row in own if row.standing == "passes"]
    if passing:
        headline = (
            f"{_listed(passing)} {'passes' if len(passing) == 1 else 'pass'}; "
            "nothing that passes was timed, so that none is recommended for its speed."
        )
        return Verdict(tone="warn", headline=headline, reasons=tuple(failed))
    if failed:
        headline = "Deploy nothing of this: no artifact passes."
        return Verdict(tone="bad", headline=headline, reasons=tuple(failed))
    if timed:
        return Verdict(
            tone="warn",
            headline="There are times and nothing that vouches for the answers: no verdict.",
            reasons=("Measure what they find: ghost-deploy validate, or ghost-deploy parity",),
        )
    return Verdict(tone="bad", headline="Nothing was measured: there is no verdict.")


def _recommend(
    best: _Timed, passing: Sequence[_Timed], timed: Sequence[_Timed], material: Material
) -> Verdict:
    comparison = best.figures.comparison
    cost = _cost(best.row, material)
    if comparison is None:
        return _first(best, passing, cost)
    anchor = next(
        (
            each
            for each in timed
            if each.row.latency and each.row.latency.row == comparison.reference
        ),
        None,
    )
    ratio = _ratio(comparison)
    if anchor is None:
        return Verdict(tone="good", headline=f"Use {best.label} here; {cost}.")
    if anchor.row.baseline and ratio.decided and ratio.median < 1:
        return Verdict(
            tone="warn",
            headline=f"{anchor.label}, the baseline, is {1 / ratio.median:.2f} times as fast as "
            f"the best of this model here, {best.label}; {cost}.",
            reasons=tuple(_compared(best, anchor, ratio)),
        )
    if not ratio.decided:
        own = anchor.row.standing == "passes" and not anchor.row.baseline
        chosen = anchor if own else best
        other = best if own else anchor
        return Verdict(
            tone="good",
            headline=f"Use {chosen.label} here: {other.label} is not shown to be any faster or "
            f"slower; {_cost(chosen.row, material)}.",
            reasons=tuple(_compared(best, anchor, ratio)),
            row=chosen.index,
        )
    speed = f"{ratio.median:.2f} times as fast as {anchor.label}"
    return Verdict(
        tone="good",
        headline=f"Use {best.label} here: {speed}; {cost}.",
        reasons=tuple(_compared(best, anchor, ratio)),
    )


def _first(best: _Timed, passing: Sequence[_Timed], cost: str) -> Verdict:
    """The recommended row is the one that the others are compared with."""
    others = [each for each in passing if each is not best and each.figures.comparison]
    if not others:
        headline = f"Use {best.label} here: nothing else that passes was timed; {cost}."
        return Verdict(tone="good", headline=headline)
    second = min(others, key=lambda each: each.ms)
    assert second.figures.comparison is not None
    ratio = _ratio(second.figures.comparison)
    if ratio.decided:
        next_best = f"{second.label}, the next, runs at {ratio.median:.2f} times its speed"
    else:
        next_best = f"{second.label} is not shown to be any faster or slower"
    return Verdict(
        tone="good",
        headline=f"Use {best.label} here: {next_best}; {cost}.",
        reasons=(_spread(second, best, ratio),),
    )


def _ratio(comparison: Comparison) -> Ratio:
    return comparison.end_to_end or comparison.run


def _compared(own: _Timed, anchor: _Timed, ratio: Ratio) -> Iterator[str]:
    yield _spread(own, anchor, ratio)
    if anchor.row.baseline and anchor.row.runtime != own.row.runtime:
        yield (
            f"The baseline was not timed on the runtime of {own.label}: the ratio is of the "
            "runtimes as much as of the networks"
        )


def _spread(own: _Timed, anchor: _Timed, ratio: Ratio) -> str:
    stage = "from file to detections"
    if own.figures.comparison and own.figures.comparison.end_to_end is None:
        stage = "the model alone"
    return (
        f"{own.label} runs at {ratio.median:.2f} times the speed of {anchor.label}, {stage}; "
        f"half of the rounds lie between {ratio.low:.2f} and {ratio.high:.2f}"
    )


def _cost(row: Row, material: Material) -> str:
    """What it costs in accuracy."""
    found = _accuracy(row, material)
    if found is None:
        judged = {sha256: why for sha256, _, why in int8_rows(material.bundles)}
        return judged.get(row.sha256, "parity passed, mAP was not measured")
    _, figures = found
    if figures.delta is None:
        return "it is what the others' mAP is compared with"
    within = f"within the gate of {figures.max_drop:g}"
    return f"{points(figures.delta)} points mAP50-95, {within}"


def _accuracy(row: Row, material: Material) -> tuple[AccuracyReport, AccuracyRow] | None:
    if row.accuracy is None:
        return None
    report = material.accuracy[row.accuracy.report]
    figures = report.rows[row.accuracy.row]
    return (report, figures) if figures.accuracy else None


def _accuracy_reasons(row: Row, material: Material) -> Iterator[str]:
    found = _accuracy(row, material)
    if found is None or found[1].interval is None:
        return
    report, figures = found
    interval = figures.interval
    assert interval is not None
    share = f"{report.confidence:.0%}".replace("%", " %")
    sentence = (
        f"Its mAP50-95 lies {points(interval.low)} to {points(interval.high)} points from the "
        f"reference's ({share} interval over {report.data.images} images)"
    )
    if interval.low < -figures.max_drop:
        sentence += f": so few cannot exclude a loss beyond the gate of {figures.max_drop:g}"
    yield sentence
    if report.reference and report.reference.kind == "artifact":
        yield (
            f"Its mAP is compared with {report.reference.name}, not with the checkpoint: what that "
            "export itself lost is not seen"
        )


def _others(timed: Sequence[_Timed], best: _Timed) -> Iterator[str]:
    """Faster rows that are not recommended, and why."""
    for each in timed:
        if each.ms < best.ms and not each.row.baseline and each.row.standing != "passes":
            why = "; ".join(each.row.reasons) or "nothing vouches for its answers"
            yield f"{each.label} is faster ({each.ms:.2f} ms an image) and out: {why}"


def _unrest(material: Material) -> Iterator[str]:
    """What the benchmark said of a machine that was not quiet."""
    for warning in material.latency[0].warnings:
        if warning.startswith("the machine "):
            yield f"Mind that {warning}"


def _listed(labels: Sequence[str]) -> str:
    if len(labels) > 1:
        return f"{', '.join(labels[:-1])} and {labels[-1]}"
    return labels[0]

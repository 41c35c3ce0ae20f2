"""The recommendation: what to deploy on this machine, with reasons.

The fastest run that passes is recommended. Speeds are compared round by round: a ratio whose
quartiles lie on both sides of 1 counts as no difference, whatever its median.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from ghost_deploy.core.evidence.accuracy import AccuracyReport, AccuracyRow
from ghost_deploy.core.evidence.latency import Ratio
from ghost_deploy.report.joined_rows import int8_rows
from ghost_deploy.report.material import Material
from ghost_deploy.report.number_format import points
from ghost_deploy.report.report_document import ReportRow, Tone, Verdict
from ghost_deploy.report.speed_order import (
    TimedRow,
    anchor_of,
    fastest,
    interval_of,
    speed_of,
    timed_rows,
)


def recommend(material: Material, rows: Sequence[ReportRow]) -> Verdict:
    """The verdict over all rows.

    Only rows of the first latency document are compared: others were not measured side by side
    with them.
    """
    timed = timed_rows(material, rows)
    passing = [each for each in timed if each.row.standing == "passes" and not each.row.baseline]
    if not passing:
        return _nothing(rows, timed)
    best = fastest(passing)
    verdict = _verdict(best, passing, timed, material)
    chosen = best.index if verdict.row is None else verdict.row
    reasons = [*verdict.reasons, *_accuracy_reasons(rows[chosen], material), *_others(timed, best)]
    if len(material.latency) > 1:
        reasons.append(
            "The other latency documents were not measured side by side with the first and are "
            "not compared with it"
        )
    reasons += _not_timed(material)
    reasons += _noise(material)
    return msgspec.structs.replace(verdict, reasons=tuple(reasons), row=chosen)


def _nothing(rows: Sequence[ReportRow], timed: Sequence[TimedRow]) -> Verdict:
    """Why nothing can be recommended."""
    own = [row for row in rows if not row.baseline]
    failed = [f"{row.label}: {reason}" for row in own for reason in row.reasons]
    passing = [row.label for row in own if row.standing == "passes"]
    if passing:
        headline = (
            f"{_listed(passing)} {'passes' if len(passing) == 1 else 'pass'}; "
            "there are no times by bench, so that none is recommended for its speed."
        )
        time_them = (
            "Time them side by side: ghost-deploy bench BUNDLE (the times of check are of a few "
            "runs and stay on its machine)"
        )
        return Verdict(tone="warn", headline=headline, reasons=(*failed, time_them))
    if failed:
        headline = "Deploy nothing of this: no artifact passes."
        return Verdict(tone="bad", headline=headline, reasons=tuple(failed))
    if timed:
        return Verdict(
            tone="warn",
            headline="There are times, and the accuracy was not judged: no verdict.",
            reasons=("Measure the accuracy: ghost-deploy validate, or ghost-deploy parity",),
        )
    return Verdict(tone="bad", headline="Nothing was measured: there is no verdict.")


def _verdict(
    best: TimedRow, passing: Sequence[TimedRow], timed: Sequence[TimedRow], material: Material
) -> Verdict:
    others = [each for each in passing if each is not best]
    cost = _cost(best.row, material)
    if best.figures.comparison is None:
        return _first(best, others, cost)
    anchor = anchor_of(best, timed)
    if anchor is None:
        return Verdict(tone="good", headline=f"Use {best.label} here; {cost}.", row=best.index)
    ratio = interval_of(best)
    tone: Tone = "good"
    if anchor.row.baseline and ratio.high < 1:
        tone = "warn"
        headline = (
            f"{anchor.label}, the baseline, is {1 / ratio.median:.2f} times as fast as the best "
            f"of this model here, {best.label}; {cost}."
        )
    elif ratio.low > 1:
        speed = f"{ratio.median:.2f} times as fast as {anchor.label}"
        headline = f"Use {best.label} here: {speed}; {cost}."
    elif ratio.high < 1:
        slower = f"it runs at {ratio.median:.2f} times the speed of {anchor.label}"
        headline = f"Use {best.label} here: {slower}, which does not pass; {cost}."
    else:
        headline = (
            f"Use {best.label} here: {anchor.label} is not shown to be any faster or slower; "
            f"{cost}."
        )
    reasons = (*_compared(best, anchor, ratio), *_equals(best, others))
    return Verdict(tone=tone, headline=headline, reasons=reasons, row=best.index)


def _equals(best: TimedRow, others: Sequence[TimedRow]) -> Iterator[str]:
    """Rows whose quartiles reach those of the best: the order of the medians may be chance."""
    low = interval_of(best).low
    near = [e.label for e in others if e.figures.comparison and interval_of(e).high >= low > 1]
    if near:
        yield f"{_listed(near)} may be as fast: the rounds overlap"


def _first(best: TimedRow, others: Sequence[TimedRow], cost: str) -> Verdict:
    """The recommended row is the one that the others are compared with."""
    if not others:
        headline = f"Use {best.label} here: nothing else that passes was timed; {cost}."
        return Verdict(tone="good", headline=headline)
    second = min(others, key=lambda each: each.ms)
    if second.figures.comparison is None:
        # The ratios of a bundle that was timed beside others are not in it.
        headline = (
            f"{best.label} passes and has the lowest median, {best.ms:.2f} ms, {second.label}, the "
            f"next, {second.ms:.2f} ms: without a comparison round by round that is no "
            f"recommendation; {cost}."
        )
        again = "Time them side by side: ghost-deploy bench BUNDLE"
        return Verdict(tone="warn", headline=headline, reasons=(again,))
    second = max(others, key=speed_of)
    ratio = interval_of(second)
    next_best = f"{second.label} is not shown to be any faster or slower"
    if ratio.high < 1:
        next_best = f"{second.label}, the next, runs at {ratio.median:.2f} times its speed"
    headline = f"Use {best.label} here: {next_best}; {cost}."
    return Verdict(tone="good", headline=headline, reasons=(_spread(second, best, ratio),))


def _compared(own: TimedRow, anchor: TimedRow, ratio: Ratio) -> Iterator[str]:
    yield _spread(own, anchor, ratio)
    if anchor.row.baseline and anchor.row.runtime != own.row.runtime:
        yield (
            f"The baseline was not timed on the runtime of {own.label}: the ratio is of the "
            "runtimes as much as of the networks"
        )


def _spread(own: TimedRow, anchor: TimedRow, ratio: Ratio) -> str:
    stage = "from file to detections"
    if own.figures.comparison and own.figures.comparison.end_to_end is None:
        stage = "the model alone"
    return (
        f"{own.label} runs at {ratio.median:.2f} times the speed of {anchor.label}, {stage}; "
        f"half of the rounds lie between {ratio.low:.2f} and {ratio.high:.2f}"
    )


def _cost(row: ReportRow, material: Material) -> str:
    """The loss of accuracy, in words."""
    found = _accuracy(row, material)
    if found is None:
        judged = {sha256: why for sha256, _, why in int8_rows(material.bundles)}
        return judged.get(row.sha256, "parity passed, mAP was not measured")
    _, figures = found
    if figures.delta is None:
        return "the mAP of the others is compared with its own"
    within = f"within the gate of {figures.max_drop:g}"
    return f"{points(figures.delta)} points mAP50-95, {within}"


def _accuracy(row: ReportRow, material: Material) -> tuple[AccuracyReport, AccuracyRow] | None:
    if row.accuracy is None:
        return None
    report = material.accuracy[row.accuracy.report]
    figures = report.rows[row.accuracy.row]
    return (report, figures) if figures.accuracy else None


def _accuracy_reasons(row: ReportRow, material: Material) -> Iterator[str]:
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


def _others(timed: Sequence[TimedRow], best: TimedRow) -> Iterator[str]:
    """Faster rows that are not recommended, and why."""
    for each in timed:
        if each.ms < best.ms and not each.row.baseline and each.row.standing != "passes":
            why = "; ".join(each.row.reasons) or "its accuracy was not judged"
            yield f"{each.label} is faster ({each.ms:.2f} ms an image) and not recommended: {why}"


def _not_timed(material: Material) -> Iterator[str]:
    """Int8 artifacts that calibration timed beside the others, and the benchmark did not."""
    timed = {row.artifact for report in material.latency for row in report.rows}
    reports = [bundle.int8 for bundle in material.bundles if bundle.int8]
    usable = {row.artifact for report in reports for row in report.rows if row.status != "failed"}
    ran = {row.artifact for report in reports for row in report.speed}
    missing = sorted((usable & ran) - timed)
    if missing:
        yield (
            f"{_listed(missing)} {'is' if len(missing) == 1 else 'are'} not among what was timed "
            "side by side: ghost-deploy bench BUNDLE times all artifacts"
        )


def _noise(material: Material) -> Iterator[str]:
    """Warnings of the benchmark about a noisy machine."""
    for warning in material.latency[0].warnings:
        if warning.startswith("the machine "):
            yield f"Warning: {warning}"


def _listed(labels: Sequence[str]) -> str:
    if len(labels) > 1:
        return f"{', '.join(labels[:-1])} and {labels[-1]}"
    return labels[0]

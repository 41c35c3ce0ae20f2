"""The verdict: honest in every case, and its numbers are those of the document."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from ghost_deploy.judge.bench.ratios import compared
from ghost_deploy.report.assemble import assemble
from ghost_deploy.report.report_document import Report, Verdict
from tests.support.report_documents import USUAL, Run, make_report, material
from tests.support.report_int8_documents import INT8, int8_document, report_with_int8

ORT, OV = Run("ort", "fp32", ms=20.0), Run("openvino", "fp32", ms=10.0)


def test_nothing_at_all() -> None:
    verdict = make_report([]).verdict
    assert (verdict.tone, verdict.row) == ("bad", None)
    assert "Nothing was measured" in verdict.headline


def test_the_fastest_that_passes_is_recommended() -> None:
    made = make_report(USUAL)
    verdict = made.verdict
    assert verdict.tone == "good"
    assert verdict.row is not None
    assert made.rows[verdict.row].label == "OpenVINO FP16"
    ratio = made.latency[0].rows[4].comparison
    assert ratio is not None
    assert ratio.end_to_end is not None
    assert verdict.headline == (
        f"Use OpenVINO FP16 here: {ratio.end_to_end.median:.2f} times as fast as ONNX Runtime "
        "FP32; -0.03 points mAP50-95, within the gate of 0.1."
    )
    assert f"between {ratio.end_to_end.low:.2f} and {ratio.end_to_end.high:.2f}" in str(
        verdict.reasons
    )


def test_what_is_faster_and_fails_is_named() -> None:
    reasons = " ".join(make_report(USUAL).verdict.reasons)
    assert "ONNX Runtime INT8 is faster" in reasons
    assert "lost 1.62 points" in reasons


def test_an_interval_that_reaches_beyond_the_gate_is_said() -> None:
    reasons = " ".join(make_report(USUAL).verdict.reasons)
    assert "-0.12 to +0.04 points" in reasons
    assert "cannot exclude a loss beyond the gate of 0.1" in reasons
    narrow = [replace(run, interval=(-0.05, 0.05)) for run in USUAL]
    assert "cannot exclude" not in " ".join(make_report(narrow).verdict.reasons)


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        ([replace(ORT, accuracy="failed"), replace(OV, parity="failed")], "no artifact passes"),
        ([replace(ORT, timed=None)], "there are no times by bench"),
        ([replace(ORT, accuracy=None, parity=None)], "accuracy was not judged"),
        ([replace(ORT, timed="skipped", accuracy="skipped", parity="skipped")], "Nothing was"),
    ],
)
def test_nothing_to_recommend(runs: list[Run], says: str) -> None:
    verdict = make_report(runs).verdict
    assert verdict.row is None
    assert verdict.tone in ("warn", "bad")
    assert says in verdict.headline


def test_failures_are_listed_where_nothing_passes() -> None:
    verdict = make_report([replace(ORT, accuracy="failed", delta=-3.0)]).verdict
    assert verdict.tone == "bad"
    assert "lost 3.00 points" in verdict.reasons[0]


def test_a_ghost_that_is_slower_than_its_baseline() -> None:
    plain = Run("ort", "fp32", ms=8.0, subject="plain", baseline=True, accuracy=None, parity=None)
    made = make_report([ORT, plain])
    assert made.verdict.tone == "warn"
    assert made.verdict.headline.startswith("plain: ONNX Runtime FP32, the baseline, is ")
    (ratio,) = (row.comparison for row in made.latency[0].rows if row.comparison)
    assert ratio.end_to_end is not None
    assert f"{1 / ratio.end_to_end.median:.2f} times as fast" in made.verdict.headline


def test_a_ghost_that_is_faster_than_its_baseline() -> None:
    plain = Run("ort", "fp32", ms=40.0, subject="plain", baseline=True, accuracy=None, parity=None)
    verdict = make_report([ORT, plain]).verdict
    assert verdict.tone == "good"
    assert "times as fast as plain: ONNX Runtime FP32" in verdict.headline
    assert "as much as of the networks" not in str(verdict.reasons)
    other = make_report([OV, plain]).verdict
    assert "as much as of the networks" in str(other.reasons)


def test_no_difference_is_no_recommendation_for_speed() -> None:
    found = material([ORT, replace(OV, ms=20.0)])
    (bench,) = found.latency
    rows = list(bench.rows)
    # Rounds that lie on both sides of the other's, by turns.
    for row, factors in zip(rows, ((1.0, 1.0, 1.0, 1.0), (0.9, 1.1, 0.89, 1.12)), strict=True):
        assert row.figures
        for rounds in row.figures.samples.values():
            rounds[:] = [[20.0 * factor] for factor in factors]
    found.latency = [type(bench)(**{**_fields(bench), "rows": tuple(compared(rows))})]
    verdict = assemble(found).verdict
    assert "is not shown to be any faster or slower" in verdict.headline


def _fields(value: object) -> dict[str, object]:
    return {name: getattr(value, name) for name in value.__struct_fields__}  # type: ignore[attr-defined]


def test_the_first_row_may_be_the_best() -> None:
    made = make_report([replace(OV, ms=5.0), ORT])
    assert "Use OpenVINO FP32 here: ONNX Runtime FP32, the next, runs at" in made.verdict.headline
    alone = make_report([OV])
    assert "nothing else that passes was timed" in alone.verdict.headline


def test_what_a_bundle_keeps_of_a_bench_names_the_next() -> None:
    found = material([replace(OV, ms=5.0), ORT])
    found.latency = [each.only(["ghost"]) for each in found.latency]
    assert "ONNX Runtime FP32, the next, runs at" in assemble(found).verdict.headline
    # Bundles of before ratios were kept, and those timed beside a baseline that is not in them.
    (bench,) = found.latency
    rows = tuple(msgspec.structs.replace(row, comparison=None) for row in bench.rows)
    found.latency = [msgspec.structs.replace(bench, rows=rows)]
    first, second = (row.figures.stages["end_to_end"].p50 for row in rows if row.figures)
    headline = assemble(found).verdict.headline
    assert f"lowest median, {first:.2f} ms, ONNX Runtime FP32, the next, {second:.2f}" in headline
    assert "no recommendation" in headline
    assert assemble(found).verdict.tone == "warn"


def _with_rounds(runs: list[Run], factors: list[tuple[float, ...]]) -> Verdict:
    """The verdict where the rounds of each run take so many times its milliseconds."""
    found = material(runs)
    (bench,) = found.latency
    rows = list(bench.rows)
    for row, run, each in zip(rows, runs, factors, strict=True):
        assert row.figures
        for rounds in row.figures.samples.values():
            rounds[:] = [[run.ms * factor] for factor in each]
    found.latency = [type(bench)(**{**_fields(bench), "rows": tuple(compared(rows))})]
    return assemble(found).verdict


STEADY = (1.0, 1.0, 1.0, 1.0)
RESTLESS = (0.8, 1.3, 0.7, 1.25)


def test_a_better_median_alone_does_not_replace_the_first_row() -> None:
    runs = [ORT, replace(OV, ms=19.0), Run("openvino", "fp16", ms=19.5)]
    verdict = _with_rounds(runs, [STEADY, RESTLESS, RESTLESS])
    assert verdict.headline.startswith("Use ONNX Runtime FP32 here: OpenVINO FP")
    assert "is not shown to be any faster or slower" in verdict.headline


def test_what_is_shown_to_be_faster_is_used_before_what_is_faster_in_the_median() -> None:
    runs = [ORT, replace(OV, ms=16.0), Run("openvino", "fp16", ms=17.0)]
    verdict = _with_rounds(runs, [STEADY, (0.9, 1.6, 0.7, 1.55), STEADY])
    assert verdict.headline.startswith("Use OpenVINO FP16 here: 1.18 times as fast as")


def test_an_equal_of_the_best_is_named() -> None:
    runs = [ORT, replace(OV, ms=10.0), Run("openvino", "fp16", ms=10.2)]
    wide = (0.9, 1.1, 0.95, 1.05)
    verdict = _with_rounds(runs, [STEADY, wide, wide])
    assert verdict.headline.startswith("Use OpenVINO FP32 here: ")
    assert "OpenVINO FP16 may be as fast: the rounds overlap" in verdict.reasons


def test_slower_than_what_fails_is_not_called_faster() -> None:
    failed = replace(ORT, ms=5.0, accuracy="failed", delta=-3.0)
    verdict = _with_rounds([failed, OV], [STEADY, STEADY])
    assert "it runs at 0.50 times the speed of ONNX Runtime FP32" in verdict.headline
    assert "does not pass" in verdict.headline


def test_a_batch_does_not_pass_for_one_image() -> None:
    made = make_report([replace(OV, batch=8, ms=40.0), OV, ORT])
    assert made.verdict.row == 1  # 40 ms for 8 images are less an image, and a wait of 40 ms


def test_a_restless_machine_is_mentioned() -> None:
    assert any("the machine is noisy" in reason for reason in make_report([ORT]).verdict.reasons)


def test_parity_alone_vouches_and_says_so() -> None:
    made = make_report([replace(OV, accuracy=None), replace(ORT, accuracy=None)])
    assert made.verdict.tone == "good"
    assert "parity passed, mAP was not measured" in made.verdict.headline


def test_int8_needs_accuracy_parity_has_no_bars_for_it() -> None:
    int8 = Run("openvino", "int8", form="openvino", accuracy=None)
    assert make_report([int8]).rows[0].standing == "unproved"
    assert make_report([replace(int8, accuracy="passed")]).rows[0].standing == "passes"


def labels(made: Report) -> list[str]:
    return [row.label for row in made.rows]


def test_labels_tell_rows_apart() -> None:
    assert labels(make_report([ORT, OV])) == ["ONNX Runtime FP32", "OpenVINO FP32"]
    same = [Run("ort", "int8", form="a"), Run("ort", "int8", form="b")]
    assert labels(make_report(same)) == [
        "ONNX Runtime INT8, onnx-int8-a",
        "ONNX Runtime INT8, onnx-int8-b",
    ]
    several = [ORT, replace(ORT, batch=2), replace(ORT, batch=4)]
    assert labels(make_report(several))[1] == "ONNX Runtime FP32, batch 2"
    assert len(set(labels(make_report([ORT, replace(ORT, subject="other")])))) == 2


@pytest.mark.parametrize(("timed", "said"), [([ORT, OV], True), ([ORT, OV, INT8], False)])
def test_int8_that_was_made_after_the_benchmark_is_named(timed: list[Run], said: bool) -> None:
    made = report_with_int8(int8_document(), ORT, OV, timed=timed)
    about = [each for each in made.verdict.reasons if "not among what was timed" in each]
    assert bool(about) == said
    assert all(INT8.artifact in each and "ghost-deploy bench" in each for each in about)


def test_int8_that_failed_need_not_be_timed() -> None:
    made = report_with_int8(int8_document("failed"), ORT, OV, timed=[ORT, OV])
    assert not any("not among" in each for each in made.verdict.reasons)

"""A bundle is checked on the machine that runs it; what is wrong here is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import msgspec
import pytest
from onnx import ModelProto

import ghost_deploy as gd
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import BundleError
from ghost_deploy.core.evidence.check import CheckReport
from ghost_deploy.core.gate_error import GateError
from ghost_deploy.judge.check import ask_child
from ghost_deploy.judge.parity.gate import INT8_OTHER, INT8_REPEAT
from ghost_deploy.judge.parity.self_check import self_check
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.int8_forms import ort_form
from ghost_deploy.runtimes.table import RUNTIMES
from tests.support.checked_bundle import (
    change_model,
    channels_exchanged,
    scale_wrong,
)

INT8 = f"onnx-int8-{ort_form()}"


def statuses(report: CheckReport) -> dict[str, str]:
    return {row.artifact: row.status for row in report.rows}


def test_a_right_bundle_is_verified_timed_and_remembered(bundle: Bundle) -> None:
    steps: list[tuple[str, int, int]] = []
    report = gd.check(bundle, progress=lambda *step: steps.append(step))
    assert statuses(report) == {"onnx-fp32": "verified", INT8: "verified"}
    assert report.passed
    # Counted in runs: without the noun the terminal would say images.
    assert [step for step in steps if step[2]] == [("checking: run", n, 2) for n in range(2)]
    assert all(row.p50_ms for row in report.rows)
    assert "verified here" in report.advice
    assert CheckReport.from_document(report.to_document()) == report
    int8 = next(row for row in report.rows if row.artifact == INT8)
    assert int8.parity is not None
    assert int8.parity.gate == INT8_REPEAT
    assert int8.parity.tensor is not None
    assert int8.parity.tensor.score.max == 0.0


@pytest.mark.parametrize(
    ("artifact", "change"),
    [
        ("onnx-fp32", channels_exchanged),
        (INT8, scale_wrong(1.02)),
        (INT8, scale_wrong(0.98)),
    ],
)
def test_a_wrong_artifact_fails_and_is_not_loaded(
    artifact: str, change: Callable[[ModelProto], None], bundle: Bundle
) -> None:
    wrong = change_model(bundle, artifact, change)
    report = gd.check(wrong, speed=False)
    assert statuses(report)[artifact] == "failed"
    assert not report.passed
    precision = artifact.split("-")[1]
    with pytest.raises(GateError, match="wrong on this machine"):
        gd.load(wrong, "ort", precision)
    gd.load(wrong, "ort", precision, check=False).close()


def test_the_first_load_checks_and_the_second_reads(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gd.load(bundle, "ort", "int8").close()
    assert f"{INT8} on ort checked on this machine" in caplog.text
    monkeypatch.setattr(
        "ghost_deploy.judge.check.ask_child.ask_child", lambda *_, **__: pytest.fail("ran again")
    )
    gd.load(bundle, "ort", "int8").close()
    monkeypatch.setattr(
        "ghost_deploy.judge.check.verdict_store.distributions_of", lambda package: ("another",)
    )
    with pytest.raises(pytest.fail.Exception, match="ran again"):
        gd.load(bundle, "ort", "int8")


def test_another_version_of_the_backend_is_held_to_a_wider_gate(bundle: Bundle) -> None:
    note = bundle.evidence.reference
    assert note is not None
    ((sha256, outputs),) = note.int8.items()
    older = msgspec.structs.replace(outputs, version="1.0")
    changed = bundle.with_evidence(msgspec.structs.replace(note, int8={sha256: older}))
    row = self_check(changed, bundle.artifacts[1], "ort", RuntimeOptions())
    assert row is not None
    assert row.status == "passed"
    assert row.gate.max_mean_score == 0.03


def test_without_outputs_nothing_is_judged(bundle: Bundle) -> None:
    note = bundle.evidence.reference
    assert note is not None
    bundle.with_evidence(msgspec.structs.replace(note, int8={})).save()
    report = gd.check(bundle.path, speed=False)
    assert statuses(report) == {"onnx-fp32": "verified", INT8: "unjudged"}
    assert "--calib" in report.rows[1].reasons[0]


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import time; time.sleep(60)", "no answer within 1 s"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "illegal instruction"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("raise SystemExit('broken')", "broken"),
    ],
)
def test_an_artifact_that_hangs_or_dies_fails_alone(
    program: str, reason: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask_child, "_COMMAND", ("-c", program))
    limit = 1.0 if "no answer" in reason else 60.0  # a busy machine starts no Python in a second
    report = gd.check(bundle, timeout_s=limit, speed=False)
    assert set(statuses(report).values()) == {"failed"}
    assert all(reason in row.reasons[0] for row in report.rows)


@pytest.mark.parametrize("index", [0, 8, 16, -1])
def test_one_scale_wrong_by_two_percent_fails_in_any_part(index: int, bundle: Bundle) -> None:
    """The last ones belong to maps of the head that find little or nothing in the images."""
    wrong = change_model(bundle, INT8, scale_wrong(1.02, index))
    row = self_check(wrong, wrong.artifacts[1], "ort", RuntimeOptions())
    assert row is not None
    assert row.status == "failed", row.tensor


def test_without_fused_multiply_add_int8_need_not_repeat_to_the_bit(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghost_deploy.judge.parity.self_check.fuses_multiply_add", lambda: False)
    row = self_check(bundle, bundle.artifacts[1], "ort", RuntimeOptions())
    assert row is not None
    assert (row.status, row.gate) == ("passed", INT8_OTHER)


def test_what_this_machine_has_no_kernels_for_is_named(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RUNTIMES, "ort", dataclasses.replace(RUNTIMES["ort"], forms=("other",)))
    report = gd.check(bundle, speed=False)
    assert statuses(report) == {"onnx-fp32": "verified", INT8: "skipped"}
    assert "cannot run here" in report.rows[1].reasons[0]
    assert report.passed


def test_a_changed_file_is_refused_before_anything_runs(bundle: Bundle) -> None:
    (bundle.path / "model.fp32.onnx").write_bytes(b"x")
    with pytest.raises(BundleError, match="changed"):
        gd.check(bundle)

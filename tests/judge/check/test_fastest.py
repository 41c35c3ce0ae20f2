"""`--precision fastest`: what check verified and timed here, and nothing else."""

from __future__ import annotations

import importlib

import msgspec
import onnx
import pytest

import ghost_deploy as gd
from ghost_deploy.core.bundle import CANDIDATE, Bundle, BundleWriter
from ghost_deploy.core.errors import UnavailableError, UsageError
from ghost_deploy.core.evidence.check import CheckRow
from ghost_deploy.judge.check import check_bundle
from ghost_deploy.judge.check.fastest import TimedRun, fastest
from ghost_deploy.judge.parity.store_reference import store_int8_outputs
from ghost_deploy.runtimes.base import Runtime, RuntimeOptions
from ghost_deploy.runtimes.int8_forms import ort_form
from ghost_deploy.runtimes.run_plan import PlannedRun

INT8 = f"onnx-int8-{ort_form()}"


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({}, None),
        ({"fp32": 10.0}, "fp32"),
        ({"fp32": 10.0, "int8": 5.0}, "int8"),
        ({"fp32": 5.0, "int8": 10.0}, "fp32"),
        ({"int8": 9.8, "bf16": 9.9, "fp32": 10.0}, "fp32"),  # as fast: the most exact
        ({"int8": 6.0, "bf16": 6.1, "fp32": 10.0}, "bf16"),
        ({"fp16": 10.0, "fp32": 10.2, "int8": 12.0}, "fp32"),
    ],
)
def test_the_fastest_and_of_equals_the_most_exact(
    times: dict[str, float], expected: str | None
) -> None:
    assert fastest(TimedRun(name, name, ms) for name, ms in times.items()) == expected


def with_times(monkeypatch: pytest.MonkeyPatch, times: dict[str, float]) -> None:
    """Check measures these times, by precision or artifact; what it verifies is real."""

    def timed(
        bundle: Bundle, rows: list[CheckRow], *_: object
    ) -> tuple[list[CheckRow], tuple[str, ...]]:
        return [
            msgspec.structs.replace(row, p50_ms=times.get(row.artifact, times[row.precision]))
            if row.status == "verified"
            else row
            for row in rows
        ], ("the machine was busy",)

    monkeypatch.setattr(check_bundle, "_timed", timed)


def with_candidate(bundle: Bundle) -> Bundle:
    """The bundle with another int8 file of the same form, as `calibrate` carries them."""
    int8 = next(each for each in bundle.artifacts if each.id == INT8)
    with BundleWriter(bundle.path, overwrite=True) as writer:
        writer.adopt(bundle)
        path = writer.folder / "model.int8.other.onnx"
        model = onnx.load(bundle.path / int8.path)
        model.producer_name = "other"  # another hash
        onnx.save(model, path)
        form = f"{int8.form}{CANDIDATE}other"
        writer.add(
            format="onnx", precision="int8", path=path, parent=int8.parent, tools={}, form=form
        )
        draft = writer.draft(bundle.spec, bundle.document.source, "test", bundle.evidence)
        store_int8_outputs(draft, RuntimeOptions()).save()
        return writer.finish()


def test_of_several_int8_files_the_one_is_loaded_that_check_decided_for(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = with_candidate(bundle)
    opened: list[str] = []
    room = importlib.import_module("ghost_deploy.api.load")
    real = room.open_planned

    def open_planned(bundle: Bundle, run: PlannedRun, options: RuntimeOptions) -> Runtime:
        opened.append(run.artifact.id)
        result: Runtime = real(bundle, run, options)
        return result

    monkeypatch.setattr(room, "open_planned", open_planned)
    other = f"{INT8}+other"
    gd.load(both, precision="int8").close()
    with_times(monkeypatch, {"fp32": 10.0, INT8: 5.0, other: 4.0, "int8": 5.0})
    report = gd.check(both)
    assert [row.artifact for row in report.rows] == ["onnx-fp32", INT8, other]
    assert other in report.advice
    gd.load(both, precision="int8").close()
    gd.load(both, precision="fastest").close()
    gd.load(both).close()
    with_times(monkeypatch, {"fp32": 10.0, INT8: 4.0, other: 5.0, "int8": 5.0})
    gd.check(both)
    gd.load(both, precision="int8").close()
    assert opened == [INT8, other, other, "onnx-fp32", INT8]


def test_fastest_takes_what_check_found(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UnavailableError, match=r"ghost-deploy check .*bundle"):
        gd.load(bundle, precision="fastest")
    gd.check(bundle, speed=False)
    with pytest.raises(UnavailableError, match="verified and timed"):
        gd.load(bundle, precision="fastest")

    with_times(monkeypatch, {"fp32": 10.0, "int8": 5.0})
    report = gd.check(bundle)
    assert (INT8 in report.advice, report.warnings) == (True, ("the machine was busy",))
    with gd.load(bundle, precision="fastest") as detector:
        assert detector.runtime.info.precision == "int8"
    with gd.load(bundle) as detector:  # the default never changes precision
        assert detector.runtime.info.precision == "fp32"

    with_times(monkeypatch, {"fp32": 4.0, "int8": 5.0})
    gd.check(bundle, precisions=["int8"])  # times of a part are not comparable
    with gd.load(bundle, precision="fastest") as detector:
        assert detector.runtime.info.precision == "int8"
    assert "onnx-fp32" in gd.check(bundle).advice
    with gd.load(bundle, "ort", "fastest") as detector:
        assert detector.runtime.info.precision == "fp32"
    with pytest.raises(UnavailableError, match="on openvino"):
        gd.load(bundle, "openvino", "fastest")
    with pytest.raises(UnavailableError, match="--device cuda"):
        gd.load(bundle, precision="fastest", device="cuda")


def test_what_failed_is_never_the_fastest(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    with_times(monkeypatch, {"fp32": 10.0, "int8": 5.0})
    gd.check(bundle)
    report = bundle.evidence.parity
    assert report is not None
    int8 = next(each for each in bundle.artifacts if each.id == INT8)
    row = msgspec.structs.replace(
        report.rows[0],
        artifact=INT8,
        sha256=int8.files[int8.path],
        precision="int8",
        status="failed",
        reasons=("wrong",),
    )
    failed = bundle.with_evidence(msgspec.structs.replace(report, rows=(*report.rows, row)))
    with gd.load(failed, precision="fastest") as detector:
        assert detector.runtime.info.precision == "fp32"


def test_a_single_file_has_nothing_to_choose_from(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="bundle"):
        gd.load(bundle.path / "model.fp32.onnx", precision="fastest")

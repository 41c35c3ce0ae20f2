"""The errors of verbs whose result is outside a gate."""

from __future__ import annotations

from collections.abc import Sequence

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.evidence.fork_report import ForkReport
from ghost_deploy.core.evidence.int8 import Int8Row
from ghost_deploy.core.evidence.statistics_report import StatisticsReport
from ghost_deploy.core.gate_error import GateError


def require_proved(bundle: Bundle) -> None:
    """Raise GateError if anything that an export proves is outside its gate."""
    if bundle.evidence.statistics:
        require_statistics(bundle.evidence.statistics, bundle)
    require_fork(bundle)
    require_parity(bundle)
    require_int8(bundle)


def require_statistics(report: StatisticsReport, bundle: Bundle | None = None) -> None:
    """Raise GateError if a network is not the one that its recorded statistics describe.

    Args:
        report: the verdict.
        bundle: that was written with it, if one was.
    """
    if report.outcome is not False:
        return
    written = "" if bundle is None else f"{bundle.path} was written, but "
    raise GateError(
        f"{written}{report.checkpoint} was trained with another arithmetic than it is read with",
        got=report.sentence.rstrip("."),
        fix="See its classes: ghost-deploy inspect CHECKPOINT --images DIR; pass the Python file "
        "that defines them, if you trust it: --modules FILE.py",
        report=report,
        bundle=bundle,
    )


def require_fork(bundle: Bundle) -> None:
    """Raise GateError if our definition computes something else than the fork's own code."""
    report = bundle.evidence.fork
    if report is not None:
        require_same_network(report, bundle)


def require_same_network(report: ForkReport, bundle: Bundle) -> None:
    """Raise GateError if a report says that our definition is not the fork's network."""
    if report.status == "failed":
        raise GateError(
            f"{bundle.path} is not proved: our definition is not the network of this fork",
            got="; ".join(report.reasons),
            expected=f"scores within {report.max_score:g}, boxes within {report.max_box_px:g} px",
            fix="Report the class with: ghost-deploy inspect CHECKPOINT; the fork's code is not "
            "used where a definition fits",
            report=report,
            bundle=bundle,
        )


def require_parity(bundle: Bundle) -> None:
    """Raise GateError if an artifact of a bundle is not the model of the checkpoint."""
    report = bundle.evidence.parity
    if report is None or report.passed:
        return
    failed = [row for row in report.rows if row.status == "failed"]
    raise GateError(
        f"{bundle.path} was written, but it is not proved. {report.summary()}",
        got=f"{failed[0].artifact} on {failed[0].runtime}: {'; '.join(failed[0].reasons)}"
        if failed
        else None,
        fix="See where it comes from: ghost-deploy parity CHECKPOINT BUNDLE",
        report=report,
        bundle=bundle,
    )


def require_int8(bundle: Bundle) -> None:
    """Raise GateError if an int8 artifact of a bundle loses more accuracy than is allowed."""
    report = bundle.evidence.int8
    failed = [row for row in report.rows if row.status == "failed"] if report else []
    _require_kept(bundle, [row for row in failed if not row.kept])
    if failed:
        raise GateError(
            f"{bundle.path} was written, but {failed[0].artifact} loses too much",
            got=f"{failed[0].drop:.2f} points, at most {failed[0].max_drop:g} allowed",
            fix="Allow more with --max-drop, which also returns layers to float, give more "
            "images, or use fp16",
            report=report,
            bundle=bundle,
        )


def _require_kept(bundle: Bundle, left_out: Sequence[Int8Row]) -> None:
    """Raise GateError if int8 files were not kept because they surely lose too much."""
    if left_out:
        raise GateError(
            f"{bundle.path} was written without int8 files that surely lose too much",
            got="; ".join(
                f"{row.artifact} loses {row.drop:.2f} points, {row.drop_low:.2f} to "
                f"{row.drop_high:.2f} in 95 of 100 cases"
                for row in left_out
            ),
            expected=f"at most {left_out[0].max_drop:g}",
            fix="Give more calibration images of the kind that it will see, or use fp16; "
            "--max-drop POINTS keeps such a file",
            report=bundle.evidence.int8,
            bundle=bundle,
        )


def require_engine(bundle: Bundle, precision: str) -> None:
    """Raise GateError if a TensorRT engine of a bundle failed its self-check."""
    report, engine = bundle.evidence.parity, bundle.artifact("tensorrt", precision)
    for row in report.rows if report else ():
        own = (row.artifact, row.sha256) == (engine.id, engine.files[engine.path])
        if own and row.status == "failed":
            raise GateError(
                f"{engine.id} was written, but it failed its self-check",
                got="; ".join(row.reasons),
                fix="Build another precision, e.g. --fp32, and compare: ghost-deploy build --help",
                report=report,
                bundle=bundle,
            )

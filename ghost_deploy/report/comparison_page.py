"""The page of a comparison: the sections of accuracy and latency, under its own verdict."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from ghost_deploy.core.evidence.comparison import CompareReport
from ghost_deploy.report.assemble import assemble
from ghost_deploy.report.material import Material
from ghost_deploy.report.report_document import Report, Verdict
from ghost_deploy.report.write import write_report


def report_of(comparison: CompareReport) -> Report:
    """The report that shows a comparison.

    Raises:
        InputError: it contradicts itself.
    """
    material = Material()
    material.add_comparison(comparison)
    reasons = [f"old: {comparison.old.label}", f"new: {comparison.new.label}"]
    if comparison.left_out:
        reasons.append(f"classes of one model only, left out: {', '.join(comparison.left_out)}")
    verdict = Verdict(
        tone="good" if comparison.outcome else "bad",
        headline=f"{comparison.summary()}.",
        reasons=(*reasons, *comparison.warnings),
    )
    return msgspec.structs.replace(assemble(material), verdict=verdict)


def write_comparison(comparison: CompareReport, path: str | os.PathLike[str]) -> None:
    """Write the page of a comparison.

    Raises:
        MissingExtraError: jinja2 is not installed.
        UsageError: the file cannot be written.
    """
    write_report(report_of(comparison), {"html": Path(path)})

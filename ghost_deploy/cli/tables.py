"""Documents on the terminal: the blocks of their report sections as tables and lines."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from ghost_deploy.cli.console import Column, Console
from ghost_deploy.cli.format import mebibytes, size_of

if TYPE_CHECKING:
    from ghost_deploy.core.bundle import Artifact, Bundle
    from ghost_deploy.core.evidence.accuracy import AccuracyReport
    from ghost_deploy.core.evidence.build import BuildRecords
    from ghost_deploy.core.evidence.check import CheckReport
    from ghost_deploy.core.evidence.comparison import CompareReport
    from ghost_deploy.core.evidence.fork_report import ForkReport
    from ghost_deploy.core.evidence.int8 import Int8Report
    from ghost_deploy.core.evidence.latency import BenchReport
    from ghost_deploy.core.evidence.parity import ParityReport
    from ghost_deploy.core.evidence.statistics_report import StatisticsReport
    from ghost_deploy.report.blocks import Block, Section
    from ghost_deploy.report.report_document import Report
    from ghost_deploy.report.view import ReportView

_PREFIX = {"warn": "warning: ", "bad": "", "": "note: "}


def print_artifacts(bundle: Bundle, artifacts: Iterable[Artifact], console: Console) -> None:
    """Print id, file, size and origin of artifacts of a bundle, and a blank line."""
    rows = [
        [a.id, a.path, mebibytes(size_of(bundle, a)), f"sha256 {a.parent[:12]}"] for a in artifacts
    ]
    titles = (
        Column("artifact"),
        Column("file"),
        Column("all its files", right=True),
        Column("source"),
    )
    console.table(titles, rows)
    console.result("")


def print_verdict(report: Report, console: Console) -> None:
    """Print what a report recommends, with its reasons."""
    console.result(report.verdict.headline)
    for reason in report.verdict.reasons:
        console.result(f"  {reason}")


def print_parity(report: ParityReport, console: Console) -> None:
    """Print differences from the checkpoint, then the verdict."""
    from ghost_deploy.report.sections.parity import parity

    print_sections(parity(_view(report)), console)
    console.result(f"{report.summary()}.")


def print_statistics(report: StatisticsReport, console: Console) -> None:
    """Print whether a network computes what its batch norms recorded in training."""
    from ghost_deploy.report.blocks import DocumentView
    from ghost_deploy.report.sections.recorded_statistics import statistics_section

    view = DocumentView(report.to_document())
    print_sections([statistics_section(view, report)], console)


def print_accuracy(report: AccuracyReport, console: Console) -> None:
    """Print mAP of the runs and AP of the classes, then the verdict."""
    from ghost_deploy.report.sections.accuracy import accuracy
    from ghost_deploy.report.sections.score_thresholds import thresholds

    view = _view(report)
    print_sections([*accuracy(view), *thresholds(view)], console)
    console.result(f"{report.summary()}.")
    if report.thresholds:
        console.result(f"{report.thresholds.summary()}.")


def print_comparison(report: CompareReport, console: Console) -> None:
    """Print accuracy and times of two models, then the verdict."""
    from ghost_deploy.report.comparison_page import report_of
    from ghost_deploy.report.sections.accuracy import accuracy
    from ghost_deploy.report.sections.latency import latency
    from ghost_deploy.report.view import ReportView

    made = report_of(report)
    view = ReportView(made)
    print_sections([*accuracy(view), *latency(view)], console)
    print_verdict(made, console)


def print_latency(report: BenchReport, console: Console) -> None:
    """Print times, stages, resources and comparisons, then the machine."""
    from ghost_deploy.report.sections.latency import latency
    from ghost_deploy.report.sections.origin import machine

    view = _view(report)
    print_sections([*latency(view), *machine(view)], console)


def print_int8(report: Int8Report, console: Console) -> None:
    """Print the result of a calibration, then the verdict."""
    from ghost_deploy.report.blocks import DocumentView
    from ghost_deploy.report.sections.int8 import int8_sections

    print_sections(int8_sections(DocumentView(report.to_document()), report), console)
    console.result(report.verdict)


def print_fork(report: ForkReport, console: Console) -> None:
    """Print which code of a fork was executed, then what it says."""
    from ghost_deploy.report.blocks import DocumentView
    from ghost_deploy.report.sections.fork_code import fork_section

    print_sections([fork_section(DocumentView(report.to_document()), report)], console)
    console.result(f"{report.summary()}.")


def print_check(report: CheckReport, console: Console, where: str = "this machine") -> None:
    """Print the verdicts of a check, `where` it ran, then what to use."""
    from ghost_deploy.report.blocks import DocumentView
    from ghost_deploy.report.sections.check import check_section

    print_sections([check_section(DocumentView(report.to_document()), report, where)], console)
    console.result(report.advice)


def print_builds(
    records: BuildRecords, console: Console, only: Collection[str] | None = None
) -> None:
    """Print TensorRT engines.

    Args:
        records: the engines of a bundle.
        console: to print on.
        only: ids of the engines to print; all when None.
    """
    from ghost_deploy.report.blocks import DocumentView
    from ghost_deploy.report.sections.build import build_section

    view = DocumentView(records.to_document())
    print_sections([build_section(view, (), "build", only)], console)


def print_sections(sections: Iterable[Section], console: Console) -> None:
    """Print the blocks of sections that a terminal shows, and a blank line after each."""
    from ghost_deploy.report.blocks import plain, shown_on

    for section in sections:
        console.result(plain(section.title))
        if section.lead:
            console.result(plain(section.lead))
        console.result("")
        for block in shown_on("terminal", section).blocks:
            _print_block(block, console)
            console.result("")


def _print_block(block: Block, console: Console) -> None:
    """Print one block; drawings are for pages."""
    from ghost_deploy.report.blocks import FactList, Notes, Table, plain

    if isinstance(block, Table):
        if block.caption or block.folded:
            console.result(plain(block.caption) or block.folded)
        columns = [Column(plain(column.title), column.right) for column in block.columns]
        console.table(columns, [[plain(cell) for cell in row] for row in block.rows])
    elif isinstance(block, FactList):
        names = [name if isinstance(name, str) else name.text for name, _ in block.rows]
        values = [plain(value) for _, value in block.rows]
        console.facts(list(zip(names, values, strict=True)))
    elif isinstance(block, Notes):
        for line in block.lines:
            console.result(f"{_PREFIX[block.tone]}{plain(line)}")


def _view(document: ParityReport | AccuracyReport | BenchReport) -> ReportView:
    """The report on one document alone."""
    from ghost_deploy.report.assemble import assemble
    from ghost_deploy.report.material import Material
    from ghost_deploy.report.view import ReportView

    material = Material()
    material.add(document, f"this {document.KIND} document")
    return ReportView(assemble(material))

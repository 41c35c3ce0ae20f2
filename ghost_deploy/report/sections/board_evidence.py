"""What a bundle did on boards: each board, and what was found of each run there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ghost_deploy.core.evidence.boards import BoardRecord, BoardsReport
from ghost_deploy.report.blocks import (
    NOTHING,
    At,
    Block,
    DocumentView,
    Line,
    Section,
    Table,
    TableColumn,
)
from ghost_deploy.report.sections.field_table import Field, field_table, notes, numbered
from ghost_deploy.report.view import ReportView

_BOARD = (
    Field("board", "name", "text"),
    Field("model", "model", "text"),
    Field("processor", "processor", "text"),
    Field("architecture", "architecture", "text"),
    Field("system", "distribution", "text"),
    Field("temperature", "temperature_c", "celsius"),
    Field("power mode", "power_mode", "text"),
    Field("governors", "governors", "list"),
    Field("last command, UTC", "asked_at", "date"),
)
_RUNS = (
    # title, evidence and keys to the value, form
    ("check", ("check/status",), "pill"),
    ("model alone, p50 ms", ("latency/figures/stages/run_alone/p50", "check/p50_ms"), "ms"),
    ("file to detections, p50 ms", ("latency/figures/stages/end_to_end/p50",), "ms"),
    ("mAP50-95", ("accuracy/accuracy/map50_95",), "map"),
    ("points", ("accuracy/delta",), "points"),
    ("accuracy", ("accuracy/status",), "pill"),
)
_CONFIG = ("batch", "threads", "streams")


@dataclass
class _BoardRun:
    """One artifact on one runtime of a board: the place of its row by kind of evidence."""

    board: At
    places: dict[str, At] = field(default_factory=dict)

    @property
    def any(self) -> At:
        """The first of the places."""
        return next(iter(self.places.values()))


def boards(view: ReportView) -> Iterator[Section]:
    """A section for each bundle that ran on boards."""
    for index, bundle in enumerate(view.report.bundles):
        report = bundle.read(BoardsReport)
        if report is not None and report.boards:
            at: At = ("bundles", index, "document", "evidence", BoardsReport.KIND)
            yield _section(view, report, at, numbered("boards", index))


def _section(view: DocumentView, report: BoardsReport, at: At, name: str) -> Section:
    places: list[At] = [(*at, "boards", i) for i in range(len(report.boards))]
    facts: list[At] = [(*place, "board") for place in places]
    known = [f for f in _BOARD if any(view.find(*each, *f.steps) for each in facts)]
    blocks: list[Block] = [field_table(view, facts, known)]
    pairs = zip(places, report.boards, strict=True)
    runs = [run for place, record in pairs for run in _runs(place, record)]
    if runs:
        blocks.append(_table(view, runs))
    blocks += notes(list(_failures(view, runs)), "bad")
    lead: Line = ("The last check, times and accuracy of each machine that --on named.",)
    return Section(name, ("Boards",), blocks, lead)


def _runs(place: At, record: BoardRecord) -> list[_BoardRun]:
    """The runs of a board; what was timed in several ways is a run each."""
    found: dict[tuple[str, str, str, int], _BoardRun] = {}
    check = record.check.rows if record.check else ()
    latency = record.latency.rows if record.latency else ()
    accuracy = record.accuracy.rows if record.accuracy else ()
    kinds = {
        "check": [(r.artifact, r.runtime, r.precision) for r in check],
        "latency": [(r.artifact, r.config.runtime, r.config.precision) for r in latency],
        "accuracy": [(r.artifact, r.runtime, r.precision) for r in accuracy],
    }
    for kind, keys in kinds.items():
        for index, key in enumerate(keys):
            run = found.setdefault((*key, keys[:index].count(key)), _BoardRun((*place, "board")))
            run.places[kind] = (*place, kind, "rows", index)
    return list(found.values())


def _table(view: DocumentView, runs: Sequence[_BoardRun]) -> Table:
    columns: list[tuple[TableColumn, list[Line]]] = [
        (TableColumn(("board",)), [(view.cell("text", *run.board, "name"),) for run in runs]),
        (TableColumn(("artifact",)), [(view.cell("text", *run.any, "artifact"),) for run in runs]),
        (TableColumn(("runtime",)), [_config(view, run, "runtime", "runtime") for run in runs]),
        (TableColumn(("precision",)), [_config(view, run, "precision", "text") for run in runs]),
    ]
    timed = [run for run in runs if "latency" in run.places]
    for name in _CONFIG:
        values = {view.find(*run.places["latency"], "config", name) for run in timed}
        if len(values) > 1:
            cells = [_value(view, run, (f"latency/config/{name}",), "count") for run in runs]
            columns.append((TableColumn((name,), right=True), cells))
    for title, paths, form in _RUNS:
        cells = [_value(view, run, paths, form) for run in runs]
        columns.append((TableColumn((title,), right=form != "pill"), cells))
    shown = [each for each in columns if any(cell != NOTHING for cell in each[1])]
    rows = list(zip(*(cells for _, cells in shown), strict=True))
    return Table([column for column, _ in shown], rows, folded="All runs" if len(rows) > 24 else "")


def _config(view: DocumentView, run: _BoardRun, name: str, form: str) -> Line:
    at = run.any if "latency" not in run.places else (*run.places["latency"], "config")
    return (view.cell(form, *at, name),)


def _value(view: DocumentView, run: _BoardRun, paths: Sequence[str], form: str) -> Line:
    """The first of the values that is there."""
    for path in paths:
        kind, *steps = path.split("/")
        if kind in run.places and view.find(*run.places[kind], *steps) is not None:
            place = (*run.places[kind], *steps)
            return (view.pill(*place) if form == "pill" else view.cell(form, *place),)
    return NOTHING


def _failures(view: DocumentView, runs: Sequence[_BoardRun]) -> Iterator[Line]:
    """Why runs failed: a line for each reason."""
    for run in runs:
        for kind, at in run.places.items():
            if view.find(*at, "status") != "failed":
                continue
            name: Line = (view.cell("text", *run.board, "name"), ": ")
            name = (*name, view.cell("text", *at, "artifact"), f", {kind} failed: ")
            reason = view.find(*at, "reason")
            lines = [(view.cell("text", *at, "reason"),)] if reason else view.listed(*at, "reasons")
            yield from ((*name, *line) for line in lines)

"""The code of a fork that was executed, and what it said of our definition."""

from __future__ import annotations

from collections.abc import Iterator

from ghost_deploy.core.evidence.fork_report import ForkReport
from ghost_deploy.report.blocks import At, Block, Cell, DocumentView, FactList, Line, Section
from ghost_deploy.report.sections.field_table import notes, numbered
from ghost_deploy.report.view import ReportView

_ROLES = {
    "judge": "Our definition was compared with the fork's own code on identical tensors.",
    "reference": "No definition fits: the graph and the reference outputs are the fork's own.",
}
_SCORE = "{figures/score/max:small} of at most {max_score:plain}"
_CONFINED = {
    True: "confined: no network, no other files, nothing to write to but a temporary folder",
    False: "NOT confined: with the rights of the user",
}


def fork_code(view: ReportView) -> Iterator[Section]:
    """A section for each bundle for which a fork's code was executed."""
    for index, bundle in enumerate(view.report.bundles):
        report = bundle.read(ForkReport)
        if report:
            at: At = ("bundles", index, "document", "evidence", ForkReport.KIND)
            yield fork_section(view, report, at, numbered("fork", index))


def fork_section(
    view: DocumentView, report: ForkReport, at: At = (), name: str = "fork"
) -> Section:
    """Show one document.

    Args:
        view: has the document.
        report: the same as a value.
        at: its place there.
        name: anchor of the section.
    """
    code: At = (*at, "code")
    rows: list[tuple[str | Cell, Line]] = [
        ("folder", view.line("{folder:text}, sha256 {digest:hash}", *code)),
        ("it was run", (_CONFINED[report.code.confined],)),
        ("network", view.line("{class_path:text}", *code)),
        ("files imported", view.line("{files:length}", *code)),
    ]
    rows += [(view.key(*code, "versions", each), (view.cell("text", *code, "versions", each),))
             for each in report.code.versions]  # fmt: skip
    if report.code.absent:
        rows.append(("not installed, not used", view.line("{absent:list}", *code)))
    if report.figures is not None:
        rows += [
            ("our definition", (view.pill(*at, "status"),)),
            ("arithmetic", view.line("{arithmetic:text}, {images:length} images", *at)),
            (
                "score diff",
                view.line(_SCORE, *at),
            ),
            ("box diff", view.line("{figures/box_px/max:px} of at most {max_box_px:plain}", *at)),
            ("compared", view.line("{figures/compared:count} anchors", *at)),
        ]
    blocks: list[Block] = [FactList(rows), *notes(view.listed(*at, "reasons"), "bad")]
    return Section(name, ("The fork's own code",), blocks, (_ROLES[report.role],))

"""The images on which a run and its reference differ most, or are most wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from ghost_deploy.core.evidence.shown_boxes import HardImage, ShownBox
from ghost_deploy.report.blocks import At, Cell, Drawing, Section
from ghost_deploy.report.charts.image_boxes import Panel, image_boxes
from ghost_deploy.report.charts.style import swatches
from ghost_deploy.report.view import ReportView

_MOST_IMAGES = 12
_STATES = (
    ("frame found", "found, as labelled"),
    ("frame false", "false: nothing is labelled there"),
    ("frame missed", "missed: labelled and not found"),
    ("frame alone", "heavy: the other does not have it"),
)


def images(view: ReportView) -> Iterator[Section]:
    """A section over all accuracy documents that have images."""
    blocks = [
        _drawing(view, index, k, image)
        for index, report in enumerate(view.report.accuracy)
        for k, image in enumerate(report.hard_images[:_MOST_IMAGES])
    ]
    if not blocks:
        return
    first = next(i for i, r in enumerate(view.report.accuracy) if r.hard_images)
    lead = view.line(
        "First those where a run and the reference do not find the same, then those where both "
        "are most wrong. Detections with a score above {conf:score}.",
        *("accuracy", first),
    )
    blocks[0] = replace(blocks[0], legend=swatches(_STATES))
    yield Section("images", ("Worst images",), blocks, lead)


def _drawing(view: ReportView, index: int, k: int, image: HardImage) -> Drawing:
    at: At = ("accuracy", index, "hard_images", k)
    run: At = ("accuracy", index, "rows", image.row)
    name = (view.cell("runtime", *run, "runtime"), " ", view.cell("upper", *run, "precision"))
    panels = [
        Panel(
            title,
            view.cell("count", *at, f"{side}_wrong"),
            [_box(view, index, (*at, side, i), box) for i, box in enumerate(getattr(image, side))],
            view.cell("list", *at, side).at,
        )
        for side, title in (("reference", ("Reference",)), ("candidate", name))
    ]
    note = view.line("Detections that only one of the two has: {differences:count}", *at)
    draw = partial(image_boxes, image, panels, f"{index}-{k}")
    return Drawing(view.line("{name:text}", *at), draw, note)


def _box(view: ReportView, index: int, at: At, box: ShownBox) -> tuple[ShownBox, Cell, Cell | None]:
    classes = _names_at(view, index)
    known = 0 <= box.class_id < len(view.value(*classes))
    name = (
        view.cell("text", *classes, box.class_id, "name")
        if known
        else view.cell("count", *at, "class_id")
    )
    return box, name, None if box.score is None else view.cell("score", *at, "score")


def _names_at(view: ReportView, index: int) -> At:
    """The place of the class names, by class id."""
    report = view.report.accuracy[index]
    if report.reference:
        return "accuracy", index, "reference", "accuracy", "classes"
    row = next(i for i, row in enumerate(report.rows) if row.accuracy)
    return "accuracy", index, "rows", row, "accuracy", "classes"

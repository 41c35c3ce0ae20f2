"""The images on which a run and its reference differ most, or are most wrong."""

from __future__ import annotations

from collections.abc import Iterator

from ghost_deploy.core.evidence.hard_images import HardImage, ShownBox
from ghost_deploy.report.cells import Block, Cell, Drawing, Line, Section
from ghost_deploy.report.charts.photos import Panel, photo
from ghost_deploy.report.charts.style import swatches
from ghost_deploy.report.view import View

__all__ = ["images"]

_MOST_IMAGES = 12


def images(view: View) -> Iterator[Section]:
    """A section over all accuracy documents that have pictures."""
    blocks: list[Block] = [
        _drawing(view, index, k, image)
        for index, report in enumerate(view.report.accuracy)
        for k, image in enumerate(report.hard_images[:_MOST_IMAGES])
    ]
    if not blocks:
        return
    first = next(i for i, r in enumerate(view.report.accuracy) if r.hard_images)
    conf = view.look.cell("score", "accuracy", first, "conf")
    lead: Line = (
        "First those where a run and the reference do not find the same, then those where both "
        "are most wrong. Detections with a score above ", conf, ".",
    )  # fmt: skip
    blocks[0] = _with_legend(blocks[0])
    yield Section("images", ("Worst images",), blocks, lead)


def _with_legend(block: Block) -> Block:
    assert isinstance(block, Drawing)
    legend = swatches(
        [
            ("frame found", "found, as labelled"),
            ("frame false", "false: nothing is labelled there"),
            ("frame missed", "missed: labelled and not found"),
            ("frame alone", "heavy: the other does not have it"),
        ]
    )
    return Drawing(block.title, block.markup, block.note, legend)


def _drawing(view: View, index: int, k: int, image: HardImage) -> Drawing:
    at: tuple[str | int, ...] = ("accuracy", index, "hard_images", k)
    look = view.look
    run: tuple[str | int, ...] = ("accuracy", index, "rows", image.row)
    name = (look.cell("runtime", *run, "runtime"), " ", look.cell("upper", *run, "precision"))
    panels = [
        Panel(
            title,
            look.cell("count", *at, f"{side}_wrong"),
            [_box(view, index, (*at, side, i), box) for i, box in enumerate(getattr(image, side))],
            look.cell("list", *at, side).at,
        )
        for side, title in (("reference", ("Reference",)), ("candidate", name))
    ]
    title: Line = (look.cell("text", *at, "name"),)
    differences = look.cell("count", *at, "differences")
    note: Line = ("Detections that only one of the two has: ", differences)
    return Drawing(title, photo(image, panels, f"{index}-{k}"), note)


def _box(
    view: View, index: int, at: tuple[str | int, ...], box: ShownBox
) -> tuple[ShownBox, Cell, Cell | None]:
    classes = _names_at(view, index)
    known = 0 <= box.class_id < len(view.look.value(*classes))
    name = (
        view.look.cell("text", *classes, box.class_id, "name")
        if known
        else view.look.cell("count", *at, "class_id")
    )
    return box, name, None if box.score is None else view.look.cell("score", *at, "score")


def _names_at(view: View, index: int) -> tuple[str | int, ...]:
    """Where the class names stand, by class id."""
    report = view.report.accuracy[index]
    if report.reference:
        return "accuracy", index, "reference", "accuracy", "classes"
    row = next(i for i, row in enumerate(report.rows) if row.accuracy)
    return "accuracy", index, "rows", row, "accuracy", "classes"

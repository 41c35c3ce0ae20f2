"""The report as one HTML file that needs nothing else: no network, no script."""

from __future__ import annotations

from pathlib import Path

from ghost_deploy.core.errors import MissingExtraError
from ghost_deploy.report.blocks import Drawing, FactList, Notes, Table, Tree, plain
from ghost_deploy.report.page import make_page
from ghost_deploy.report.report_document import Report

_HERE = Path(__file__).parent / "templates"
_BLOCKS = {Table: "table", FactList: "facts", Tree: "tree", Notes: "notes", Drawing: "drawing"}


def render_html(report: Report) -> str:
    """Render the page.

    The template escapes what comes from the document; drawings consist of elements that escape
    their texts. The page forbids itself scripts and all addresses.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    try:
        import jinja2
    except ModuleNotFoundError as error:
        raise MissingExtraError.for_extra("jinja2", "report") from error

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        page=make_page(report),
        style=(_HERE / "style.css").read_text(encoding="utf-8"),
        kind=lambda block: _BLOCKS[type(block)],
        plain=plain,
    )

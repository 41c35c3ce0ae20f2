"""A report as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

import msgspec

from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.files import refuse_existing, write_whole
from ghost_deploy.report.html import render_html
from ghost_deploy.report.markdown import render_markdown
from ghost_deploy.report.report_document import Report

_ENDS = {"html": (".html", ".htm"), "markdown": (".md", ".markdown"), "json": (".json",)}
"""Ends of the names of files, by form."""

_SHOWN = {"html": "a page", "markdown": "Markdown", "json": "the JSON document"}

_FORMS: dict[str, Callable[[Report], bytes]] = {
    "html": lambda report: render_html(report).encode(),
    "markdown": lambda report: render_markdown(report).encode(),
    "json": lambda report: msgspec.json.format(msgspec.json.encode(report), indent=1),
}


def form_of(path: Path) -> str:
    """The form of a file by the end of its name: `html`, `markdown` or `json`; a name without an
    end is that of a page.

    Raises:
        UsageError: the end is that of something else.
    """
    end = path.suffix.lower()
    for form, ends in _ENDS.items():
        if end in ends:
            return form
    if not end:
        return "html"
    raise UsageError(
        f"no report has the form of {path}",
        got=end,
        expected=".html, .md or .json",
        fix="Name it .html; or .md for Markdown (--markdown), .json for the document (--json)",
    )


def write_report(report: Report, paths: Mapping[str, Path], *, overwrite: bool = False) -> None:
    """Write a report in one or several forms; all are rendered before the first is written.

    Args:
        report: the document.
        paths: `html`, `markdown` and `json` to the file of each.
        overwrite: replace files that are there.

    Raises:
        MissingExtraError: HTML is asked for and jinja2 is not installed.
        UsageError: a file is there, two are the same, or a name is one of another form.
        ExportError: a file cannot be written.
    """
    for form, path in paths.items():
        _refuse_other_form(path, form)
        refuse_existing(path, overwrite=overwrite)
    if len({path.resolve() for path in paths.values()}) < len(paths):
        raise UsageError("two outputs have the same name", fix="Give each a file of its own")
    made = {path: _FORMS[form](report) for form, path in paths.items()}
    for path, data in made.items():
        write_whole(path, partial(_put, data))


def _refuse_other_form(path: Path, form: str) -> None:
    """Refuse a name that programs would take for another form than what is in the file."""
    end = path.suffix.lower()
    other = next((each for each, ends in _ENDS.items() if end in ends and each != form), None)
    if other:
        raise UsageError(
            f"{path} would hold {_SHOWN[form]}",
            got=end,
            expected=" or ".join(_ENDS[form]),
            fix=f"Rename it, or ask for {_SHOWN[other]}: --{other} FILE ({other}= in Python)",
        )


def _put(data: bytes, file: BinaryIO) -> None:
    file.write(data)

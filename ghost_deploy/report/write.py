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

_FORMS: dict[str, Callable[[Report], bytes]] = {
    "html": lambda report: render_html(report).encode(),
    "markdown": lambda report: render_markdown(report).encode(),
    "json": lambda report: msgspec.json.format(msgspec.json.encode(report), indent=1),
}


def write_report(report: Report, paths: Mapping[str, Path], *, overwrite: bool = False) -> None:
    """Write a report in one or several forms; all are rendered before the first is written.

    Args:
        report: the document.
        paths: `html`, `markdown` and `json` to the file of each.
        overwrite: replace files that are there.

    Raises:
        MissingExtraError: HTML is asked for and jinja2 is not installed.
        UsageError: a file is there, or two are the same.
        ExportError: a file cannot be written.
    """
    for path in paths.values():
        refuse_existing(path, overwrite=overwrite)
    if len({path.resolve() for path in paths.values()}) < len(paths):
        raise UsageError("two outputs have the same name", fix="Give each a file of its own")
    made = {path: _FORMS[form](report) for form, path in paths.items()}
    for path, data in made.items():
        write_whole(path, partial(_put, data))


def _put(data: bytes, file: BinaryIO) -> None:
    file.write(data)

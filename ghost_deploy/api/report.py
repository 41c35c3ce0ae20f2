"""Render results as a page with a verdict."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ghost_deploy.api.common import AnyPath
from ghost_deploy.core.bundle import Bundle

if TYPE_CHECKING:
    from ghost_deploy.report.report_document import Report


def report(
    results: AnyPath | Bundle | Sequence[AnyPath | Bundle],
    *,
    html: AnyPath | None = None,
    markdown: AnyPath | None = None,
    json: AnyPath | None = None,
    overwrite: bool = False,
) -> Report:
    """Judge results, and write them as pages.

    Args:
        results: bundles with the evidence that they hold, files with what `validate`, `bench` and
            `parity` print with `--json`, and reports of this function; each is recognized by its
            content.
        html: file for one page that needs nothing else: no network, no scripts.
        markdown: file for the same as Markdown.
        json: file for the JSON document that the pages show.
        overwrite: replace files that are there.

    Returns:
        That document; `report.verdict` says what to use.

    Raises:
        UsageError: no result, one twice, or a file that is there.
        ExportError: a file cannot be written.
        InputError, BundleError: a result cannot be read.
        MissingExtraError: `html` is given and jinja2 is not installed.
    """
    from ghost_deploy.report.assemble import assemble
    from ghost_deploy.report.material import read_sources
    from ghost_deploy.report.write import write_report

    several = [results] if isinstance(results, str | os.PathLike | Bundle) else results
    paths = [each.path if isinstance(each, Bundle) else Path(each) for each in several]
    made = assemble(read_sources(paths))
    pages = {"html": html, "markdown": markdown, "json": json}
    write_report(
        made, {form: Path(path) for form, path in pages.items() if path}, overwrite=overwrite
    )
    return made

"""`ghost-deploy report`: results as a page."""

from __future__ import annotations

import argparse
from pathlib import Path

from ghost_deploy.cli.console import Console
from ghost_deploy.cli.options import add_switches, add_trust, add_value
from ghost_deploy.core.errors import UsageError

DESCRIPTION = """\
Render results as one HTML page that needs nothing else: no network, no scripts. RESULTS are the
documents that `validate`, `bench` and `parity` print with --json, bundles with the evidence
they keep, and reports of this command itself; each is recognized by what it holds. The page begins
with a plain verdict, and every number on it names its place in the JSON document of the report
(--json).
"""
EXAMPLES = """\
examples:
  ghost-deploy validate out/best --data data.yaml --checkpoint best.pt --json > accuracy.json
  ghost-deploy bench out/best --baseline out/plain --json > latency.json
  ghost-deploy report accuracy.json latency.json out/best -o report.html --json report.json
  ghost-deploy report report.json -o report.md
"""

_OUT = (
    "file to write; the end of its name says what: a page (.html), Markdown (.md) or the document "
    "(.json)"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "results", nargs="+", metavar="RESULTS", help="what a command's --json printed, or a bundle"
    )
    parser.add_argument("-o", "--out", metavar="FILE", required=True, help=_OUT)
    add_switches(parser, {"--overwrite": "replace files that are there"})
    add_value(parser, "--markdown", "FILE", "write the same as Markdown, too")
    add_value(parser, "--json", "FILE", "write the document that the pages show, too")
    add_trust(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Read, judge, write, and print the verdict."""
    from ghost_deploy import api
    from ghost_deploy.cli.tables import print_verdict

    pages = _pages(args)
    report = api.report(
        args.results,
        html=pages.get("html"),
        markdown=pages.get("markdown"),
        json=pages.get("json"),
        overwrite=args.overwrite,
    )
    print_verdict(report, console)
    console.note(f"wrote {', '.join(pages.values())}")
    return 0


def _pages(args: argparse.Namespace) -> dict[str, str]:
    """The files to write, by form."""
    from ghost_deploy.report.write import form_of

    form = form_of(Path(args.out))
    others = {"markdown": args.markdown, "json": args.json}
    if others.get(form):
        raise UsageError(
            f"-o {args.out} and --{form} {others[form]} are the same in two files",
            fix=f"Leave out one, or name a page: -o {Path(args.out).with_suffix('.html')}",
        )
    return {form: args.out, **{name: path for name, path in others.items() if path}}

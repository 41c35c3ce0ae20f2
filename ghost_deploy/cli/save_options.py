"""What `infer -o` writes: annotated images and videos, or results in forms of other tools."""

from __future__ import annotations

import argparse

from ghost_deploy.cli import options
from ghost_deploy.cli.format import plural
from ghost_deploy.core.errors import UsageError
from ghost_deploy.stream.saved.save_forms import FORMS, parse_forms

_ANNOTATED = "annotated"
_BUDGET = 100


def add_save_options(parser: argparse.ArgumentParser) -> None:
    """`--save` and `--overwrite`, which is for all files in `-o`."""
    known = "; ".join(f"{name}: {form.help}" for name, form in FORMS.items())
    text = f"what to write into -o, with commas or repeated (default: {_ANNOTATED}); {known}"
    options.add_value(parser, "--save", "FORM", text, action="append")
    text = "replace files of an earlier run in -o"
    options.add_switches(parser, {"--overwrite": text})
    text = "keep frames with scores near the thresholds there, with labels to correct"
    options.add_value(parser, "--save-uncertain", "DIR", text)
    text = "frames that --save-uncertain keeps at most, the most uncertain (default: 100)"
    options.add_value(parser, "--budget", "N", text, options.positive)


def saved_forms(args: argparse.Namespace) -> tuple[str, ...]:
    """The forms of `--save`, without the annotated images.

    Raises:
        UsageError: there is no such form, or no folder for it.
    """
    if args.save is None:
        return ()
    forms = parse_forms(args.save, _ANNOTATED)
    if not args.out:
        raise UsageError("--save has no folder to write to", fix="Name one: -o DIR")
    return tuple(form for form in forms if form != _ANNOTATED)


def budget_of(args: argparse.Namespace) -> int:
    """How many frames `--save-uncertain` keeps.

    Raises:
        UsageError: a budget of nothing.
    """
    if args.budget is not None and not args.save_uncertain:
        raise UsageError("--budget is that of --save-uncertain", fix="Add --save-uncertain DIR")
    return args.budget or _BUDGET


def kept_frames(count: int, budget: int) -> str:
    """How many frames `--save-uncertain` has kept, for the line that names its folder."""
    return f"{plural(count, 'frame')} kept, at most {budget}"


def annotated_folder(args: argparse.Namespace) -> str | None:
    """Where annotated images and videos go; None if they are not asked for."""
    forms = None if args.save is None else parse_forms(args.save, _ANNOTATED)
    out: str | None = args.out
    return out if forms is None or _ANNOTATED in forms else None

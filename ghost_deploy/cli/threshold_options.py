"""The options of `infer` and `batch` that decide which detections are kept."""

from __future__ import annotations

import argparse

from ghost_deploy.cli import options


def add_thresholds(parser: argparse.ArgumentParser) -> None:
    """Declare `--conf`, `--classes`, `--iou`, `--max-det` and `--agnostic` as a group."""
    group = parser.add_argument_group("thresholds (defaults: those of the bundle)")
    least = "least score, 0 to 1, of all classes or of one; may be repeated"
    options.add_value(group, "--conf", "[CLASS=]C", least, options.conf_limit, action="append")
    classes = "classes to keep, by name or number; may be repeated, as for a name with a comma"
    options.add_value(group, "--classes", "A,B", classes, action="append")
    options.add_value(group, "--iou", "I", "most overlap of a class, 0 to 1", options.fraction)
    options.add_value(group, "--max-det", "N", "most detections an image", options.positive)
    group.add_argument(
        "--agnostic",
        action=argparse.BooleanOptionalAction,
        help="let boxes of different classes suppress each other",
    )

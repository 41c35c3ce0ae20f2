"""The options of int8, which `export` and `calibrate` share."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from ghost_deploy.cli import options
from ghost_deploy.runtimes.rockchip import SOCS

if TYPE_CHECKING:
    from ghost_deploy.api import Calibration


def add_calibration_options(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Declare the options of calibration.

    Args:
        required: whether `--calib` must be given.
    """
    group = parser.add_argument_group("int8")
    images = (
        "images like those the camera will see, no labels needed: folder, glob, text list, "
        "video or data.yaml"
    )
    options.add_value(group, "--calib", "IMAGES", images, nargs="+", required=required)
    count = "images to use at most (default: 300)"
    options.add_value(group, "--calib-count", "N", count, options.positive, default=300)
    options.add_value(
        group, "--calib-seed", "N", "of the choice (default: 0)", options.natural, default=0
    )
    targets = (
        "processors to make int8 files for: x86, x86-vnni, arm64 (default: the family of this "
        "machine; files for x86 are right with and without VNNI); of --rknn the system on a chip, "
        "in float too: " + ", ".join(SOCS)
    )
    options.add_value(
        group, "--for", "TARGET[,TARGET]", targets, _names, dest="devices", default=()
    )
    options.add_switches(
        group,
        {
            "--calib-diverse": "choose images that differ from each other, instead of at random",
            "--allow-small-calibration": "accept fewer than 64 images",
        },
    )
    options.add_data(
        group,
        "labelled images to judge on: data.yaml or COCO JSON (default: agreement with the float "
        "model on the calibration images)",
    )
    options.add_max_drop(
        group,
        "mAP50-95 that int8 may lose; layers are returned to float until that holds (default: "
        "0.5, without labels 3 of agreement, and none is returned)",
    )
    options.add_switches(
        group,
        {
            "--search": "try all variants of each int8 form and keep the fastest that is accurate "
            "enough: minutes instead of about one",
            "--no-repair": "do not correct biases, even where int8 loses much without",
            "--no-speed": "do not time int8 beside float on this machine",
        },
    )


def calibration_of(args: argparse.Namespace) -> Calibration | None:
    """What the options say; None without `--calib`."""
    if args.calib is None:
        return None
    from ghost_deploy.api import Calibration

    return Calibration(
        source=tuple(args.calib),
        count=args.calib_count,
        seed=args.calib_seed,
        diverse=args.calib_diverse,
        allow_small=args.allow_small_calibration,
        data=args.data,
        split=args.split,
        max_drop=args.max_drop,
        repair=not args.no_repair,
        workers=getattr(args, "threads", 0) or os.cpu_count() or 1,
        search=args.search,
        speed=not args.no_speed,
        devices=tuple(args.devices),
        on_broken=args.on_broken,
    )


def _names(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(text.split(","))

"""The model of `infer`: its options, and what was opened."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ghost_deploy.cli.console import Console
from ghost_deploy.core.errors import UsageError

if TYPE_CHECKING:
    from ghost_deploy.detector import Detector

_MOST_SHOWN = 8


def load_detector(args: argparse.Namespace, **options: Any) -> Detector:
    """Open what `args` of `infer` name; `options` are further ones of `api.load`."""
    from ghost_deploy import api
    from ghost_deploy.cli.options import slices_of
    from ghost_deploy.cli.server_options import server_of_options

    plain = [limit for name, limit in args.conf or () if name is None]
    model, url = server_of_options(args, args.bundle)
    return api.load(
        model,
        args.runtime,
        args.precision,
        url=url,
        device=args.device,
        threads=args.threads,
        allow_fallback=args.allow_fallback,
        allow_failed_parity=args.allow_failed_parity,
        check=not args.no_check,
        conf=plain[-1] if plain else None,
        iou=args.iou,
        max_det=args.max_det,
        agnostic=args.agnostic,
        **slices_of(args),
        **options,
    )


def classes_of(args: argparse.Namespace) -> list[str]:
    """What `--classes` names, each time that it was given; see `ClassFilter` for commas.

    Raises:
        UsageError: it was given and names nothing.
    """
    classes = [text for text in args.classes or () if text.strip(" ,")]
    if args.classes is not None and not classes:
        raise UsageError("--classes names no class", fix="Give names or numbers, e.g. 0,2")
    return classes


def conf_by_class(args: argparse.Namespace) -> dict[str, float]:
    """What `--conf CLASS=C` says, by class."""
    return {name: limit for name, limit in args.conf or () if name is not None}


def say_what_runs(detector: Detector, console: Console) -> None:
    """The model, its backend and device, and the notes of the backend."""
    info = detector.runtime.info
    threads = f", {info.threads} threads" if info.threads else ""
    precision = f"in {info.precision} " if info.precision else ""
    console.note(
        f"{detector.spec.name} {precision}on {info.runtime} {info.version}, {info.device}{threads}"
    )
    chosen = detector.spec.chosen
    if chosen is not None and detector.thresholds.class_conf:
        limits = zip(detector.spec.class_names, detector.thresholds.class_conf, strict=True)
        shown = [f"{name} {conf:.4g}" for name, conf in limits if conf < 1]
        more = ["..."] if len(shown) > _MOST_SHOWN else []
        console.note(
            f"thresholds by {chosen.metric} on {chosen.data}, {chosen.date[:10]}: "
            f"{', '.join([*shown[:_MOST_SHOWN], *more])}"
        )
    for note in info.notes:
        console.note(f"note: {note}")

"""`ghost-deploy inspect`: what a checkpoint or a bundle holds."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ghost_deploy.cli.console import Column, Console
from ghost_deploy.cli.format import by, mebibytes, plural
from ghost_deploy.cli.options import (
    add_fork,
    add_image_limits,
    add_images,
    add_json,
    add_modules,
    add_switches,
    add_trust,
)

if TYPE_CHECKING:
    from ghost_deploy.checkpoints.inspection_record import ClassUse, Inspection
    from ghost_deploy.core.bundle import Bundle
    from ghost_deploy.core.evidence.fork_report import ForkCode

DESCRIPTION = """\
Show what a checkpoint, a bundle or a network of the zoo holds. No code of a checkpoint is run, so
that an untrusted file can be inspected; with --fork it is, confined. Of a bundle, every file is
checked against its hash.
"""
EXAMPLES = """\
examples:
  ghost-deploy inspect best.pt
  ghost-deploy inspect best.pt --images images
  ghost-deploy inspect out/best --json | jq '.artifacts[].precision'
  ghost-deploy inspect zoo:yolov8n-ghost
  ghost-deploy inspect best.pt --skeleton best.skeleton.json
"""

_MOST_NAMES = 12
_WIDTH = len("exportable")
"""Of the names of facts: they come in two parts."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "file", metavar="FILE|zoo:NAME|BUNDLE", help="checkpoint, network of the zoo, or bundle"
    )
    add_images(
        parser, "of the kind that a checkpoint was trained on: does it compute what it did then?"
    )
    parser.add_argument(
        "--skeleton",
        metavar="FILE.json",
        help="write the module tree with attributes and shapes, without weights, paths and class "
        "names: for a request or a test",
    )
    add_switches(parser, {"--overwrite": "replace a skeleton that is there"})
    add_modules(parser)
    add_fork(parser)
    add_image_limits(parser)
    add_trust(parser)
    add_json(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Inspect and print."""
    from ghost_deploy import api
    from ghost_deploy.core.bundle import Bundle

    seen: list[Inspection] = []

    def on_read(read: Inspection) -> None:
        seen.append(read)
        if not args.json:
            _print_seen(read, console)

    found = api.inspect(
        args.file,
        args.images,
        modules=args.modules,
        skeleton=args.skeleton,
        fork=args.fork,
        fork_unconfined=args.fork_unconfined,
        on_broken=args.on_broken,
        overwrite=args.overwrite,
        on_read=on_read,
    )
    if args.json:
        console.document(found.document if isinstance(found, Bundle) else found)
    elif isinstance(found, Bundle):
        _print_bundle(found, console)
    else:
        _print_checkpoint(found, console, seen[0] if seen else None)
    return 0


def _print_seen(seen: Inspection, console: Console) -> None:
    """What the file says of itself, while its network is built."""
    console.facts(_shown(_said(seen)), width=_WIDTH)
    console.out.flush()


def _print_checkpoint(found: Inspection, console: Console, seen: Inspection | None) -> None:
    from ghost_deploy.cli.tables import print_statistics

    printed = set(_said(seen)) if seen else set()
    rows = [
        *(row for row in _said(found) if row not in printed),
        ("output", found.decoder),
        ("parameters", f"{found.parameters:,}" if found.parameters else ""),
        ("GFLOPs", f"{found.gflops:.2f}" if found.gflops else ""),
        *((f"training {topic}", text) for topic, text in found.training.items()),
        ("the fork's code", _fork(found.fork) if found.fork else ""),
        ("exportable", _targets() if found.exportable else "no" if found.fitted else "not known"),
    ]
    console.facts(_shown(rows), width=_WIDTH)
    if found.classes:
        console.result("")
        columns = (Column("module class in the file"), Column("count", right=True), Column("is"))
        console.table(
            columns,
            [[use.path, str(use.count), _definition(use, found)] for use in found.classes],
        )
    if found.statistics:
        console.result("")
        print_statistics(found.statistics, console)
    elif found.classes and (found.warnings or found.problems):
        console.result("")
    for warning in found.warnings:
        console.result(f"warning: {warning}")
    for problem in found.problems:
        console.result(f"problem: {problem}")
    for each in found.open_classes:
        console.result(f"\n{each.path}, {plural(each.count, 'time')}, first as {each.module}:")
        for line in each.parts:
            console.result(f"  {line}")
    if found.advice:
        console.result(f"\nnext: {found.advice}")


def _said(found: Inspection) -> list[tuple[str, str]]:
    """What a file says of itself."""
    return [
        ("file", f"{found.file} ({mebibytes(found.bytes)})" if found.bytes else found.file),
        ("sha256", found.sha256),
        ("family", f"{found.family}{f', scale {found.scale}' if found.scale else ''}"),
        ("classes", _names(found.class_names)),
        ("input", f"{by(found.size_hw)} pixels by default" if found.size_hw else ""),
        ("strides", ", ".join(map(str, found.strides))),
        ("trained", " on ".join(filter(None, (found.trained_with, found.trained_at[:10])))),
        ("metrics", ", ".join(f"{name} {value:.4g}" for name, value in found.metrics.items())),
    ]


def _shown(rows: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in rows if value]


def _print_bundle(bundle: Bundle, console: Console) -> None:
    from ghost_deploy.cli.tables import (
        print_accuracy,
        print_artifacts,
        print_fork,
        print_parity,
        print_statistics,
    )
    from ghost_deploy.core.bundle.trust import claimed_signers
    from ghost_deploy.export.integrations.failed_artifacts import failure_lines

    spec, source = bundle.spec, bundle.document.source
    rows = [
        ("bundle", str(bundle.path)),
        ("model", f"{spec.name} ({spec.family})"),
        ("classes", _names(spec.class_names)),
        ("input", _input(bundle)),
        ("output", spec.head.decoder),
        ("thresholds", _thresholds(bundle)),
        ("parameters", f"{spec.parameters:,}" if spec.parameters else ""),
        ("GFLOPs", f"{spec.gflops:.2f}" if spec.gflops else ""),
        ("source", f"{source.file} (sha256 {source.sha256[:12]})"),
        ("made with", bundle.document.created_with),
        ("trained", " on ".join(filter(None, (source.trained_with, source.trained_at[:10])))),
        ("files", "unchanged since they were written"),
        ("signed", "; ".join(map(str, bundle.signers or claimed_signers(bundle.path))) or "no"),
    ]
    console.facts([(name, value) for name, value in rows if value])
    console.result("")
    print_artifacts(bundle, bundle.artifacts, console)
    for line in failure_lines(bundle):
        console.result(f"failed: {line}")
    evidence = bundle.evidence
    if evidence.statistics:
        print_statistics(evidence.statistics, console)
    if evidence.parity:
        print_parity(evidence.parity, console)
    if evidence.parity and (evidence.fork or evidence.accuracy or evidence.boards):
        console.result("")
    if evidence.fork:
        print_fork(evidence.fork, console)
    if evidence.accuracy:
        print_accuracy(evidence.accuracy, console)
    for record in evidence.boards.boards if evidence.boards else ():
        kinds = record.kinds or "nothing ran there"
        console.result(f"board {record.board.name}: {record.board.sentence}; {kinds}")
    missing = [k for k in ("parity", "accuracy", "latency") if k not in evidence.documents]
    if missing:
        console.result(f"no evidence of: {', '.join(missing)}")


def _thresholds(bundle: Bundle) -> str:
    own, chosen = bundle.spec.thresholds, bundle.spec.chosen
    text = f"score {own.conf:g}, IoU {own.iou:g}, at most {own.max_det}"
    if chosen is None:
        return text
    return f"{text}; score by class, chosen by {chosen.metric} on {chosen.data}, {chosen.date[:10]}"


def _input(bundle: Bundle) -> str:
    spec = bundle.spec.input
    if not spec.dynamic:
        return f"{by(spec.size_hw)} pixels, batch {spec.batch[0]}"
    sizes = f"{by(spec.min_hw)} to {by(spec.max_hw)}"
    return f"{by(spec.size_hw)} pixels ({sizes}), batch {spec.batch[0]} to {spec.batch[1]}"


def _definition(use: ClassUse, found: Inspection) -> str:
    """What a class is; of many definitions that its name allows, the first and their number."""
    if not use.definition:
        return "unknown" if found.fitted else "not looked up"
    first, *others = use.definition.split(" or ")
    return f"{first} or {len(others)} others" if len(others) > 1 else use.definition


def _targets() -> str:
    from ghost_deploy.export.targets import TARGETS

    return "yes, as " + ", ".join(target.id for target in TARGETS)


def _fork(code: ForkCode) -> str:
    where = "confined" if code.confined else "NOT confined"
    absent = f"; not installed, not used: {', '.join(code.absent)}" if code.absent else ""
    versions = ", ".join(f"{name} {version}" for name, version in code.versions.items())
    return f"runs {code.class_path} from {code.folder}, {where} ({versions}){absent}"


def _names(class_names: tuple[str, ...]) -> str:
    if not class_names:
        return ""
    shown = ", ".join(class_names[:_MOST_NAMES])
    more = len(class_names) - _MOST_NAMES
    return f"{len(class_names)}: {shown}{f', and {more} more' if more > 0 else ''}"

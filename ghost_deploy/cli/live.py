"""`ghost-deploy infer` on cameras, streams and videos."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ghost_deploy.api.stream import select_classes
from ghost_deploy.cli.access_token import read_token
from ghost_deploy.cli.console import Console
from ghost_deploy.cli.live_options import make_policy, sink_targets
from ghost_deploy.cli.live_progress import LiveProgress
from ghost_deploy.cli.live_report import LiveReport
from ghost_deploy.cli.log_lines import log_of
from ghost_deploy.cli.model import classes_of, conf_by_class, load_detector, say_what_runs
from ghost_deploy.cli.save_options import budget_of, kept_frames, saved_forms
from ghost_deploy.cli.service_manager import ServiceManager
from ghost_deploy.cli.signals import SignalHandler
from ghost_deploy.core.install_command import install_command
from ghost_deploy.stream.descriptors import raise_descriptor_limit
from ghost_deploy.stream.malloc import use_single_arena
from ghost_deploy.stream.pipeline import Pipeline
from ghost_deploy.stream.saved.doubt import lowered_detector
from ghost_deploy.stream.sinks.context import SinkContext
from ghost_deploy.stream.sinks.sink_table import SINKS, open_sinks
from ghost_deploy.stream.sources.source_table import check_readable
from ghost_deploy.stream.sources.video_file import has_pyav

_MAX_BROKEN = 0.01

if TYPE_CHECKING:
    from ghost_deploy.stream.policy import LivePolicy
    from ghost_deploy.stream.sinks.sink import Sink
    from ghost_deploy.stream.source_stats import SourceStats
    from ghost_deploy.stream.sources.source_table import SourceAddress


class _Run(NamedTuple):
    args: argparse.Namespace
    sources: Sequence[SourceAddress]
    policy: LivePolicy
    token: str | None
    service: ServiceManager


def run_live(args: argparse.Namespace, sources: Sequence[SourceAddress], console: Console) -> int:
    """Run until all sources have ended, or until a signal: SIGINT, SIGTERM or SIGHUP.

    Returns:
        0 if all sources ended, 1 if more frames of a video were lost than `--max-broken` allows, 2
        if a source failed finally, an image cannot be read or a sink lost results, and 128 + the
        number of the signal that ended the run: 129 for SIGHUP, 130 for SIGINT, 143 for
        SIGTERM.
    """
    policy = make_policy(args)
    service = ServiceManager()
    token = read_token()
    console.log = log = log_of(args, console.err, token)
    check_readable(sources, policy)
    if any(source.kind == "video" for source in sources) and not has_pyav():
        console.note(
            "OpenCV reads the videos; PyAV gives exact times and counts of their frames: "
            + install_command("stream")
        )
    use_single_arena()
    raise_descriptor_limit()
    with SignalHandler() as signals, log.of_packages():
        try:
            code = _run(_Run(args, sources, policy, token, service), console, signals)
        except KeyboardInterrupt:
            if signals.caught is None:
                raise
            code = 0  # the model was being loaded, or a second signal came
    if signals.caught is None:
        return code
    console.note(f"stopped by {signals.caught.name}")
    return 128 + signals.caught


def _run(run: _Run, console: Console, signals: SignalHandler) -> int:
    """The exit code of a run that no signal ends."""
    args, sources, policy, token, service = run
    is_live = any(source.is_live for source in sources)
    # Files do not age: parallel runs are worth more than the latency of each.
    hint = "latency" if is_live else "throughput"
    targets, budget = sink_targets(args), budget_of(args)
    with load_detector(args, hint=hint) as loaded:
        detector, wanted = select_classes(loaded, classes_of(args), conf_by_class(args))
        say_what_runs(detector, console)
        limits = wanted.limits
        if args.save_uncertain:
            detector = lowered_detector(detector, limits)
        pipeline = Pipeline(detector, sources, policy, detection_filter=wanted)

        def stop() -> None:
            service.stopping()
            pipeline.stop()

        signals.stops(stop)
        context = SinkContext(
            pipeline,
            detector,
            most_bytes=args.keep,
            out=console.out,
            token=token,
            strict_health=args.strict_health,
            note=console.note,
            save=saved_forms(args),
            overwrite=args.overwrite,
            budget=budget,
            limits=limits,
        )
        sinks: Sequence[Sink] = open_sinks(targets, context)
        if args.track:
            from ghost_deploy.stream.sinks.tracking import TrackingSink

            sinks = [TrackingSink(sinks)]
        progress = None if pipeline.is_live else LiveProgress()
        report = LiveReport(console, pipeline.stats, context.deliveries, progress)

        def tick() -> None:
            report.tick()
            service.tick(pipeline.stats())

        try:
            pipeline.run([report, *sinks], tick)
        finally:
            report.tick()
            report.clear()
            service.stopping()
    if args.json:
        console.document(report.document())
    else:
        console.outcome(report.print, is_result=args.jsonl != "-")
    _name_outputs(targets, context, console)
    most = _MAX_BROKEN if args.max_broken is None else args.max_broken
    return _exit_code(pipeline.stats(), context, most)


def _name_outputs(targets: Mapping[str, str], context: SinkContext, console: Console) -> None:
    for kind in SINKS:
        if (kind.on_disk or kind.option == "save") and targets.get(kind.option, "-") != "-":
            count = context.kept.get(kind.option)
            number = f" ({kept_frames(count(), context.budget)})" if count else ""
            console.note(f"{kind.name}: {targets[kind.option]}{number}")


def _exit_code(sources: Sequence[SourceStats], context: SinkContext, max_broken: float) -> int:
    failed = any(each.state == "failed" or each.unreadable for each in sources)
    if failed or any(read().dropped for read in context.deliveries.values()):
        return 2
    return int(any(each.state == "ended" and each.lost_share > max_broken for each in sources))

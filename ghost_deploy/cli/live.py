"""`ghost-deploy infer` on cameras, streams and videos."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ghost_deploy.cli.console import Console
from ghost_deploy.cli.live_options import TOKEN_VARIABLE, make_policy
from ghost_deploy.cli.live_report import Deliveries, LiveReport
from ghost_deploy.cli.model import load_detector, make_wanted, say_what_runs
from ghost_deploy.cli.signals import Ending
from ghost_deploy.stream.malloc import share_heap
from ghost_deploy.stream.pipeline import Pipeline
from ghost_deploy.stream.sources.opening import check_readable

if TYPE_CHECKING:
    from ghost_deploy.detector import Detector
    from ghost_deploy.stream.policy import LivePolicy
    from ghost_deploy.stream.result import Sink
    from ghost_deploy.stream.sinks.record import Annotator
    from ghost_deploy.stream.sources.uri import Source

__all__ = ["run_live"]


def run_live(args: argparse.Namespace, sources: Sequence[Source], console: Console) -> int:
    """Run until all sources are over, or until SIGINT or SIGTERM.

    Returns:
        0 when every source came to its end, 2 when one failed for good or a sink lost results,
        and 128 + the number of the signal that ended the run: 130 for SIGINT, 143 for SIGTERM.
    """
    policy = make_policy(args)
    check_readable(sources, policy)
    share_heap()
    with Ending() as ending:
        try:
            code = _run(args, sources, policy, console, ending)
        except KeyboardInterrupt:
            if ending.caught is None:
                raise
            code = 0  # the model was being loaded, or a second signal came
    if ending.caught is None:
        return code
    console.note(f"stopped by {ending.caught.name}")
    return 128 + ending.caught


def _run(
    args: argparse.Namespace,
    sources: Sequence[Source],
    policy: LivePolicy,
    console: Console,
    ending: Ending,
) -> int:
    """The exit code of a run that no signal ends."""
    is_live = any(source.is_live for source in sources)
    # Files are in no hurry: runs side by side are worth more than the latency of each.
    hint = "latency" if is_live else "throughput"
    with load_detector(args, hint=hint) as loaded:
        detector, wanted = make_wanted(args, loaded)
        say_what_runs(detector, console)
        pipeline = Pipeline(detector, sources, policy, wanted=wanted)
        ending.stops(pipeline.stop)
        sinks, deliveries = _open_sinks(args, console, pipeline, detector)
        report = LiveReport(console, pipeline.stats, deliveries)
        try:
            pipeline.run([report, *sinks], report.tick)
        finally:
            report.tick()
            report.clear()
    report.print(console.err if args.jsonl == "-" else console.out)
    _say_where(args, console)
    failed = any(each.state == "failed" for each in pipeline.stats.snapshot())
    return 2 if failed or any(stats().dropped for stats in deliveries.values()) else 0


def _open_sinks(
    args: argparse.Namespace, console: Console, pipeline: Pipeline, detector: Detector
) -> tuple[list[Sink], Deliveries]:
    """The sinks that `args` name, and the counters of those that may lose something; if one
    cannot be opened, those before it are closed."""
    from ghost_deploy.stream.sinks.record import Annotator

    annotate = Annotator()  # one drawing for all sinks that need it
    deliveries: Deliveries = {}
    with contextlib.ExitStack() as stack:
        sinks: list[Sink] = []
        for opener in (
            _file_sinks(args, console, annotate, pipeline, deliveries),
            _network_sinks(args, deliveries),
            _views(args, console, annotate, pipeline, detector, deliveries),
        ):
            for sink in opener:
                sinks.append(sink)
                stack.callback(sink.close)
        stack.pop_all()
    if args.track:
        from ghost_deploy.stream.sinks.tracking import TrackingSink

        return [TrackingSink(sinks, rate_of=pipeline.rate_of)], deliveries
    return sinks, deliveries


def _file_sinks(
    args: argparse.Namespace,
    console: Console,
    annotate: Annotator,
    pipeline: Pipeline,
    deliveries: Deliveries,
) -> Iterator[Sink]:
    """Sinks that a full disk may stop, and one that hangs hold up."""
    from ghost_deploy.stream.sinks.retrying import GuardedSink
    from ghost_deploy.stream.sinks.threaded import ApartSink

    def guarded(name: str, sink: Sink) -> Sink:
        guard = ApartSink(GuardedSink(sink), patient=not pipeline.is_live)
        deliveries[name] = guard.stats
        return guard

    if args.jsonl:
        from ghost_deploy.stream.sinks.jsonl import JsonlSink

        target = console.out if args.jsonl == "-" else Path(args.jsonl)
        lines = JsonlSink(target, most_bytes=args.keep)
        yield lines if args.jsonl == "-" else guarded("lines", lines)
    if args.out:
        from ghost_deploy.stream.sinks.video import VideoSink

        folder, rate_of = Path(args.out), pipeline.rate_of
        videos = VideoSink(folder, annotate, rate_of=rate_of, most_bytes=args.keep)
        yield guarded("videos", videos)
    if args.snapshots:
        from ghost_deploy.stream.sinks.snapshots import SnapshotSink

        snapshots = SnapshotSink(Path(args.snapshots), annotate, most_bytes=args.keep)
        yield guarded("snapshots", snapshots)


def _network_sinks(args: argparse.Namespace, deliveries: Deliveries) -> Iterator[Sink]:
    if args.webhook:
        from ghost_deploy.stream.sinks.webhook import WebhookSink

        webhook = WebhookSink(args.webhook)
        deliveries["webhook"] = webhook.stats
        yield webhook
    if args.mqtt:
        from ghost_deploy.stream.sinks.mqtt import MqttSink

        mqtt = MqttSink(args.mqtt)
        deliveries["mqtt"] = mqtt.stats
        yield mqtt


def _views(
    args: argparse.Namespace,
    console: Console,
    annotate: Annotator,
    pipeline: Pipeline,
    detector: Detector,
    deliveries: Deliveries,
) -> Iterator[Sink]:
    if args.show:
        from ghost_deploy.stream.sinks.window import WindowSink

        yield WindowSink(annotate, pipeline.stop)
    if args.serve:
        from ghost_deploy.stream.web.server import WebView
        from ghost_deploy.stream.web.status import ModelCard

        token = os.environ.get(TOKEN_VARIABLE) or None
        view = WebView(args.serve, ModelCard.of(detector), token=token, deliveries=deliveries)
        view.watch(pipeline.stats)
        console.note(f"web view: {view.url}")
        yield view


def _say_where(args: argparse.Namespace, console: Console) -> None:
    places = {"videos": args.out, "snapshots": args.snapshots, "lines": args.jsonl}
    for what, place in places.items():
        if place and place != "-":
            console.note(f"{what}: {place}")

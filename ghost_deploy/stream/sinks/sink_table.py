"""The sinks that an option of `infer` opens, one row each.

To add a sink: a module with `open_sink(target, context) -> Sink`, where `target` is the value of
the option, and a row in `SINKS`. The module is imported only when the option is given.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from ghost_deploy.stream.sinks.context import SinkContext
    from ghost_deploy.stream.sinks.sink import Sink


class SinkModule(Protocol):
    """What the module of a sink has."""

    def open_sink(self, target: str, context: SinkContext) -> Sink:
        """Open the sink."""


@dataclass(frozen=True)
class SinkKind:
    """A sink that an option opens.

    Attributes:
        option: of `infer`.
        name: in counters and messages.
        module: a `SinkModule`.
        metavar: of the option's value; empty for a flag.
        help: of the option; empty if `infer` declares it, because it is for images too.
        extra: the pip extra that it needs; empty for none.
        on_disk: a full disk may stop it and a hanging one delay it: it is retried, in a thread of
            its own.
    """

    option: str
    name: str
    module: str
    metavar: str = ""
    help: str = ""
    extra: str = ""
    on_disk: bool = False

    def open(self, target: str, context: SinkContext) -> Sink:
        """Open the sink and add its counters to `context`."""
        from ghost_deploy.stream.sinks.retrying import RetryingSink
        from ghost_deploy.stream.sinks.sink import CountingSink
        from ghost_deploy.stream.sinks.threaded import ThreadedSink

        module = cast("SinkModule", importlib.import_module(f"ghost_deploy.stream.{self.module}"))
        sink = module.open_sink(target, context)
        if self.on_disk and target != "-":
            sink = ThreadedSink(RetryingSink(sink), patient=not context.pipeline.is_live)
        if isinstance(sink, CountingSink):
            context.deliveries[self.name] = sink.stats
        return sink


SINKS = (
    SinkKind("jsonl", "lines", "sinks.jsonl", on_disk=True),
    SinkKind("out", "videos", "sinks.annotated", extra="stream", on_disk=True),
    # Not retried: results with a hole would be taken for whole ones.
    SinkKind("save", "results", "sinks.saved_results"),
    SinkKind(
        "snapshots",
        "snapshots",
        "sinks.snapshots",
        "DIR",
        "write an image there when something is detected",
        on_disk=True,
    ),
    SinkKind("save_uncertain", "uncertain frames", "sinks.uncertain", on_disk=True),
    SinkKind("webhook", "webhook", "sinks.webhook", "URL", "POST results with detections, as JSON"),
    SinkKind(
        "mqtt",
        "mqtt",
        "sinks.mqtt",
        "URL",
        "publish results with detections, mqtt://host/topic",
        extra="stream",
    ),
    SinkKind("show", "window", "sinks.window"),
    # Last: it shows the counters of the others.
    SinkKind(
        "serve",
        "web view",
        "web.web_view",
        "HOST:PORT",
        "serve a web view and metrics; from other machines only with the token in "
        "$GHOST_DEPLOY_TOKEN or the file $GHOST_DEPLOY_TOKEN_FILE",
        extra="web",
    ),
)


def open_sinks(targets: Mapping[str, str], context: SinkContext) -> list[Sink]:
    """Open a sink for each option in `targets`; if one fails, those before it are closed.

    Args:
        targets: the value of each option that was given.
        context: the run.
    """
    with contextlib.ExitStack() as stack:
        sinks: list[Sink] = []
        for kind in SINKS:
            if kind.option in targets:
                sinks.append(kind.open(targets[kind.option], context))
                stack.callback(sinks[-1].close)
        stack.pop_all()
    return sinks

"""The state of a run in the text format of Prometheus, version 0.0.4."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import TypeVar, get_args

from ghost_deploy.stream.source_stats import Cause, State
from ghost_deploy.stream.web.latest_results import AGE_BUCKETS_S, SourceTotals
from ghost_deploy.stream.web.process_metrics import process_lines
from ghost_deploy.stream.web.status import RunStatus, SourceStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_Labels = Mapping[str, str]
_Sample = tuple[_Labels, float]
_T = TypeVar("_T")


def render_metrics(status: RunStatus, totals: Mapping[str, SourceTotals]) -> str:
    """All metrics; every name begins with `ghost_deploy_`, times are in seconds.

    The memory and CPU time of this process have the names of Prometheus' own clients, `process_*`.

    Args:
        status: of the run.
        totals: `LatestResults.totals()`, by source.
    """
    blocks = (_run(status), process_lines(), _frames(status.sources), _seen(totals), _sent(status))
    return "".join(line + "\n" for block in blocks for line in block)


def _run(status: RunStatus) -> Iterator[str]:
    model = status.model
    facts = {
        "model": model.name,
        "runtime": model.runtime,
        "runtime_version": model.version,
        "device": model.device,
        "precision": model.precision,
        "version": status.tool,
    }
    yield from _family("info", "gauge", "What runs; always 1.", [(facts, 1)])
    yield from _family("uptime_seconds", "gauge", "Since the start.", [({}, status.uptime_s)])


def _frames(sources: tuple[SourceStatus, ...]) -> Iterator[str]:
    named = [({"source": source.id}, source) for source in sources]
    yield from _family(
        "source_state",
        "gauge",
        "1 for the state that a source is in, else 0.",
        [({**n, "state": s}, s == x.state) for n, x in named for s in get_args(State)],
    )
    yield from _family(
        "source_stalled",
        "gauge",
        "Connected, but no frame decodes.",
        [(n, int(x.state == "stalled")) for n, x in named],
    )
    yield from _counter("frames_captured_total", "Received.", named, lambda x: x.captured)
    yield from _counter("frames_processed_total", "Inferred.", named, lambda x: x.processed)
    yield from _counter(
        "frames_missing_total", "Announced by a video and not there.", named, lambda x: x.missing
    )
    yield from _family(
        "frames_dropped_total",
        "counter",
        "Not inferred, by cause.",
        [({**n, "cause": c}, x.dropped.get(c, 0)) for n, x in named for c in get_args(Cause)],
    )
    yield from _counter("reconnects_total", "Lost and came back.", named, lambda x: x.reconnects)
    yield from _family(
        "last_frame_age_seconds",
        "gauge",
        "Since the last capture.",
        [(n, x.last_frame_age_ms / 1e3) for n, x in named if x.last_frame_age_ms is not None],
    )


def _seen(totals: Mapping[str, SourceTotals]) -> Iterator[str]:
    named = [({"source": source}, x) for source, x in totals.items()]
    yield from _family(
        "detections_total",
        "counter",
        "Detections summed over frames, by class.",
        [({**n, "class": c}, count) for n, x in named for c, count in sorted(x.detections.items())],
    )
    yield from _head("frame_age_seconds", "histogram", "From capture to result.")
    for name, x in named:
        below = list(accumulate(x.age_buckets))
        bounds = (*map(str, AGE_BUCKETS_S), "+Inf")
        for bound, count in zip(bounds, below, strict=True):
            yield _line("frame_age_seconds_bucket", {**name, "le": bound}, count)
        yield _line("frame_age_seconds_sum", name, x.age_sum_ms / 1e3)
        yield _line("frame_age_seconds_count", name, below[-1])
    yield from _head("stage_seconds", "summary", "Time in each stage.")
    for name, x in named:
        for stage, total_ms in x.stage_sums_ms.items():
            yield _line("stage_seconds_sum", {**name, "stage": stage}, total_ms / 1e3)
            yield _line("stage_seconds_count", {**name, "stage": stage}, sum(x.age_buckets))


def _sent(status: RunStatus) -> Iterator[str]:
    named = [({"sink": sink}, x) for sink, x in status.deliveries.items()]
    yield from _counter(
        "messages_sent_total", "Written, or accepted by the server.", named, lambda x: x.sent
    )
    yield from _counter("messages_dropped_total", "Lost.", named, lambda x: x.dropped)
    yield from _family(
        "messages_waiting", "gauge", "In the queue.", [(n, x.waiting) for n, x in named]
    )
    yield from _family("sink_stuck", "gauge", "It hangs.", [(n, int(x.stuck)) for n, x in named])


def _counter(
    name: str, text: str, named: Iterable[tuple[_Labels, _T]], value: Callable[[_T], float]
) -> Iterator[str]:
    return _family(name, "counter", text, [(labels, value(each)) for labels, each in named])


def _family(name: str, kind: str, text: str, samples: Iterable[_Sample]) -> Iterator[str]:
    yield from _head(name, kind, text)
    for labels, value in samples:
        yield _line(name, labels, value)


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP ghost_deploy_{name} {text}"
    yield f"# TYPE ghost_deploy_{name} {kind}"


def _line(name: str, labels: _Labels, value: float) -> str:
    inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    braces = f"{{{inside}}}" if inside else ""
    return f"ghost_deploy_{name}{braces} {float(value):.10g}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

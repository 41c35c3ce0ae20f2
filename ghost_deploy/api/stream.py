"""Detect objects in cameras, streams and videos, one result after another."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ghost_deploy.api.common import AnyPath
from ghost_deploy.api.load import load
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.class_names import Classes, class_ids

if TYPE_CHECKING:
    from ghost_deploy.detector import Detector
    from ghost_deploy.stream.class_filter import ClassFilter
    from ghost_deploy.stream.policy import LivePolicy
    from ghost_deploy.stream.result_stream import ResultStream


def stream(
    sources: AnyPath | int | Sequence[AnyPath | int],
    model: AnyPath | Bundle | Detector,
    *,
    track: bool = False,
    conf: float | None = None,
    iou: float | None = None,
    classes: Classes = (),
    class_conf: Mapping[str, float] | None = None,
    policy: LivePolicy | None = None,
) -> ResultStream:
    """Detect objects in live sources and videos, as the command `infer` does.

    All sources run side by side in threads of their own, from the first result that is asked for.
    Of a live source the newest frame is taken, and those that come while the caller is busy are
    dropped and counted; a lost source is opened again. A video is done frame by frame.

    Args:
        sources: a camera number, `rtsp://` or other address, a video, images, or several of them;
            docs/streams.md lists them all.
        model: a bundle or model file, opened as `load` does and closed at the end; or an open
            detector, which stays open and must not be used otherwise meanwhile.
        track: give each object an id that it keeps over frames, `Detections.track_id`.
        conf, iou: instead of those of the model, see `Thresholds`.
        classes: names or numbers of the classes to keep, before NMS, as in `Detector.detect`; all
            when empty.
        class_conf: least score, 0 to 1, of classes by name or number.
        policy: which frames are taken, and what is done with sources that are lost.

    Returns:
        An iterator of `Result`. Leaving the loop closes it, as do `close` and the end of a `with`
        block; `stats()` has the counters of each source.

    Raises:
        UsageError: there is no such source or class.
        SpecError: a threshold is out of range.
        GhostDeployError: the model cannot be opened, as `load`; while results are read, that it
            fails, and behind the last result, that a source failed or images cannot be read.
    """
    from ghost_deploy.detector import Detector
    from ghost_deploy.stream.pipeline import Pipeline
    from ghost_deploy.stream.policy import LivePolicy
    from ghost_deploy.stream.result_stream import ResultStream
    from ghost_deploy.stream.sources.source_table import check_readable
    from ghost_deploy.stream.sources.uri import parse_sources

    words = [sources] if isinstance(sources, str | os.PathLike | int) else sources
    found = parse_sources(map(str, words))
    check_readable(found, policy or LivePolicy())
    # Files do not age: parallel runs are worth more than the latency of each.
    live = any(source.is_live for source in found)
    with contextlib.ExitStack() as stack:
        if isinstance(model, Detector):
            opened = model
        else:
            opened = stack.enter_context(load(model, hint="latency" if live else "throughput"))
        limits = opened.thresholds.changed(conf=conf, iou=iou)
        if limits != opened.thresholds:
            opened = Detector(opened.runtime, opened.spec, limits, opened.slicing, opened.classes)
        detector, wanted = select_classes(opened, classes, class_conf or {})
        pipeline = Pipeline(detector, found, policy, detection_filter=wanted)
        return ResultStream(pipeline, stack.pop_all(), track=track)


def select_classes(
    detector: Detector, classes: Classes, class_conf: Mapping[str, float]
) -> tuple[Detector, ClassFilter]:
    """A filter of detections, and a detector that finds all that the filter keeps.

    Args:
        detector: shares its runtime with the one that is returned.
        classes, class_conf: as in `stream`.

    Raises:
        UsageError: the model has no such class.
    """
    from ghost_deploy.detector import Detector
    from ghost_deploy.stream.class_filter import ClassFilter

    spec, thresholds = detector.spec, detector.thresholds
    own = thresholds.class_conf or thresholds.conf
    wanted = ClassFilter(spec.class_names, own, classes, class_conf)
    kept = tuple(class_ids(classes, spec.class_names)) or detector.classes
    limits = thresholds
    if thresholds.class_conf:
        pairs = zip(thresholds.class_conf, wanted.limits, strict=True)
        limits = replace(thresholds, class_conf=tuple(map(min, pairs)))
    elif wanted.least < thresholds.conf:
        limits = thresholds.changed(conf=wanted.least)
    if limits != thresholds or kept != detector.classes:
        detector = Detector(detector.runtime, spec, limits, detector.slicing, kept)
    return detector, wanted

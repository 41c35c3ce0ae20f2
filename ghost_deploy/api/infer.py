"""Detect objects in images, videos and live streams."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from ghost_deploy.api.common import AnyPath
from ghost_deploy.api.load import load
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import ImageError
from ghost_deploy.core.frame import Frame

if TYPE_CHECKING:
    from ghost_deploy.detector import Detector
    from ghost_deploy.stream.class_filter import ClassFilter
    from ghost_deploy.stream.pipeline import Pipeline
    from ghost_deploy.stream.policy import LivePolicy
    from ghost_deploy.stream.result import Result

_POLL_S = 0.1


def infer(
    model: AnyPath | Bundle | Detector,
    sources: AnyPath | int | Sequence[AnyPath | int],
    *,
    classes: Sequence[str] = (),
    class_conf: Mapping[str, float] | None = None,
    policy: LivePolicy | None = None,
    on_error: Callable[[ImageError], None] | None = None,
) -> Iterator[tuple[Frame, Detections]]:
    """Detect objects, one frame after another.

    Images are read when they are asked for. Of a live source the newest frame is taken, and those
    that come while the caller is busy are dropped; a video is done frame by frame.

    Args:
        model: a bundle or model file, opened as `load` does and closed at the end; or an open
            detector, which stays open.
        sources: an image, folder, glob, video, camera number, `rtsp://` or other address, or
            several; docs/streams.md lists them all.
        classes: names or numbers of the classes to keep; all when empty.
        class_conf: least score, 0 to 1, of classes by name or number, instead of the model's.
        policy: which frames of videos and live sources are taken; not for images.
        on_error: called with each image that cannot be read, which is left out; it is raised when
            None.

    Returns:
        Each frame, with its detections in pixels of the frame.

    Raises:
        UsageError: there is no such source or class.
        ImageError: a source names no image, or an image cannot be read.
        GhostDeployError: the model cannot be opened or fails, as `load`.
    """
    from ghost_deploy.detector import Detector
    from ghost_deploy.stream.sources.image_files import find_images, read_frames
    from ghost_deploy.stream.sources.uri import parse_sources

    words = [sources] if isinstance(sources, str | os.PathLike | int) else sources
    found = parse_sources(map(str, words))
    are_images = all(source.kind == "images" for source in found)
    paths = find_images([source.target for source in found]) if are_images else []
    with contextlib.ExitStack() as stack:
        opened = model if isinstance(model, Detector) else stack.enter_context(load(model))
        detector, wanted = select_classes(opened, classes, class_conf or {})
        results: Iterator[tuple[Frame, Detections]]
        if are_images:
            frames = read_frames(paths, lambda _, error: _report(error, on_error))
            results = ((frame, wanted(detector(frame))) for frame in frames)
        else:
            from ghost_deploy.stream.pipeline import Pipeline

            results = _live(Pipeline(detector, found, policy, detection_filter=wanted))
        return _until_end(results, stack.pop_all())


def select_classes(
    detector: Detector, classes: Sequence[str], class_conf: Mapping[str, float]
) -> tuple[Detector, ClassFilter]:
    """A filter of detections, and a detector that finds all that the filter keeps.

    Args:
        detector: shares its runtime with the one that is returned.
        classes, class_conf: as in `infer`.

    Raises:
        UsageError: the model has no such class.
    """
    from ghost_deploy.detector import Detector
    from ghost_deploy.stream.class_filter import ClassFilter

    spec, thresholds = detector.spec, detector.thresholds
    wanted = ClassFilter(spec.class_names, thresholds.conf, classes, class_conf)
    if wanted.least < thresholds.conf:
        lower = msgspec.structs.replace(thresholds, conf=wanted.least)
        detector = Detector(detector.runtime, spec, lower, detector.slicing)
    return detector, wanted


def _report(error: ImageError, on_error: Callable[[ImageError], None] | None) -> None:
    if on_error is None:
        raise error
    on_error(error)


def _until_end(
    results: Iterator[tuple[Frame, Detections]], stack: contextlib.ExitStack
) -> Iterator[tuple[Frame, Detections]]:
    """`results`, with `stack` closed behind the last one."""
    with stack:
        yield from results


def _live(pipeline: Pipeline) -> Iterator[tuple[Frame, Detections]]:
    """What a pipeline, which is run in a thread, finds; leaving the loop ends it."""
    sink = _QueueSink()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            pipeline.run([sink])
        except BaseException as error:  # raised in the caller's thread
            failures.append(error)
        finally:
            sink.put(None)

    thread = threading.Thread(target=run, name="infer", daemon=True)
    thread.start()
    try:
        while (result := sink.queue.get()) is not None:
            yield result.frame, result.detections
    finally:
        sink.left.set()
        pipeline.stop()
        thread.join()
    if failures:
        raise failures[0]


class _QueueSink:
    """Holds one result until it is taken, or until the consumer has left."""

    def __init__(self) -> None:
        self.queue: queue.Queue[Result | None] = queue.Queue(1)
        self.left = threading.Event()

    def put(self, result: Result | None) -> None:
        while not self.left.is_set():
            with contextlib.suppress(queue.Full):
                self.queue.put(result, timeout=_POLL_S)
                return

    def write(self, result: Result) -> None:
        self.put(result)

    def close(self) -> None:
        """Nothing is held."""

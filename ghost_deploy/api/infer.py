"""Detect objects in images, videos and live streams."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ghost_deploy.api.common import AnyPath
from ghost_deploy.api.load import load
from ghost_deploy.api.stream import select_classes, stream
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.class_names import Classes
from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import ImageError
from ghost_deploy.core.frame import Frame

if TYPE_CHECKING:
    from ghost_deploy.detector import Detector
    from ghost_deploy.stream.policy import LivePolicy
    from ghost_deploy.stream.result_stream import ResultStream


def infer(
    model: AnyPath | Bundle | Detector,
    sources: AnyPath | int | Sequence[AnyPath | int],
    *,
    classes: Classes = (),
    class_conf: Mapping[str, float] | None = None,
    policy: LivePolicy | None = None,
    on_error: Callable[[ImageError], None] | None = None,
) -> Iterator[tuple[Frame, Detections]]:
    """Detect objects, one frame after another.

    Images are read when they are asked for. Of a live source the newest frame is taken, and those
    that come while the caller is busy are dropped; a video is done frame by frame. `stream` gives
    more of live sources and videos: track ids, ages, counters.

    Args:
        model: a bundle or model file, opened as `load` does and closed at the end; or an open
            detector, which stays open.
        sources: an image, folder, glob, video, camera number, `rtsp://` or other address, or
            several; docs/streams.md lists them all.
        classes: names or numbers of the classes to keep, before NMS, as in `Detector.detect`; all
            when empty.
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
    from ghost_deploy.stream.sources.image_files import find_images
    from ghost_deploy.stream.sources.uri import parse_sources

    words = [sources] if isinstance(sources, str | os.PathLike | int) else sources
    found = parse_sources(map(str, words))
    are_images = all(source.kind == "images" for source in found)
    paths = find_images([source.target for source in found]) if are_images else []
    if not are_images:
        return _pairs(stream(sources, model, classes=classes, class_conf=class_conf, policy=policy))
    return infer_images(model, paths, classes=classes, class_conf=class_conf, on_error=on_error)


def infer_images(
    model: AnyPath | Bundle | Detector,
    paths: Sequence[Path],
    *,
    classes: Classes = (),
    class_conf: Mapping[str, float] | None = None,
    on_error: Callable[[ImageError], None] | None = None,
) -> Iterator[tuple[Frame, Detections]]:
    """`infer` of image files, of an animation the first image.

    Args:
        model, classes, class_conf, on_error: as for `infer`.
        paths: of the files, which are images whatever their names and their content say.
    """
    from ghost_deploy.detector import Detector
    from ghost_deploy.stream.sources.image_files import read_frames

    with contextlib.ExitStack() as stack:
        opened = model if isinstance(model, Detector) else stack.enter_context(load(model))
        detector, wanted = select_classes(opened, classes, class_conf or {})
        frames = read_frames(paths, lambda _, error: _report(error, on_error))
        results = ((frame, wanted(detector(frame))) for frame in frames)
        return _until_end(results, stack.pop_all())


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


def _pairs(results: ResultStream) -> Iterator[tuple[Frame, Detections]]:
    with results:
        for result in results:
            yield result.frame, result.detections

"""The option `-o` of a run that is not of images only: videos, and the images among them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sinks import video
from ghost_deploy.stream.sinks.context import SinkContext
from ghost_deploy.stream.sinks.image_writer import ImageWriter
from ghost_deploy.stream.sinks.sink import Annotate, Sink


def open_sink(target: str, context: SinkContext) -> Sink:
    """See `SinkModule`; the target is a folder."""
    videos = video.open_sink(target, context)
    if not context.pipeline.has_images:
        return videos
    return AnnotatedSink(
        videos,
        ImageWriter(Path(target), overwrite=context.overwrite),
        context.annotate,
        lambda source: context.pipeline.address_of(source).kind == "images",
    )


class AnnotatedSink(Sink):
    """Writes each image of a source of images as an image, and other sources as videos.

    Args:
        videos: gets the results of other sources.
        images: writes the images.
        annotate: returns the annotated image.
        is_images: whether the source of that id is of images.
    """

    def __init__(
        self,
        videos: Sink,
        images: ImageWriter,
        annotate: Annotate,
        is_images: Callable[[str], bool],
    ) -> None:
        self._videos = videos
        self._images = images
        self._annotate = annotate
        self._is_images = is_images

    @property
    def held(self) -> int:
        """As of the videos."""
        return self._videos.held

    @property
    def lost(self) -> int:
        """As of the videos."""
        return self._videos.lost

    def write(self, result: Result) -> None:
        """Write one result.

        Raises:
            InputError: the system refuses it.
            UsageError: an image would replace its source.
        """
        if self._is_images(result.source):
            self._images.write(result.frame, self._annotate(result))
        else:
            self._videos.write(result)

    def close(self) -> None:
        """End the videos."""
        self._videos.close()

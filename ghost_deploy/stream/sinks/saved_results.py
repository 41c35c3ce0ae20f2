"""The option `--save` of a run on videos and images: results in forms that other tools read."""

from __future__ import annotations

from ghost_deploy.core.errors import UsageError
from ghost_deploy.stream.result import Result
from ghost_deploy.stream.saved.result_writer import ResultWriter
from ghost_deploy.stream.sinks.context import SinkContext
from ghost_deploy.stream.sinks.sink import Sink


def open_sink(target: str, context: SinkContext) -> Sink:
    """See `SinkModule`; the target is a folder.

    Raises:
        UsageError: a source is live: it has no end at which the results would be complete.
    """
    if context.pipeline.is_live:
        raise UsageError(
            "--save is for images and videos: the results of a camera have no end",
            got=f"--save {','.join(context.save)} and a live source",
            fix="Use --jsonl for all detections, --snapshots for images, or --save-uncertain for "
            "frames to label",
        )
    names = context.detector.spec.class_names
    return SavedSink(ResultWriter(target, context.save, names, overwrite=context.overwrite))


class SavedSink(Sink):
    """Passes results to a writer; a failure ends the run: its files would not be complete.

    Args:
        writer: closed at the end.
    """

    def __init__(self, writer: ResultWriter) -> None:
        self._writer = writer

    def write(self, result: Result) -> None:
        """Write the files of one result.

        Raises:
            InputError: the system refuses.
        """
        self._writer.write(result.frame, result.detections)

    def close(self) -> None:
        """Write what belongs to all images."""
        self._writer.close()

"""The option `--save-uncertain` of a live run: frames that the model is least sure of."""

from __future__ import annotations

from pathlib import Path

from ghost_deploy.stream.result import Result
from ghost_deploy.stream.saved.uncertain_frames import UncertainWriter
from ghost_deploy.stream.sinks.context import SinkContext
from ghost_deploy.stream.sinks.retention import FileStore
from ghost_deploy.stream.sinks.sink import Sink


def open_sink(target: str, context: SinkContext) -> Sink:
    """See `SinkModule`; the target is a folder."""
    writer = UncertainWriter(context.detector, target, context.budget, context.limits)
    context.kept["save_uncertain"] = lambda: len(writer)
    return UncertainSink(writer, FileStore(Path(target), ".jpg"))


class UncertainSink(Sink):
    """Passes results, with what is below the thresholds, to a writer.

    Args:
        writer: of the frames.
        store: of the folder, whose disk must have space.
    """

    def __init__(self, writer: UncertainWriter, store: FileStore) -> None:
        self._writer = writer
        self._store = store

    def write(self, result: Result) -> None:
        """Look at one result.

        Raises:
            InputError: the system refuses, or the disk is nearly full.
        """
        self._store.check_free()
        found = result.detections if result.unfiltered is None else result.unfiltered
        self._writer.write(result.frame, found)

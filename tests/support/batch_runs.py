"""Runs over an archive with a model that needs no backend, and what they have written."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ghost_deploy.batch.drive import BatchRequest, drive
from ghost_deploy.batch.row_detector import OpenedModel
from ghost_deploy.batch.run_manifest import RunIdentity, RunManifest
from ghost_deploy.batch.run_record import BatchReport
from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import UnavailableError
from ghost_deploy.core.thresholds import Thresholds
from ghost_deploy.detector import Detector
from ghost_deploy.runtimes.fake import FakeRuntime
from tests.support.model_specs import make_spec

SPEC = make_spec((64, 64))
FOUND = Detections([[8, 8, 40, 24], [30, 30, 60, 60]], [0.9, 0.6], [0, 2])


@dataclass(frozen=True)
class PretendModel:
    """Finds two things in every image.

    Attributes:
        sha256: what it says it is.
        deadly: the process ends by SIGKILL when the model runs on an image of this grey value.
        fails: the model fails on an image of this grey value.
        seconds: that each image takes.
        opens: or the error that opening it raises; "kill" ends the process.
    """

    sha256: str = "a" * 64
    deadly: int = -1
    fails: int = -1
    seconds: float = 0.0
    opens: str = ""

    def open(self) -> OpenedModel:
        """As `ModelOpener.open`."""
        if self.opens == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.opens:
            raise UnavailableError(self.opens, fix="Install it")
        runtime = FakeRuntime.for_spec(SPEC, FOUND)
        canned = runtime._function

        def run(feeds: Any) -> Any:
            middle = round(float(feeds["images"][0, 0, 32, 32]) * 255)
            if middle == self.deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            if middle == self.fails:
                raise RuntimeError("the model fails here")
            time.sleep(self.seconds)
            return canned(feeds)

        runtime._function = run
        return OpenedModel(Detector(runtime, SPEC), lambda found: found, self.sha256)


def manifest_of(model: PretendModel, **identity: Any) -> RunManifest:
    """The manifest of a run with that model."""
    return RunManifest(
        identity=RunIdentity(model=model.sha256, thresholds=Thresholds(), **identity),
        name="pretended",
        artifact="fake",
        class_names=SPEC.class_names,
        part_rows=0,
    )


def run_pretended(
    inputs: Sequence[Path | str],
    out: Path | str,
    model: PretendModel | None = None,
    *,
    note: Callable[[str], None] = lambda _: None,
    identity: dict[str, Any] | None = None,
    **request: Any,
) -> BatchReport:
    """A run with worker processes and a pretended model."""
    model = model or PretendModel()
    asked = BatchRequest(tuple(map(str, inputs)), str(out), **{"workers": 1, **request})
    manifest = manifest_of(model, **(identity or {}))
    return drive(asked, model, manifest, lambda _: None, note)


def rows_in(out: Path | str) -> list[dict[str, Any]]:
    """All rows of an output folder, by source and frame."""
    from pyarrow import parquet

    found = [row for part in sorted(Path(out).glob("*.parquet"))
             for row in parquet.read_table(part).to_pylist()]  # fmt: skip
    return sorted(found, key=lambda row: (row["source"], row["frame"]))


def keys_twice(rows: Sequence[dict[str, Any]]) -> list[tuple[str, int]]:
    """The keys that more than one row has."""
    counts = Counter((row["source"], row["frame"]) for row in rows)
    return [key for key, count in counts.items() if count > 1]

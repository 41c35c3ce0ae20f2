"""Parity without torch: an artifact against the pictures and outputs that its bundle carries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.bundle import Artifact, Bundle
from ghost_deploy.core.errors import BackendError
from ghost_deploy.core.evidence.parity import Gate, ParityRow
from ghost_deploy.detector import Detector
from ghost_deploy.judge.candidates import Candidate
from ghost_deploy.judge.parity.candidate_run import Run
from ghost_deploy.judge.parity.inputs import Picture
from ghost_deploy.judge.parity.stages import Truth, lowered
from ghost_deploy.judge.parity.stored_reference import (
    StoredPicture,
    StoredReference,
    digest,
    read_stored,
)
from ghost_deploy.runtimes import RuntimeOptions, TensorSpec
from ghost_deploy.runtimes.fake import FakeRuntime

__all__ = ["self_check", "with_row"]


def self_check(
    bundle: Bundle, artifact: Artifact, runtime: str, options: RuntimeOptions
) -> ParityRow | None:
    """Compare one artifact with the bundle's stored reference, under the gate of its precision.

    Args:
        bundle: with a stored reference.
        artifact: one of its artifacts.
        runtime: what opens it, a name of the runtimes table.
        options: device and threads.

    Returns:
        The row of a parity report; None when the bundle carries no reference.

    Raises:
        BundleError: the reference or the artifact is not the file that was written.
        UnavailableError: this machine cannot run the artifact.
    """
    stored = read_stored(bundle)
    if stored is None:
        return None
    candidate = Candidate(artifact, runtime, artifact.precision, named=True)
    pictures = [_picture(each) for each in stored.pictures]
    gate = _coarse_gate(bundle, artifact.precision)
    with _replay(stored) as reference, Run(bundle, candidate, options, gate) as run:
        strange = []
        for picture in pictures:
            truth = Truth.of(reference, picture.read(), picture.size_hw)
            if digest(truth.walk.tensor[-1:]) != picture.digest():
                strange.append(picture.name)
            run.compare(picture.name, truth)
        row = run.row(reference, pictures, (), None)
    note = f"self-check against {len(pictures)} pictures stored in the bundle"
    row = msgspec.structs.replace(row, notes=(*row.notes, note))
    if strange:
        reason = f"the preprocessing of this machine makes another tensor of {', '.join(strange)}"
        row = msgspec.structs.replace(row, status="failed", reasons=(reason, *row.reasons))
    return row


def with_row(bundle: Bundle, row: ParityRow) -> Bundle:
    """The bundle with `row` in its parity evidence, in the place of older ones of its artifact.

    The bundle must have parity evidence; it is not saved.
    """
    report = bundle.evidence.parity
    assert report is not None  # every export is proved
    others = [old for old in report.rows if old.artifact != row.artifact]
    report = msgspec.structs.replace(report, rows=(*others, row))
    return bundle.with_evidence(report)


def _replay(stored: StoredReference) -> Detector:
    """A detector that answers the stored pictures with the stored outputs, and nothing else."""
    spec = stored.spec
    answers: dict[str, NDArray[np.float32]] = {}

    def answer(feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        tensor = feeds[spec.input.name]
        output = answers.get(digest(tensor[-1:]))
        if output is None:
            raise BackendError(
                "the stored reference knows the answer to its own pictures only",
                fix="Compare on the workstation: ghost-deploy parity CHECKPOINT BUNDLE",
            )
        return {spec.head.output: np.repeat(output, len(tensor), axis=0)}

    runtime = FakeRuntime(
        inputs=[TensorSpec(spec.input.name, spec.input.graph_shape(), spec.input.dtype)],
        outputs=[TensorSpec(spec.head.output, (-1, -1, -1), "float32")],
        function=answer,
    )
    detector = Detector(runtime, spec, lowered(spec.thresholds))
    for picture in stored.pictures:
        answers[digest(_tensor(detector, picture))] = picture.output
    return detector


def _tensor(detector: Detector, picture: StoredPicture) -> NDArray[Any]:
    count = detector.spec.input.batch[0]
    size_hw = (picture.image.shape[0], picture.image.shape[1])
    feeds, _ = detector.preprocess([picture.image] * count, size_hw)
    return next(iter(feeds.values()))[-1:]


def _picture(stored: StoredPicture) -> Picture:
    return Picture(
        name=stored.name,
        read=lambda: stored.image,
        digest=lambda: stored.tensor_sha256,
        size_hw=(stored.image.shape[0], stored.image.shape[1]),
    )


def _coarse_gate(bundle: Bundle, precision: str) -> Gate | None:
    """The wider bars that the export gave this network, where float32 is too coarse for it."""
    report = bundle.evidence.parity
    rows = report.rows if report else ()
    fitting = (row.gate for row in rows if row.coarse and row.precision == precision)
    return next(fitting, None)

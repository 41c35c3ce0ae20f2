"""Parity without torch: an artifact against the images and outputs that its bundle carries."""

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
from ghost_deploy.judge.bench.read_machine import read_machine
from ghost_deploy.judge.parity.candidate_run import ParityRun
from ghost_deploy.judge.parity.gate import INT8_OTHER, INT8_REPEAT, gate_for
from ghost_deploy.judge.parity.inputs import InputImage
from ghost_deploy.judge.parity.stages import ReferenceResult, lowered
from ghost_deploy.judge.parity.stored_reference import (
    StoredImage,
    StoredReference,
    digest,
    read_stored,
)
from ghost_deploy.runtimes.base import RuntimeOptions, TensorSpec
from ghost_deploy.runtimes.dot_product import fuses_multiply_add
from ghost_deploy.runtimes.fake import FakeRuntime
from ghost_deploy.runtimes.run_plan import PlannedRun
from ghost_deploy.runtimes.table import probe, runtime_row


def self_check(
    bundle: Bundle,
    artifact: Artifact,
    runtime: str,
    options: RuntimeOptions,
    *,
    precision: str | None = None,
) -> ParityRow | None:
    """Compare one artifact with the outputs that the bundle carries.

    A float artifact is compared with those of the reference, under the gate of its precision. An
    int8 artifact is compared with its own, or an engine with those of the artifact that it was
    built from: int8 must repeat itself up to the rounding of its arithmetic. Without such outputs
    it is compared with the reference without limits, so that only an unusable output fails.

    Args:
        bundle: with a stored reference.
        artifact: one of its artifacts.
        runtime: name in the runtimes table of what opens it.
        options: device and threads.
        precision: of the run; default: the artifact's own.

    Returns:
        The row of a parity report; None when the bundle carries nothing to compare with.

    Raises:
        BundleError: a file of the reference or of the artifact is missing or was changed.
        UnavailableError: this machine cannot run the artifact.
    """
    precision = precision or artifact.precision
    stored, gate = read_stored(bundle), _coarse_gate(bundle, precision)
    if stored is None:
        return None
    if precision == "int8":
        stored, gate = _int8_reference(bundle, artifact, runtime, stored)
    plan = PlannedRun(artifact, runtime_row(runtime), precision, named=True)
    images = [_image(each) for each in stored.images]
    strange = []
    with _replay(stored) as reference, ParityRun(bundle, plan, options, gate) as run:
        for image in images:
            expected = ReferenceResult.of(reference, image.read(), image.size_hw)
            if digest(expected.stages.tensor[-1:]) != image.digest():
                strange.append(image.name)
            run.compare(image.name, expected)
        row = run.row(reference, images, (), None)
    note = f"self-check against {len(images)} images stored in the bundle"
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


def _int8_reference(
    bundle: Bundle, artifact: Artifact, runtime: str, stored: StoredReference
) -> tuple[StoredReference, Gate]:
    """Stored outputs of the artifact or of its parent, and how near they must be reached."""
    note = bundle.evidence.reference
    for sha256 in (artifact.files[artifact.path], artifact.parent):
        found = stored.of_int8(sha256)
        source = note.int8.get(sha256) if note else None
        if found is None or source is None:
            continue
        made_by = source.runtime, source.version
        same = source.native and made_by == (runtime, probe(runtime).version)
        if not runtime_row(runtime).int8_repeats:
            same = same and source.processor == read_machine().cpu_key
        return found, INT8_REPEAT if same and fuses_multiply_add() else INT8_OTHER
    return stored, gate_for("int8")


def is_judged(row: ParityRow | None) -> bool:
    """Whether a self-check compared with limits, or failed without any."""
    return row is not None and (row.status == "failed" or row.gate.judged_by == "parity")


def _replay(stored: StoredReference) -> Detector:
    """A detector that returns the stored outputs for the stored images, and fails for others."""
    spec = stored.spec
    answers: dict[str, NDArray[np.float32]] = {}

    def answer(feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        tensor = feeds[spec.input.name]
        output = answers.get(digest(tensor[-1:]))
        if output is None:
            raise BackendError(
                "the stored reference has outputs for its own images only",
                fix="Compare on the workstation: ghost-deploy parity CHECKPOINT BUNDLE",
            )
        return {spec.head.output: np.repeat(output, len(tensor), axis=0)}

    runtime = FakeRuntime(
        inputs=[TensorSpec(spec.input.name, spec.input.graph_shape(), spec.input.dtype)],
        outputs=[TensorSpec(spec.head.output, (-1, -1, -1), "float32")],
        function=answer,
    )
    detector = Detector(runtime, spec, lowered(spec.thresholds))
    for image in stored.images:
        answers[digest(_tensor(detector, image))] = image.output
    return detector


def _tensor(detector: Detector, image: StoredImage) -> NDArray[Any]:
    count = detector.spec.input.batch[0]
    size_hw = (image.pixels.shape[0], image.pixels.shape[1])
    feeds, _ = detector.preprocess([image.pixels] * count, size_hw)
    return next(iter(feeds.values()))[-1:]


def _image(stored: StoredImage) -> InputImage:
    return InputImage(
        name=stored.name,
        read=lambda: stored.pixels,
        digest=lambda: stored.tensor_sha256,
        size_hw=(stored.pixels.shape[0], stored.pixels.shape[1]),
    )


def _coarse_gate(bundle: Bundle, precision: str) -> Gate | None:
    """The wider limits that the export gave this network, where float32 is too coarse for it."""
    report = bundle.evidence.parity
    rows = report.rows if report else ()
    fitting = (row.gate for row in rows if row.coarse and row.precision == precision)
    return next(fitting, None)

"""The last steps of calibration, which need all artifacts in one place: times and the verdict."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec

from ghost_deploy._version import __version__
from ghost_deploy.calib.images.collection import CalibrationSet
from ghost_deploy.calib.search.accuracy_judge import Progress, image_files
from ghost_deploy.calib.search.advice import verdict
from ghost_deploy.calib.search.search import Request, add_int8
from ghost_deploy.calib.search.speed import speed_rows
from ghost_deploy.core.bundle import Bundle, BundleWriter, Source
from ghost_deploy.core.evidence.int8 import Int8Report
from ghost_deploy.core.evidence.kinds import Evidence
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.judge.bench.machine import read_machine
from ghost_deploy.judge.datasets.dataset import DataSet

__all__ = ["make_int8"]

_TIMED_ON = 16
"""Pictures that times are taken on."""


def make_int8(
    writer: BundleWriter,
    onnx_file: Path,
    spec: ModelSpec,
    origin: Source,
    calibration: CalibrationSet,
    request: Request,
    *,
    data: DataSet | None = None,
    speed: bool = True,
    evidence: Evidence | None = None,
    progress: Progress | None = None,
) -> tuple[Int8Report, Bundle]:
    """Make, judge and time the int8 artifacts in a writer's folder.

    Args:
        writer: of the bundle; its float artifacts are recorded already.
        onnx_file: the fp32 ONNX file.
        spec, origin: of the bundle.
        calibration, request, data, progress: as in `add_int8`.
        speed: time all artifacts that run here.
        evidence: of the bundle so far.

    Returns:
        The report, and the draft with the report among its evidence, not yet saved.

    Raises:
        As `add_int8`.
    """
    report = add_int8(writer, onnx_file, spec, calibration, request, data=data, progress=progress)
    draft = writer.draft(spec, origin, f"ghost-deploy {__version__}", evidence)
    if speed:
        with tempfile.TemporaryDirectory(dir=writer.folder) as scratch:
            pictures = image_files(calibration.subset(_TIMED_ON), Path(scratch))
            rows = speed_rows(draft, pictures, request.options, progress)
        report = msgspec.structs.replace(report, speed=rows, machine=read_machine().cpu)
    report = msgspec.structs.replace(report, verdict=verdict(report))
    return report, draft.with_evidence(report)

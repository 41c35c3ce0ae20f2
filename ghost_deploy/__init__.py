"""Edge deployment for Ghost-YOLO detectors.

    import ghost_deploy as gd

    bundle = gd.export("best.pt", "out", images="images")
    detector = gd.load(bundle)
    detections = detector("image.jpg")

Every command of `ghost-deploy` is a function here, of the same name.

Names are imported on first use: `import ghost_deploy` loads no vendor package.

Libraries that send usage data when they are imported (ONNX Runtime, OpenVINO) do not in a process
that imports ghost_deploy first; see `ghost_deploy.core.telemetry`.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ghost_deploy._version import __version__
from ghost_deploy.core.openmp import wait_briefly
from ghost_deploy.core.telemetry import switch_off

if TYPE_CHECKING:
    from ghost_deploy.api import (
        Calibration,
        DemoResult,
        DemoSize,
        DoctorReport,
        bench,
        build,
        calibrate,
        check,
        compare,
        demo,
        doctor,
        export,
        infer,
        inspect,
        load,
        parity,
        report,
        run_batch,
        sign,
        stream,
        validate,
    )
    from ghost_deploy.api.batch_detector import BatchDetector
    from ghost_deploy.batch.run_progress import BatchProgress
    from ghost_deploy.batch.run_record import BatchReport
    from ghost_deploy.checkpoints.inspection_record import Inspection
    from ghost_deploy.core.bundle import Artifact, Bundle
    from ghost_deploy.core.detections import Detection, Detections
    from ghost_deploy.core.errors import (
        AmbiguousClassError,
        BackendError,
        BoardError,
        BundleError,
        CheckpointError,
        CorruptCheckpointError,
        DeviceError,
        ExportError,
        GhostDeployError,
        ImageError,
        ImageTooLargeError,
        InputError,
        LineError,
        MissingExtraError,
        ShapeError,
        SignatureError,
        SpecError,
        StoreError,
        StructureError,
        UnavailableError,
        UnknownClassError,
        UnsafeCheckpointError,
        UsageError,
    )
    from ghost_deploy.core.evidence.accuracy import AccuracyReport
    from ghost_deploy.core.evidence.boards import BoardsReport
    from ghost_deploy.core.evidence.build import BuildRecords, DlaReport
    from ghost_deploy.core.evidence.check import CheckReport
    from ghost_deploy.core.evidence.comparison import CompareReport
    from ghost_deploy.core.evidence.fork_report import ForkReport
    from ghost_deploy.core.evidence.int8 import Int8Report
    from ghost_deploy.core.evidence.kinds import Evidence
    from ghost_deploy.core.evidence.latency import BenchReport
    from ghost_deploy.core.evidence.parity import ParityReport
    from ghost_deploy.core.evidence.statistics_report import StatisticsReport
    from ghost_deploy.core.evidence.threshold_report import ThresholdReport
    from ghost_deploy.core.frame import Frame
    from ghost_deploy.core.gate_error import GateError
    from ghost_deploy.core.image_input import ImageInput
    from ghost_deploy.core.pixel_limit import set_max_pixels
    from ghost_deploy.core.spec import HeadSpec, InputSpec, ModelSpec, Thresholds
    from ghost_deploy.detector import Detector
    from ghost_deploy.report.report_document import Report, Verdict
    from ghost_deploy.runtimes.base import Runtime, RuntimeInfo, RuntimeOptions
    from ghost_deploy.runtimes.inference_server import InferenceServer
    from ghost_deploy.stream.policy import LivePolicy, Roi
    from ghost_deploy.stream.result import Result
    from ghost_deploy.stream.result_stream import ResultStream
    from ghost_deploy.stream.saved.result_writer import ResultWriter, save_results
    from ghost_deploy.stream.saved.uncertain_frames import UncertainWriter
    from ghost_deploy.stream.source_stats import SourceStats

switch_off()
wait_briefly()

_NAMES = {
    "api": (
        "Calibration DemoResult DemoSize DoctorReport bench build calibrate check compare demo "
        "doctor export infer inspect load parity report run_batch sign stream validate"
    ),
    "api.batch_detector": "BatchDetector",
    "batch.run_progress": "BatchProgress",
    "batch.run_record": "BatchReport",
    "checkpoints.inspection_record": "Inspection",
    "core.bundle": "Artifact Bundle",
    "core.detections": "Detection Detections",
    "core.errors": (
        "AmbiguousClassError BackendError BoardError BundleError CheckpointError "
        "CorruptCheckpointError DeviceError ExportError GhostDeployError ImageError "
        "ImageTooLargeError InputError LineError MissingExtraError "
        "ShapeError SignatureError SpecError StoreError StructureError UnavailableError "
        "UnknownClassError UnsafeCheckpointError UsageError"
    ),
    "core.evidence.accuracy": "AccuracyReport",
    "core.evidence.boards": "BoardsReport",
    "core.evidence.build": "BuildRecords DlaReport",
    "core.evidence.check": "CheckReport",
    "core.evidence.comparison": "CompareReport",
    "core.evidence.fork_report": "ForkReport",
    "core.evidence.int8": "Int8Report",
    "core.evidence.kinds": "Evidence",
    "core.evidence.latency": "BenchReport",
    "core.evidence.parity": "ParityReport",
    "core.evidence.statistics_report": "StatisticsReport",
    "core.evidence.threshold_report": "ThresholdReport",
    "core.frame": "Frame",
    "core.gate_error": "GateError",
    "core.image_input": "ImageInput",
    "core.pixel_limit": "set_max_pixels",
    "core.spec": "HeadSpec InputSpec ModelSpec Thresholds",
    "detector": "Detector",
    "report.report_document": "Report Verdict",
    "runtimes.base": "Runtime RuntimeInfo RuntimeOptions",
    "runtimes.inference_server": "InferenceServer",
    "stream.policy": "LivePolicy Roi",
    "stream.result": "Result",
    "stream.result_stream": "ResultStream",
    "stream.saved.result_writer": "ResultWriter save_results",
    "stream.saved.uncertain_frames": "UncertainWriter",
    "stream.source_stats": "SourceStats",
}
"""The public names, by the module that defines them."""

_HOME = {name: home for home, names in _NAMES.items() for name in names.split()}

__all__ = [
    "AccuracyReport",
    "AmbiguousClassError",
    "Artifact",
    "BackendError",
    "BatchDetector",
    "BatchProgress",
    "BatchReport",
    "BenchReport",
    "BoardError",
    "BoardsReport",
    "BuildRecords",
    "Bundle",
    "BundleError",
    "Calibration",
    "CheckReport",
    "CheckpointError",
    "CompareReport",
    "CorruptCheckpointError",
    "DemoResult",
    "DemoSize",
    "Detection",
    "Detections",
    "Detector",
    "DeviceError",
    "DlaReport",
    "DoctorReport",
    "Evidence",
    "ExportError",
    "ForkReport",
    "Frame",
    "GateError",
    "GhostDeployError",
    "HeadSpec",
    "ImageError",
    "ImageInput",
    "ImageTooLargeError",
    "InferenceServer",
    "InputError",
    "InputSpec",
    "Inspection",
    "Int8Report",
    "LineError",
    "LivePolicy",
    "MissingExtraError",
    "ModelSpec",
    "ParityReport",
    "Report",
    "Result",
    "ResultStream",
    "ResultWriter",
    "Roi",
    "Runtime",
    "RuntimeInfo",
    "RuntimeOptions",
    "ShapeError",
    "SignatureError",
    "SourceStats",
    "SpecError",
    "StatisticsReport",
    "StoreError",
    "StructureError",
    "ThresholdReport",
    "Thresholds",
    "UnavailableError",
    "UncertainWriter",
    "UnknownClassError",
    "UnsafeCheckpointError",
    "UsageError",
    "Verdict",
    "__version__",
    "bench",
    "build",
    "calibrate",
    "check",
    "compare",
    "demo",
    "doctor",
    "export",
    "infer",
    "inspect",
    "load",
    "parity",
    "report",
    "run_batch",
    "save_results",
    "set_max_pixels",
    "sign",
    "stream",
    "validate",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)


class _Package(ModuleType):
    """Keeps `export`, `report`, `demo` and `stream` the functions.

    Importing the sub-package of the same name would put the sub-package in its place; it stays
    reachable as `from ghost_deploy.export import ...`.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

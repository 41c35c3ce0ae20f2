"""What tools/fuzz.py changes and reads: a target for each kind of input of others."""

from __future__ import annotations

import shutil

from tools.fuzz_targets.datasets import CocoTarget, DataYamlTarget, LabelsTarget
from tools.fuzz_targets.documents import (
    BundleDocumentTarget,
    InspectedBundleTarget,
    ReportTarget,
    SignedBundleTarget,
    SpecTarget,
)
from tools.fuzz_targets.images import ImageTarget, MjpegTarget, VideoTarget
from tools.fuzz_targets.model_files import (
    CalibrationCacheTarget,
    CheckpointTarget,
    ModelCacheTarget,
    StatisticsTarget,
)
from tools.fuzz_targets.target import Target
from tools.fuzz_targets.web_view import WebTarget

__all__ = ["TARGETS", "Target"]

_ALL: tuple[type[Target], ...] = (
    BundleDocumentTarget,
    InspectedBundleTarget,
    ReportTarget,
    SpecTarget,
    DataYamlTarget,
    LabelsTarget,
    CocoTarget,
    ImageTarget,
    MjpegTarget,
    VideoTarget,
    CheckpointTarget,
    StatisticsTarget,
    CalibrationCacheTarget,
    WebTarget,
    ModelCacheTarget,
)

_SIGNED = (SignedBundleTarget,) if shutil.which("ssh-keygen") else ()

TARGETS: dict[str, type[Target]] = {kind.name: kind for kind in (*_ALL, *_SIGNED)}
"""What can be fuzzed here, by name."""

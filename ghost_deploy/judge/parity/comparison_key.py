"""What a parity verdict depends on, as one hash: while it is the same, the verdict holds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import msgspec

from ghost_deploy._version import __version__
from ghost_deploy.core.bundle import Bundle, file_name, sha256_of
from ghost_deploy.core.evidence.parity import ParityReport
from ghost_deploy.judge.bench.read_machine import read_machine
from ghost_deploy.runtimes.base import RuntimeOptions

_PACKAGES = (
    "torch",
    "numpy",
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "ncnn",
    "tensorrt",
    "ai-edge-litert",
)
"""Distributions whose arithmetic the outputs depend on."""


def comparison_key(
    bundle: Bundle,
    images: Sequence[Path] | None,
    options: RuntimeOptions,
    notes: Sequence[str] = (),
) -> str:
    """A hash of the checkpoint, the artifacts, the images, the packages and the machine.

    Args:
        bundle: whose files have the hashes that its document names.
        images: compared on; None for the demo scenes.
        options: device and threads.
        notes: of the report.

    Raises:
        OSError: an image cannot be read.
    """
    parts = (
        __version__,
        {name: _version(name) for name in _PACKAGES},
        read_machine().cpu_key,
        (options.device, options.threads, options.allow_fallback),
        bundle.document.source.sha256,
        bundle.spec,
        [(each.id, each.files, each.head, each.input) for each in bundle.artifacts],
        None if images is None else [(file_name(path), sha256_of(path)) for path in images],
        list(notes),
    )
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()


def stored_verdict(bundle: Bundle, key: str) -> ParityReport | None:
    """The parity report that the bundle keeps, if it was made of the same; its files are verified.

    Raises:
        BundleError: a file was changed.
    """
    report = bundle.evidence.parity
    if report is None or not report.key or report.key != key:
        return None
    for artifact in bundle.artifacts:
        bundle.verified_path(artifact)
    return report


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""

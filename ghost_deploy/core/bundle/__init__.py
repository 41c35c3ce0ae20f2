"""A bundle: the folder that an export writes and everything else reads.

    out/
      bundle.json        the spec, the artifacts with their hashes and lineage, the evidence
      model.fp32.onnx    ... one file or folder for each artifact

Writing is atomic: `BundleWriter` fills a hidden folder beside the target and renames it, and
`Bundle.save` replaces `bundle.json` by a rename. Hashes are checked before an artifact is used.
"""

from __future__ import annotations

from ghost_deploy.core.bundle.folder import Bundle
from ghost_deploy.core.bundle.manifest import (
    CANDIDATE,
    DOCUMENT,
    FORM_KEY,
    GUARD,
    GUARD_KEY,
    NMS_FORM,
    Artifact,
    BundleDocument,
    Source,
    file_name,
    sha256_of,
)
from ghost_deploy.core.bundle.writer import BundleWriter

__all__ = [
    "CANDIDATE",
    "DOCUMENT",
    "FORM_KEY",
    "GUARD",
    "GUARD_KEY",
    "NMS_FORM",
    "Artifact",
    "Bundle",
    "BundleDocument",
    "BundleWriter",
    "Source",
    "file_name",
    "sha256_of",
]

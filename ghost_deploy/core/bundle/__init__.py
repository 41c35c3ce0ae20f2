"""A bundle: the folder that an export writes and everything else reads.

    out/
      bundle.json        the spec, the artifacts with their hashes and lineage, the evidence
      model.fp32.onnx    ... one file or folder for each artifact

Writing is atomic: `BundleWriter` fills a hidden folder beside the target and renames it, and
`Bundle.save` replaces `bundle.json` by a rename. Hashes are checked before an artifact is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    """Imports the writer when it is used: what reads a bundle does not need it."""
    if name == "BundleWriter":
        from ghost_deploy.core.bundle.writer import BundleWriter

        return BundleWriter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

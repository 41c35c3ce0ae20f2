"""The ONNX artifact of an export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ghost_deploy.core.bundle import Artifact

if TYPE_CHECKING:
    from ghost_deploy.export.artifacts import ExportSession
    from ghost_deploy.export.targets import Target


def make_artifact(session: ExportSession, target: Target) -> Artifact:
    """Write the ONNX artifact of an export; raises as `onnx_from_net`."""
    session.progress(f"ONNX {target.precision}", 0, 0)
    path = session.onnx_file(target.precision, session.writer.folder)
    return session.add(target, path, session.loaded.source.sha256)

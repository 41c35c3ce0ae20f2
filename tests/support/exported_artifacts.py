"""Float artifacts of a checkpoint, exported without comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ghost_deploy.core.bundle import Artifact, BundleWriter
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.export import artifacts
from ghost_deploy.export.plan import plan_export


def export_artifacts(
    loaded: Any,
    writer: BundleWriter,
    *,
    formats: Sequence[str] = (),
    precisions: Sequence[str] = (),
    progress: Progress = silent,
    **shape: Any,
) -> tuple[ModelSpec, list[Artifact]]:
    """Write the artifacts that are named into the writer's folder.

    Args:
        loaded: the checkpoint.
        writer: of the bundle.
        formats, precisions: as in `plan_export`.
        progress: called once for each artifact.
        shape: as in `describe_export`.
    """
    plan = plan_export(formats, precisions)
    spec = artifacts.describe_export(loaded, **shape)
    return spec, artifacts.export_artifacts(loaded, spec, plan.graphs, writer, progress)

"""Exports of checkpoints: without comparison, and real ones that a whole run of pytest shares."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ghost_deploy.checkpoints.loading import LoadedCheckpoint, load_checkpoint
from ghost_deploy.core.bundle import Artifact, Bundle, BundleWriter
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.export import artifacts
from ghost_deploy.export.plan import plan_export
from tests.support.assets import GHOST, require_assets, val_images


@dataclass(frozen=True)
class ExportedCheckpoint:
    """A checkpoint and the bundle of ONNX and OpenVINO, fp32 and fp16, that was exported of it."""

    loaded: LoadedCheckpoint
    bundle: Bundle


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


def export_bundle(checkpoint: Path, folder: Path, side: int = 416) -> ExportedCheckpoint:
    """Export to a new folder at side x side pixels, not compared."""
    loaded = load_checkpoint(checkpoint)
    with BundleWriter(folder) as writer:
        spec, _ = export_artifacts(loaded, writer, size_hw=(side, side))
        writer.draft(spec, loaded.source, "test")
        return ExportedCheckpoint(loaded, writer.finish())


def shared_folder(
    name: str, factory: pytest.TempPathFactory, write: Callable[[Path], object]
) -> Path:
    """A folder that is written once in a run of pytest, whichever worker needs it first.

    Tests only read it: one that changes a file copies the folder first.

    Args:
        name: of the folder; the same name is the same content.
        factory: pytest's.
        write: makes the folder, completely or not at all.
    """
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder = root / "shared" / name
    folder.parent.mkdir(exist_ok=True)
    with folder.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            write(folder)
    return folder


def shared_float_bundle(checkpoint: Path, factory: pytest.TempPathFactory) -> ExportedCheckpoint:
    """`export_bundle` of the checkpoint at 416 pixels; to be read, not changed."""
    require_assets()
    name = f"float-{checkpoint.stem}"
    folder = shared_folder(name, factory, lambda folder: export_bundle(checkpoint, folder))
    return ExportedCheckpoint(load_checkpoint(checkpoint), Bundle.read(folder))


def shared_proved_bundle(factory: pytest.TempPathFactory) -> Path:
    """What `ghost-deploy export` makes by default of `GHOST`, proved on two images; to be read."""
    from ghost_deploy.cli.main import main

    require_assets()

    def write(folder: Path) -> None:
        images = factory.mktemp("proof")
        for path in val_images()[:2]:
            shutil.copy(path, images)
        assert main(["export", str(GHOST), "-o", str(folder), "--images", str(images)]) == 0

    return shared_folder("proved", factory, write)

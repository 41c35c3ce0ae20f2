"""Real bundles, exported once for all tests of this room."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from ghost_deploy.checkpoints.loading import LoadedCheckpoint, load_checkpoint
from ghost_deploy.core.bundle import Bundle, BundleWriter
from tests.support.assets import GHOST, GHOSTNET
from tests.support.exported_artifacts import export_artifacts


@dataclass(frozen=True)
class Proof:
    """A checkpoint and the bundle of ONNX and OpenVINO, fp32 and fp16, made of it."""

    loaded: LoadedCheckpoint
    bundle: Bundle


def export_bundle(checkpoint: Path, folder: Path, side: int = 416) -> Proof:
    loaded = load_checkpoint(checkpoint)
    with BundleWriter(folder) as writer:
        spec, _ = export_artifacts(loaded, writer, size_hw=(side, side))
        writer.draft(spec, loaded.source, "test")
        return Proof(loaded, writer.finish())


@pytest.fixture(scope="session")
def ghost(tmp_path_factory: pytest.TempPathFactory) -> Proof:
    return export_bundle(GHOST, tmp_path_factory.mktemp("ghost") / "bundle")


@pytest.fixture(scope="session")
def ghostnet(tmp_path_factory: pytest.TempPathFactory) -> Proof:
    return export_bundle(GHOSTNET, tmp_path_factory.mktemp("ghostnet") / "bundle")

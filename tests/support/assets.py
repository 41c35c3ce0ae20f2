"""Where the development assets are: real checkpoints, a real data set, recorded references.

They are not part of this repository. `GHOST_DEPLOY_SHARED` names their folder; by default it is
`shared` beside the checkout. A test that needs them skips with a reason where they are absent,
except under CI, where their absence is a failure.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("GHOST_DEPLOY_SHARED", Path(__file__).resolve().parents[3] / "shared"))
MODELS = SHARED / "models"
BCCD = SHARED / "data" / "bccd"
GHOST = MODELS / "yolov8n-ghost-bccd.pt"
GHOSTNET = MODELS / "yolov8n-ghostnet-bccd.pt"
CHECKPOINTS = (GHOST, GHOSTNET)

_absent = not (GHOST.is_file() and GHOSTNET.is_file() and BCCD.is_dir())
if _absent and os.environ.get("CI"):
    raise RuntimeError(f"CI must run the tests on real models; {SHARED} lacks them")

_REASON = f"no development assets in {SHARED}; set GHOST_DEPLOY_SHARED"
needs_assets = pytest.mark.skipif(_absent, reason=_REASON)


def require_assets() -> None:
    """Skip the test that asks for something made of them, where they are absent."""
    if _absent:
        pytest.skip(_REASON)


def val_images() -> list[Path]:
    """The BCCD validation images, sorted by name."""
    return sorted((BCCD / "images" / "val").glob("*.jpg"))

"""Facts that the reports of parity and accuracy have in common."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ghost_deploy._version import __version__
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.evidence.accuracy import AccuracyRow
from ghost_deploy.core.evidence.parity import ParityRow

if TYPE_CHECKING:
    from ghost_deploy.checkpoints.fork.fork_checkpoint import AnyCheckpoint


def tools_of(rows: Iterable[AccuracyRow | ParityRow], **packages: str) -> dict[str, str]:
    """Versions of this package, of the packages used, and of the runtimes of `rows`, by name.

    Args:
        rows: of the report.
        packages: versions of further packages, by name.
    """
    own = {
        "ghost-deploy": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
    }
    return own | packages | {row.runtime: row.version for row in rows if row.version}


def other_checkpoint(loaded: AnyCheckpoint | None, bundle: Bundle) -> tuple[str, ...]:
    """A warning if the reference is not the checkpoint that the bundle was exported from."""
    source = bundle.document.source
    if loaded is None or loaded.source.sha256 == source.sha256:
        return ()
    return (
        f"the bundle was exported from {source.file} ({source.sha256[:12]}), "
        f"the reference is {loaded.source.file} ({loaded.source.sha256[:12]})",
    )

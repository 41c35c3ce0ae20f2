"""Compare a bundle with its checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ghost_deploy.api.common import (
    AnyPath,
    Images,
    find_readable,
    load_checkpoint,
    open_bundle,
)
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.progress import Progress
from ghost_deploy.runtimes.base import RuntimeOptions

if TYPE_CHECKING:
    from ghost_deploy.core.evidence.parity import ParityReport
    from ghost_deploy.processing.broken_images import OnBroken


def parity(
    checkpoint: AnyPath,
    bundle: AnyPath | Bundle,
    images: Images = None,
    *,
    modules: Sequence[AnyPath] = (),
    on_broken: OnBroken = "skip",
    device: str = "cpu",
    threads: int = 0,
    allow_fallback: bool = False,
    progress: Progress | None = None,
) -> ParityReport:
    """Compare every artifact of a bundle with the PyTorch module, number by number.

    Args:
        checkpoint: what the bundle was exported from.
        bundle: its folder, or what `export` returned. It is not changed.
        images, modules, on_broken, progress: as in `export`.
        device, threads, allow_fallback: as in `load`.

    Returns:
        The report; `report.passed` is the verdict.

    Raises:
        CheckpointError, BundleError, ImageError: an input cannot be used.
        UnavailableError: a package or a device is missing.
    """
    files, notes = find_readable(images, on_broken)
    opened = open_bundle(bundle)
    loaded = load_checkpoint(checkpoint, modules)
    from ghost_deploy.judge.parity.prove import run_parity

    options = RuntimeOptions(device=device, threads=threads, allow_fallback=allow_fallback)
    return run_parity(loaded, opened, files, options=options, progress=progress, notes=notes)

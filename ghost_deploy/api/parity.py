"""Compare a bundle with its checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ghost_deploy.api.common import AnyPath, Images, find_images, load_checkpoint, open_bundle
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.progress import Progress
from ghost_deploy.runtimes.base import RuntimeOptions

if TYPE_CHECKING:
    from ghost_deploy.core.evidence.parity import ParityReport


def parity(
    checkpoint: AnyPath,
    bundle: AnyPath | Bundle,
    images: Images = None,
    *,
    modules: Sequence[AnyPath] = (),
    device: str = "cpu",
    threads: int = 0,
    allow_fallback: bool = False,
    progress: Progress | None = None,
) -> ParityReport:
    """Compare every artifact of a bundle with the PyTorch module, number by number.

    Args:
        checkpoint: what the bundle was exported from.
        bundle: its folder, or what `export` returned. It is not changed.
        images, modules, progress: as in `export`.
        device, threads, allow_fallback: as in `load`.

    Returns:
        The report; `report.passed` is the verdict.

    Raises:
        CheckpointError, BundleError, ImageError: an input cannot be used.
        UnavailableError: a package or a device is missing.
    """
    files = find_images(images)
    opened = open_bundle(bundle)
    loaded = load_checkpoint(checkpoint, modules)
    from ghost_deploy.judge.parity.prove import run_parity

    options = RuntimeOptions(device=device, threads=threads, allow_fallback=allow_fallback)
    return run_parity(loaded, opened, files, options=options, progress=progress)

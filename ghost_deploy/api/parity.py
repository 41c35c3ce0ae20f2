"""Compare a bundle with its checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import msgspec

from ghost_deploy.api.common import AnyPath, Images, find_readable, open_bundle
from ghost_deploy.api.gates import require_same_network, require_statistics
from ghost_deploy.api.open_checkpoint import ForkOption, open_source, require_source
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.progress import Progress, silent
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
    fork: AnyPath | None = None,
    fork_unconfined: bool = False,
    other_checkpoint: bool = False,
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
        images, modules, fork, fork_unconfined, on_broken, progress: as in `export`.
        other_checkpoint: compare although the bundle was exported from another file.
        device, threads, allow_fallback: as in `load`.

    Returns:
        The report; `report.passed` is the verdict.

    Raises:
        GateError: the network is not the one that the checkpoint's recorded statistics describe, or
            a definition of ours fits, and computes something else than the fork's code.
        UsageError: the bundle was exported from another checkpoint.
        CheckpointError, BundleError, ImageError: an input cannot be used.
        UnavailableError: a package or a device is missing.
    """
    opened = open_bundle(bundle)
    if not other_checkpoint:
        require_source(checkpoint, opened)
    files, notes = find_readable(images, on_broken)
    own = ForkOption(fork, fork_unconfined)
    with ExitStack() as stack:
        source = open_source(stack, checkpoint, modules, own, opened, files)
        if source.statistics:
            require_statistics(source.statistics)
        from ghost_deploy.judge.parity.prove import run_parity

        options = RuntimeOptions(device=device, threads=threads, allow_fallback=allow_fallback)
        report = run_parity(
            source.loaded, opened, files, options=options, progress=progress, notes=notes
        )
        judged = source.report(opened, files, progress or silent)
    if judged is not None:
        require_same_network(judged, opened)
        warnings = (*report.warnings, judged.summary())
        return msgspec.structs.replace(report, warnings=warnings)
    return report

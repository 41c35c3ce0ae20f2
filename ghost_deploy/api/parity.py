"""Compare a bundle with its checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ghost_deploy.api.common import (
    COMPARED,
    AnyPath,
    Images,
    Note,
    find_readable,
    log_note,
    open_bundle,
)
from ghost_deploy.api.gates import require_same_network, require_statistics
from ghost_deploy.api.open_checkpoint import ForkOption, open_source, require_source
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.inference_server import InferenceServer
from ghost_deploy.runtimes.served import served_view, server_of

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
    max_images: int | None = COMPARED,
    again: bool = False,
    device: str = "cpu",
    threads: int = 0,
    allow_fallback: bool = False,
    url: str | InferenceServer | None = None,
    progress: Progress | None = None,
    note: Note | None = None,
) -> ParityReport:
    """Compare every artifact of a bundle with the PyTorch module, number by number.

    The verdict that the bundle keeps of its export is returned where nothing has changed since:
    the checkpoint, the artifacts, the images, the packages and the kind of processor are the same.

    Args:
        checkpoint: what the bundle was exported from.
        bundle: its folder, or what `export` returned. It is not changed.
        images, modules, fork, fork_unconfined, on_broken, max_images, progress: as in `export`.
        other_checkpoint: compare although the bundle was exported from another file.
        again: compare although nothing has changed.
        device, threads, allow_fallback: as in `load`.
        url: of a server that runs a model of the bundle, as in `load`: that one alone is compared.
        note: called if nothing was compared, because nothing has changed; logged by default.

    Returns:
        The report; `report.passed` is the verdict.

    Raises:
        GateError: the network is not the one that the checkpoint's recorded statistics describe, or
            a definition of ours fits, and computes something else than the fork's code.
        UsageError: the bundle was exported from another checkpoint.
        CheckpointError, BundleError, ImageError: an input cannot be used.
        UnavailableError: a package or a device is missing.
        BackendError: the server is away.
    """
    opened = open_bundle(bundle)
    if not other_checkpoint:
        require_source(checkpoint, opened)
    files, notes = find_readable(images, on_broken, max_images)
    own = ForkOption(fork, fork_unconfined)
    server = server_of(None, url)
    options = RuntimeOptions(
        device=device, threads=threads, allow_fallback=allow_fallback, server=server
    )
    if server is not None:
        opened = served_view(opened, options)
    own_code = bool(modules) or fork is not None or other_checkpoint
    kept = None if again or own_code or server is not None else _kept(opened, files, options, notes)
    if kept is not None:
        (note or log_note)(
            "nothing has changed since the bundle was compared: this is the verdict that it keeps"
        )
        return kept
    with ExitStack() as stack:
        source = open_source(stack, checkpoint, modules, own, opened, files)
        if source.statistics:
            require_statistics(source.statistics)
        from ghost_deploy.judge.parity.prove import run_parity

        report = run_parity(
            source.loaded,
            opened,
            files,
            runtimes=None if server is None else ["kserve"],
            options=options,
            progress=progress,
            notes=notes,
        )
        judged = source.report(opened, files, progress or silent)
    if judged is not None:
        require_same_network(judged, opened)
        warnings = (*report.warnings, judged.summary())
        return msgspec.structs.replace(report, warnings=warnings)
    return report


def _kept(
    bundle: Bundle, images: Sequence[Path] | None, options: RuntimeOptions, notes: Sequence[str]
) -> ParityReport | None:
    """The verdict that the bundle keeps, if it was made of the same."""
    from ghost_deploy.judge.parity.comparison_key import comparison_key, stored_verdict

    kept = stored_verdict(bundle, comparison_key(bundle, images, options, notes))
    if kept is not None and bundle.evidence.statistics:
        require_statistics(bundle.evidence.statistics)
    return kept

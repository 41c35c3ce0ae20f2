"""Check a bundle on the machine that runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ghost_deploy.api.common import AnyPath, cache_dir
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.runtimes.base import RuntimeOptions

if TYPE_CHECKING:
    from ghost_deploy.core.evidence.check import CheckReport


def check(
    bundle: AnyPath | Bundle,
    *,
    runtimes: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    device: str = "cpu",
    threads: int = 0,
    allow_fallback: bool = False,
    timeout_s: float = 120.0,
    speed: bool = True,
    progress: Progress | None = None,
) -> CheckReport:
    """Check what the artifacts of a bundle do on this machine.

    The hashes of all files are verified. Each artifact that can run here runs in a process of its
    own on the images that the bundle carries, and must reproduce their outputs; then the verified
    ones are timed in turns. The verdicts are kept on this machine: `load` reads them.

    Args:
        bundle: its folder, or what `export` returned. It is not changed.
        runtimes: names of runtimes; all when None.
        precisions: of the runs; all when None.
        device: `cpu`, `cuda`, `cuda:N`, `gpu`, `npu`.
        threads: CPU threads; 0 lets the runtime choose.
        allow_fallback: accept another device or precision than the one asked for.
        timeout_s: seconds that one artifact may take.
        speed: also time what was verified.
        progress: called for each artifact.

    Returns:
        The report; `report.passed` is the verdict.

    Raises:
        BundleError: there is no bundle, a file of it was changed, or no artifact of it matches.
        UsageError: unknown runtime or precision, or a runtime of a server.
    """
    import ghost_deploy.processing  # noqa: F401  # says what to install where OpenCV is missing
    from ghost_deploy.judge.check.check_bundle import check_bundle
    from ghost_deploy.judge.check.verdict_store import VerdictStore

    opened = Bundle.read(bundle.path if isinstance(bundle, Bundle) else bundle, verify=True)
    store = VerdictStore.below(cache_dir())
    options = RuntimeOptions(
        device=device, threads=threads, allow_fallback=allow_fallback, cache_dir=cache_dir()
    )
    return check_bundle(
        opened,
        options,
        store,
        runtimes=runtimes,
        precisions=precisions,
        timeout_s=timeout_s,
        speed=speed,
        progress=progress or silent,
    )

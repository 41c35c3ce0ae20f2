"""The TensorRT part of an export: engines of graphs that were just made and proved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ghost_deploy.api.common import Progress
from ghost_deploy.core.bundle import Bundle, BundleWriter

if TYPE_CHECKING:
    from ghost_deploy.core.evidence.parity import ParityReport

__all__ = ["add_engines", "engine_precisions", "without_engines"]

_FORMAT = "tensorrt"


def engine_precisions(formats: Sequence[str], precisions: Sequence[str]) -> tuple[str, ...]:
    """The precisions that engines are asked for; none without the format `tensorrt`.

    Raises:
        MissingExtraError: engines are asked for and TensorRT is not installed; said before any
            work is done.
        UsageError: as `export.plan.plan`.
    """
    if isinstance(formats, str) or _FORMAT not in formats:
        return ()
    from ghost_deploy.export.plan import plan, require_tools

    targets = plan((_FORMAT,), precisions)
    require_tools(targets)
    return tuple(target.precision for target in targets)


def without_engines(formats: Sequence[str]) -> Sequence[str]:
    """What is made before engines: the other formats, and the ONNX that engines are built from."""
    if isinstance(formats, str) or _FORMAT not in formats:
        return formats
    others = tuple(name for name in formats if name != _FORMAT)
    return others if "onnx" in others else ("onnx", *others)


def add_engines(
    writer: BundleWriter,
    bundle: Bundle,
    precisions: Sequence[str],
    *,
    beside: Path,
    tell: Progress,
) -> tuple[Bundle, ParityReport]:
    """Build an engine for each precision into the writer's folder and check it.

    Args:
        writer: has the bundle's artifacts.
        bundle: proved, with a stored reference.
        precisions: of the engines.
        beside: the bundle's place to be, for the timing cache.
        tell: told what is being done.

    Returns:
        The draft with the engines, unsaved, and its parity report with their rows.

    Raises:
        ExportError, UnavailableError: as `build`.
    """
    from ghost_deploy.api.build import make_engine, put_engine
    from ghost_deploy.runtimes.tensorrt.job import EngineRequest

    for precision in precisions:
        made = make_engine(bundle, EngineRequest(precision), beside=beside, progress=tell)
        bundle, _ = put_engine(writer, bundle, made, progress=tell)
    assert bundle.evidence.parity is not None  # the draft was proved
    return bundle, bundle.evidence.parity

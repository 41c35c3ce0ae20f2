"""Types and helpers that the verbs share."""

from __future__ import annotations

import importlib.util
import logging
import os
import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ghost_deploy.core.bundle import DOCUMENT, Bundle
from ghost_deploy.core.errors import AmbiguousClassError, MissingExtraError, UsageError
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.core.trusted_signers import trusted_signers

if TYPE_CHECKING:
    from ghost_deploy.checkpoints.loading import LoadedCheckpoint
    from ghost_deploy.processing.broken_images import OnBroken

AnyPath: TypeAlias = "str | os.PathLike[str]"
Images: TypeAlias = "AnyPath | Sequence[AnyPath] | None"
Note: TypeAlias = Callable[[str], None]
"""Called with a sentence about what was stored, or why it was not."""

COMPARED = 100
"""Images that artifacts are compared with PyTorch on, if there are more and no number is given."""
_SEED = 0
_STATISTICS = "comparing statistics"

log_note: Note = logging.getLogger("ghost_deploy").warning
"""Takes the notes unless the caller does."""


def load_checkpoint(
    checkpoint: AnyPath,
    modules: Sequence[AnyPath],
    *,
    one2one: bool = False,
    class_names: Sequence[str] = (),
    images: Sequence[Path] | None = None,
    progress: Progress = silent,
) -> LoadedCheckpoint:
    """Load a checkpoint.

    Args:
        checkpoint: a `.pt` or `.safetensors` file.
        modules: Python files with classes that the checkpoint names. They are run.
        one2one: use the branch that needs no NMS; else the one that the file names, by default
            one2many where it has both.
        class_names: instead of those of the file.
        images: of the kind that it was trained on; recorded statistics then choose between
            readings and judge the network. Without any, plots of the training beside the file
            choose between readings where class names do not tell.
        progress: called when the comparison with recorded statistics begins.

    Raises:
        MissingExtraError: torch is not installed.
        CheckpointError: the file cannot be used.
    """
    require("torch", "export")
    from ghost_deploy.checkpoints.file_types import require_file

    require_file(checkpoint)
    from ghost_deploy.checkpoints.loading import load_checkpoint
    from ghost_deploy.judge.training_plots import training_plots
    from ghost_deploy.judge.witness import witness_of_files

    load = partial(
        load_checkpoint,
        checkpoint,
        modules=[Path(module) for module in modules],
        branch="one2one" if one2one else None,
        class_names=class_names,
    )
    try:
        witness = witness_of_files(images or ())
        return load(images=witness and witness.told(partial(progress, _STATISTICS, 0, 0)))
    except AmbiguousClassError:
        plots = None if images else training_plots(Path(checkpoint))
        if plots is None:
            raise
        return load(images=plots)


def find_images(images: Images) -> list[Path] | None:
    """The image files that `images` names; None where it is None.

    Raises:
        ImageError: a source names no image.
    """
    if images is None:
        return None
    from ghost_deploy.processing.images import list_images

    sources = [images] if isinstance(images, str | os.PathLike) else images
    return [path for source in sources for path in list_images(source)]


def find_readable(
    images: Images, on_broken: OnBroken, most: int | None = None
) -> tuple[list[Path] | None, tuple[str, ...]]:
    """Those of `find_images` that can be read, and notes for the report on the others.

    Args:
        images: as in `find_images`.
        on_broken: what is done with those that cannot be read.
        most: of more, so many are chosen at random, always the same ones; None takes all.

    Raises:
        ImageError: a source names no image, none can be read, or one cannot and `on_broken` is
            `stop`.
        UsageError: `on_broken` is neither `skip` nor `stop`, or `most` is not positive.
    """
    from ghost_deploy.processing.broken_images import check_on_broken, readable_images

    check_on_broken(on_broken)
    paths = find_images(images)
    if paths is None:
        return None, ()
    chosen = some_of(paths, most)
    found = readable_images(chosen, on_broken)
    left_out = ""
    if len(chosen) < len(paths):
        left_out = f"{len(chosen)} of {len(paths)} images were chosen at random, with seed {_SEED}"
    return list(found.paths), tuple(filter(None, (left_out, found.note)))


def some_of(paths: Sequence[Path], most: int | None) -> list[Path]:
    """At most `most` of the paths in their order, always the same ones; all where it is None.

    Raises:
        UsageError: `most` is not positive.
    """
    if most is None:
        return list(paths)
    if most < 1:
        raise UsageError(
            "at least one image must be compared", got=most, fix="Give None to take all images"
        )
    chosen = random.Random(_SEED).sample(range(len(paths)), min(most, len(paths)))
    return [paths[index] for index in sorted(chosen)]


def open_bundle(bundle: AnyPath | Bundle, trust: AnyPath | None = None) -> Bundle:
    """`bundle` itself, or the one in that folder; where trust is asked for, as it lies there.

    Args:
        bundle: what a verb was given.
        trust: as in `Bundle.read`.

    Raises:
        BundleError: there is none, or it is damaged.
        SignatureError: as `Bundle.read`.
    """
    if isinstance(bundle, Bundle) and trust is None and trusted_signers() is None:
        return bundle
    return Bundle.read(bundle.path if isinstance(bundle, Bundle) else bundle, trust=trust)


def refuse_replaced(bundle: Bundle, ids: Sequence[str], command: str, *, overwrite: bool) -> None:
    """Raise UsageError if a bundle has artifacts that would be made anew without `overwrite`.

    Args:
        bundle: that is written to.
        ids: of artifacts that are made anew; those that the bundle lacks do not count.
        command: that makes them.
        overwrite: they may be replaced.
    """
    there = [artifact.id for artifact in bundle.artifacts if artifact.id in ids]
    if there and not overwrite:
        raise UsageError(
            f"{bundle.path} has {', '.join(there)} already",
            fix=f"Add --overwrite to ghost-deploy {command} to replace what is there "
            "(overwrite=True in Python)",
        )


def is_bundle(path: Path) -> bool:
    """Whether `path` can only mean a bundle: a folder, or the document in one."""
    return os.path.isdir(path) or path.name == DOCUMENT


def model_file(path: Path) -> Path:
    """The one `.xml` of a folder that is no bundle, as Ultralytics writes it; else `path`."""
    if os.path.isdir(path) and not (path / DOCUMENT).exists():
        found = list(path.glob("*.xml"))
        if len(found) == 1:
            return found[0]
    return path


def require(package: str, extra: str) -> None:
    """Raise MissingExtraError unless `package` is installed; it is not imported to know."""
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError.for_extra(package, extra)


def cache_dir() -> Path | None:
    """Where compiled models are kept: `$XDG_CACHE_HOME/ghost-deploy`, else `~/.cache/ghost-deploy`.

    Not in the bundle: compiled code is covered by none of its hashes and must not travel with it.
    Below it a folder for each kind of processor, because home folders are shared by machines.
    """
    from ghost_deploy.judge.bench.read_machine import read_machine

    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if not os.path.isabs(home):  # the account has no home folder, as in some containers
        return None
    return Path(home) / "ghost-deploy" / read_machine().cpu_key

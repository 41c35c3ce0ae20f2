"""A checkpoint opened with a fork's own code, for the verbs that take one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ghost_deploy.api.common import AnyPath, load_checkpoint, require
from ghost_deploy.core.bundle import Bundle, sha256_of
from ghost_deploy.core.errors import (
    StructureError,
    UnknownClassError,
    UnsafeCheckpointError,
    UsageError,
)
from ghost_deploy.core.evidence.fork_report import ForkReport
from ghost_deploy.core.evidence.statistics_report import StatisticsReport
from ghost_deploy.core.progress import Progress, silent

if TYPE_CHECKING:
    from ghost_deploy.checkpoints.fork.fork_checkpoint import AnyCheckpoint, ForkCheckpoint
    from ghost_deploy.checkpoints.inspection_record import Inspection


@dataclass(frozen=True)
class ForkOption:
    """The code of a fork that the user trusts.

    Attributes:
        path: its folder, or a Python file; None without one.
        unconfined: run it although this machine cannot confine it.
    """

    path: AnyPath | None
    unconfined: bool = False

    def __post_init__(self) -> None:
        if self.path is None and self.unconfined:
            raise UsageError(
                "--fork-unconfined says how the fork's code is run, and none is named",
                fix="Add --fork DIR_OR_FILE, or leave it out",
            )


@dataclass(frozen=True)
class OpenedCheckpoint:
    """A checkpoint, and the fork's code beside it.

    Attributes:
        loaded: our definition where one fits, else the fork's network.
        fork: the fork's network; None without a fork.
        class_names: those that took the place of the checkpoint's; may be empty.
    """

    loaded: AnyCheckpoint
    fork: ForkCheckpoint | None
    class_names: Sequence[str] = ()

    @property
    def has_one2one(self) -> bool:
        """Whether the head of our definition has a branch that needs no NMS."""
        from ghost_deploy.checkpoints.loading import LoadedCheckpoint

        return isinstance(self.loaded, LoadedCheckpoint) and self.loaded.net.head.has_one2one

    @property
    def statistics(self) -> StatisticsReport | None:
        """What recorded statistics say of our definition; None of the fork's network."""
        from ghost_deploy.checkpoints.loading import LoadedCheckpoint

        return self.loaded.statistics if isinstance(self.loaded, LoadedCheckpoint) else None

    def on_one2one(self) -> OpenedCheckpoint:
        """The same on that branch of our definition."""
        from ghost_deploy.checkpoints.loading import LoadedCheckpoint, on_branch

        assert isinstance(self.loaded, LoadedCheckpoint)  # see `has_one2one`
        return replace(self, loaded=on_branch(self.loaded, "one2one"))

    def report(
        self, bundle: Bundle, images: Sequence[Path] | None, progress: Progress = silent
    ) -> ForkReport | None:
        """What the fork's code was used for: to judge our definition where one fits.

        Args:
            bundle: the comparison is done at its size.
            images, progress: as in `judge_fork`.

        Returns:
            The report; None without a fork.

        Raises:
            UsageError, ImageError, BackendError: as `judge_fork`.
        """
        from ghost_deploy.checkpoints.loading import LoadedCheckpoint
        from ghost_deploy.judge.parity.fork_judge import judge_fork

        if self.fork is None:
            return None
        if isinstance(self.loaded, LoadedCheckpoint):
            return judge_fork(self.loaded, self.fork, bundle, images, progress)
        return ForkReport(role="reference", code=self.fork.code)


def with_fork(found: Inspection, checkpoint: AnyPath, option: ForkOption) -> Inspection:
    """What the code of a fork says of a checkpoint that was inspected without it.

    Raises:
        CheckpointError: that code cannot load it.
        UnavailableError: it cannot be confined here.
        UsageError: there is no such fork.
    """
    from ghost_deploy.checkpoints.fork.fork_checkpoint import open_fork_checkpoint
    from ghost_deploy.checkpoints.fork.fork_folder import open_fork_folder

    folder = open_fork_folder(option.path or "")
    with open_fork_checkpoint(checkpoint, folder, confined=not option.unconfined) as opened:
        spec, code = opened.spec, opened.code
    if found.exportable:
        return msgspec.structs.replace(found, fork=code)
    warnings = [f"no definition fits, the fork's code is needed: {each}" for each in found.problems]
    return msgspec.structs.replace(
        found,
        fork=code,
        class_names=spec.class_names,
        size_hw=spec.input.size_hw,
        stride=spec.input.stride,
        strides=spec.head.strides,
        decoder=spec.head.decoder,
        parameters=spec.parameters,
        exportable=True,
        warnings=(*found.warnings, *warnings),
        problems=(),
    )


def open_checkpoint(
    stack: ExitStack,
    checkpoint: AnyPath,
    modules: Sequence[AnyPath],
    fork: ForkOption,
    *,
    one2one: bool = False,
    class_names: Sequence[str] = (),
    images: Sequence[Path] | None = None,
    progress: Progress = silent,
) -> OpenedCheckpoint:
    """Load a checkpoint, and with a fork also there.

    Args:
        stack: closes the fork's process.
        checkpoint, modules, one2one, class_names, images, progress: as in `load_checkpoint`.
        fork: the fork's code.

    Raises:
        CheckpointError: the file cannot be used, or the fork's code cannot load it.
        UnavailableError: a package is missing, or the fork's code cannot be confined here.
        UsageError: there is no such fork, or class names are given for its network.
    """

    def ours() -> AnyCheckpoint:
        return load_checkpoint(
            checkpoint,
            modules,
            one2one=one2one,
            class_names=class_names,
            images=images,
            progress=progress,
        )

    if fork.path is None:
        return OpenedCheckpoint(ours(), None, class_names)
    require("torch", "export")
    from ghost_deploy.checkpoints.fork.fork_checkpoint import open_fork_checkpoint
    from ghost_deploy.checkpoints.fork.fork_folder import open_fork_folder

    folder = open_fork_folder(fork.path)
    loaded: AnyCheckpoint | None = None
    try:
        loaded = ours()
    except (UnknownClassError, StructureError, UnsafeCheckpointError):
        if modules:
            raise
    theirs = stack.enter_context(
        open_fork_checkpoint(checkpoint, folder, confined=not fork.unconfined)
    )
    if loaded is None and one2one and theirs.spec.head.branch != "one2one":
        raise UsageError(
            "the fork's network gives the output that needs NMS",
            got=theirs.spec.head.decoder,
            fix="Leave --one2one out",
        )
    if loaded is None and class_names:
        raise UsageError(
            "the class names of a fork's own network cannot be replaced", fix="Leave --names out"
        )
    return OpenedCheckpoint(loaded or theirs, theirs, class_names)


def require_source(checkpoint: AnyPath, bundle: Bundle) -> None:
    """Raise UsageError if a bundle was exported from another file; nothing but the hash is read."""
    source = bundle.document.source
    try:
        found = sha256_of(checkpoint)
    except OSError:
        return  # what reads the checkpoint has the better message
    if found != source.sha256:
        raise UsageError(
            f"{bundle.path} was not exported from {checkpoint}",
            got=f"sha256 {found[:12]}",
            expected=f"{source.file}, sha256 {source.sha256[:12]}",
            fix=f"Give that file, or export {checkpoint} first; --other-checkpoint (other_"
            "checkpoint=True in Python) compares the two all the same",
        )


def open_source(
    stack: ExitStack,
    checkpoint: AnyPath,
    modules: Sequence[AnyPath],
    fork: ForkOption,
    bundle: Bundle,
    images: Sequence[Path] | None = None,
) -> OpenedCheckpoint:
    """`open_checkpoint` of what `bundle` was exported from, with the class names of the bundle."""
    names = bundle.spec.class_names
    try:
        opened = open_checkpoint(stack, checkpoint, modules, fork, images=images)
    except StructureError:  # names may have been given when it was exported
        opened = open_checkpoint(stack, checkpoint, modules, fork, class_names=names, images=images)
    from ghost_deploy.checkpoints.loading import LoadedCheckpoint

    loaded = opened.loaded
    if isinstance(loaded, LoadedCheckpoint) and len(loaded.spec.class_names) == len(names):
        spec = msgspec.structs.replace(loaded.spec, class_names=names)
        opened = replace(opened, loaded=replace(loaded, spec=spec))
    return opened

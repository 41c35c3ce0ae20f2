"""What a checkpoint or a bundle holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ghost_deploy.api.common import AnyPath, Images, find_readable, is_bundle, require
from ghost_deploy.api.open_checkpoint import ForkOption, with_fork
from ghost_deploy.core.bundle import Bundle, file_name
from ghost_deploy.core.errors import MissingExtraError, UsageError
from ghost_deploy.core.files import refuse_existing, write_whole

if TYPE_CHECKING:
    from ghost_deploy.checkpoints.inspection_record import Inspection
    from ghost_deploy.checkpoints.skeleton import Skeleton
    from ghost_deploy.processing.broken_images import OnBroken

_ZOO = "zoo:"
_DEFAULT_SIDE = 640


def inspect(
    path: AnyPath,
    images: Images = None,
    *,
    modules: Sequence[AnyPath] = (),
    skeleton: AnyPath | None = None,
    fork: AnyPath | None = None,
    fork_unconfined: bool = False,
    on_broken: OnBroken = "skip",
    overwrite: bool = False,
    on_read: Callable[[Inspection], None] | None = None,
) -> Inspection | Bundle:
    """What a checkpoint or a bundle holds, without running any of it.

    Args:
        path: a checkpoint, a bundle folder, or `zoo:NAME` for an untrained network of 80 classes.
        images: of the kind that a checkpoint was trained on: a folder, file or glob, or several.
            They decide between readings, and show whether it computes what it did in training.
            Without any, plots of the training beside the file decide where class names do not.
        modules: Python files with classes that the checkpoint names. They are run.
        skeleton: a file to write, the module tree of a checkpoint or network as JSON, with
            attributes and shapes and without weights, paths and class names; also of one that is
            refused.
        fork, fork_unconfined: as in `export`; the code is run, and says what the network is.
        on_broken: what is done with `images` that cannot be read, as in `export`; the inspection
            counts those that were left out.
        overwrite: replace a `skeleton` that is there.
        on_read: called with what a checkpoint says of itself, before its network is built.

    Returns:
        The inspection of a checkpoint or network. Where torch is not installed, what a checkpoint
        says of itself: `fitted` is False then. A bundle is read, and every hash is checked.

    Raises:
        CheckpointError: the file cannot be read at all.
        ImageError: there is no image, or one cannot be read and `on_broken` is `stop`.
        ExportError: the skeleton cannot be written.
        BundleError: the bundle is damaged or was changed.
        UsageError: the zoo has no such network, or the skeleton's file is there.
        MissingExtraError: torch is needed and is not installed.
    """
    name = os.fspath(path)
    if not name.startswith(_ZOO) and is_bundle(Path(path)):
        if skeleton is not None:
            raise UsageError(
                f"{name} is a bundle, which holds no module tree",
                fix="Give the checkpoint that it was made of",
            )
        return Bundle.read(path, verify=True)
    if skeleton is not None:
        refuse_existing(Path(skeleton), overwrite=overwrite)
    if not name.startswith(_ZOO):
        seen = _seen(path)
        if on_read:
            on_read(seen)
        plain = not (images or modules or fork) and skeleton is None
        if plain and find_spec("torch") is None:
            return seen
    require("torch", "export")
    if name.startswith(_ZOO):
        return _inspect_zoo(name.removeprefix(_ZOO), skeleton)
    from ghost_deploy.checkpoints.inspection import inspect_checkpoint
    from ghost_deploy.judge.training_plots import training_plots
    from ghost_deploy.judge.witness import witness_of_files

    if skeleton is not None:
        from ghost_deploy.checkpoints.skeleton import read_skeleton

        _write(skeleton, read_skeleton(path))
    files, notes = find_readable(images, on_broken)
    describe = partial(inspect_checkpoint, path, modules=[Path(module) for module in modules])
    found = describe(images=witness_of_files(files or ()))
    plots = None if found.exportable or files else training_plots(Path(path))
    if plots is not None:  # as in `export`, they choose between readings
        found = describe(images=plots)
    found = msgspec.structs.replace(found, warnings=(*found.warnings, *notes))
    return found if fork is None else with_fork(found, path, ForkOption(fork, fork_unconfined))


def _seen(path: AnyPath) -> Inspection:
    """What a checkpoint says of itself."""
    from ghost_deploy.checkpoints.file_types import read_file
    from ghost_deploy.checkpoints.inert_description import describe

    seen, _ = describe(file_name(path), read_file(path))
    missing = MissingExtraError.for_extra("torch", "export")
    note = f"whether it can be exported needs torch. {missing.fix}"
    return msgspec.structs.replace(seen, fitted=False, warnings=(*seen.warnings, note))


def _write(target: AnyPath, skeleton: Skeleton) -> None:
    from ghost_deploy.checkpoints.skeleton import encode_skeleton

    data = encode_skeleton(skeleton)
    write_whole(Path(target), lambda file: file.write(data))


def _inspect_zoo(name: str, skeleton: AnyPath | None) -> Inspection:
    from ghost_deploy.checkpoints.inspection_record import Inspection
    from ghost_deploy.checkpoints.skeleton import skeleton_of
    from ghost_deploy.models.flops import gflops
    from ghost_deploy.models.tree_writer import to_node
    from ghost_deploy.models.zoo_yaml import build_zoo

    net = build_zoo(name, device="meta")
    if skeleton is not None:
        _write(skeleton, skeleton_of(to_node(net)[0]))
    stride = max(32, *net.strides)
    side = -(-_DEFAULT_SIDE // stride) * stride
    return Inspection(
        file=f"{_ZOO}{name}",
        bytes=0,
        sha256="",
        format="ghost-deploy",
        family=name,
        class_names=tuple(map(str, range(net.nc))),
        size_hw=(side, side),
        stride=stride,
        strides=net.strides,
        decoder=net.head.decoder if net.branch == "one2many" else "one2one",
        parameters=sum(weights.numel() for weights in net.parameters()),
        gflops=gflops(net, (side, side)),
        problems=("an untrained network: it has no weights to export",),
    )

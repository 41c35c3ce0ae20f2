"""What a checkpoint or a bundle holds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ghost_deploy.api.common import AnyPath, is_bundle, require
from ghost_deploy.api.open_checkpoint import ForkOption, with_fork
from ghost_deploy.core.bundle import Bundle

if TYPE_CHECKING:
    from ghost_deploy.checkpoints.inspection import Inspection

_ZOO = "zoo:"
_DEFAULT_SIDE = 640


def inspect(
    path: AnyPath,
    *,
    modules: Sequence[AnyPath] = (),
    fork: AnyPath | None = None,
    fork_unconfined: bool = False,
) -> Inspection | Bundle:
    """What a checkpoint or a bundle holds, without running any of it.

    Args:
        path: a checkpoint, a bundle folder, or `zoo:NAME` for an untrained network of 80 classes.
        modules: Python files with classes that the checkpoint names. They are run.
        fork, fork_unconfined: as in `export`; the code is run, and says what the network is.

    Returns:
        The inspection of a checkpoint or network. A bundle is read, and every hash is checked.

    Raises:
        CheckpointError: the file cannot be read at all.
        BundleError: the bundle is damaged or was changed.
        UsageError: the zoo has no such network.
        MissingExtraError: torch is needed and is not installed.
    """
    name = os.fspath(path)
    if not name.startswith(_ZOO) and is_bundle(Path(path)):
        return Bundle.read(path, verify=True)
    require("torch", "export")
    if name.startswith(_ZOO):
        return _inspect_zoo(name.removeprefix(_ZOO))
    from ghost_deploy.checkpoints.inspection import inspect_checkpoint

    found = inspect_checkpoint(path, modules=[Path(module) for module in modules])
    return found if fork is None else with_fork(found, path, ForkOption(fork, fork_unconfined))


def _inspect_zoo(name: str) -> Inspection:
    from ghost_deploy.checkpoints.inspection import Inspection
    from ghost_deploy.models.flops import gflops
    from ghost_deploy.models.zoo_yaml import build_zoo

    net = build_zoo(name, device="meta")
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

"""Describing a checkpoint without executing it, as far as possible.

Files with unknown classes or a hostile payload are described too: their records are inert. A
network is built only from a file without problems.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ghost_deploy.checkpoints.file_types import read_file
from ghost_deploy.checkpoints.inert_description import NETWORK, describe
from ghost_deploy.checkpoints.inspection_record import ClassUse, Inspection
from ghost_deploy.checkpoints.loading import LoadedCheckpoint, load_data
from ghost_deploy.checkpoints.norms.witness_images import WitnessImages
from ghost_deploy.checkpoints.refusal import advice_of, open_classes
from ghost_deploy.checkpoints.user_modules import UserModules, load_user_modules
from ghost_deploy.core.bundle import file_name
from ghost_deploy.core.errors import GhostDeployError
from ghost_deploy.models.registry import candidates


def inspect_checkpoint(
    path: str | os.PathLike[str],
    *,
    modules: Sequence[Path] = (),
    images: WitnessImages | None = None,
) -> Inspection:
    """Describe a checkpoint without executing any of it.

    Args:
        path: of the checkpoint.
        modules: Python files with further module definitions. They are executed.
        images: of the kind that it was trained on, see `load_checkpoint`.

    Raises:
        CheckpointError: not a checkpoint, or the archive or pickle is damaged.
        UsageError: a file of `modules` fails.
    """
    user = load_user_modules(modules)
    name, data = file_name(path), read_file(path)
    seen, tree = describe(name, data)
    seen = _defined(seen, user)
    if seen.problems:
        return seen
    try:
        return _with_network(seen, load_data(name, data, user, images=images))
    except GhostDeployError as error:
        return msgspec.structs.replace(
            seen,
            problems=(str(error),),
            open_classes=open_classes(tree, error),
            advice=advice_of(error, shlex.quote(os.fspath(path))),
        )


def _defined(seen: Inspection, user: UserModules) -> Inspection:
    """The description with the definitions that each class could have."""

    def defined(use: ClassUse) -> ClassUse:
        if use.definition == NETWORK:
            return use
        definition = " or ".join(kind.origin for kind in candidates(use.path, user.classes))
        return msgspec.structs.replace(use, known=bool(definition), definition=definition)

    return msgspec.structs.replace(seen, classes=tuple(map(defined, seen.classes)))


def _with_network(seen: Inspection, loaded: LoadedCheckpoint) -> Inspection:
    """The description, completed with the network."""
    spec, source, origins = loaded.spec, loaded.source, loaded.net.origins
    return msgspec.structs.replace(
        seen,
        family=spec.family,
        class_names=spec.class_names,
        size_hw=spec.input.size_hw,
        stride=spec.input.stride,
        strides=spec.head.strides,
        decoder=spec.head.decoder,
        parameters=spec.parameters,
        gflops=spec.gflops,
        trained_with=source.trained_with,
        trained_at=source.trained_at,
        metrics=source.metrics,
        training=source.training,
        classes=tuple(
            msgspec.structs.replace(use, definition=origins.get(use.path, use.definition))
            for use in seen.classes
        ),
        statistics=loaded.statistics,
        exportable=True,
        warnings=source.warnings,
    )

"""Describing a checkpoint without executing it, as far as possible.

Files with unknown classes or a hostile payload are described too: their records are inert. A
network is built only from a file without problems.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from ghost_deploy.checkpoints.allowed_calls import check_calls
from ghost_deploy.checkpoints.archive import Archive, open_archive
from ghost_deploy.checkpoints.checkpoint_info import CheckpointInfo
from ghost_deploy.checkpoints.file_types import ZIP_MAGIC, read_file, reject_foreign
from ghost_deploy.checkpoints.loading import LoadedCheckpoint, load_data
from ghost_deploy.checkpoints.native import is_native, read_native
from ghost_deploy.checkpoints.norms.witness_images import WitnessImages
from ghost_deploy.checkpoints.pickle_reader import read_pickle
from ghost_deploy.checkpoints.plain_values import PlainReader
from ghost_deploy.checkpoints.records import Pickle
from ghost_deploy.checkpoints.refusal import OpenClass, advice_of, open_classes
from ghost_deploy.checkpoints.tensors import TensorTable
from ghost_deploy.checkpoints.tree_reader import TreeReader
from ghost_deploy.checkpoints.ultralytics import (
    FoundNetwork,
    check_task,
    find_network,
    module_classes,
    read_info,
)
from ghost_deploy.checkpoints.user_modules import UserModules, load_user_modules
from ghost_deploy.core.bundle import file_name
from ghost_deploy.core.errors import GhostDeployError
from ghost_deploy.core.evidence.fork_report import ForkCode
from ghost_deploy.core.evidence.statistics_report import StatisticsReport
from ghost_deploy.models.registry import candidates
from ghost_deploy.models.tree import ModuleNode

T = TypeVar("T")


class ClassUse(msgspec.Struct, frozen=True, kw_only=True):
    """A module class of the file.

    Attributes:
        path: `module.Class` as named in the file.
        count: number of modules of the class; a shared module counts once.
        known: whether the class has a definition.
        definition: the definition used; if the network was not built, the possible ones.
    """

    path: str
    count: int
    known: bool
    definition: str = ""


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a checkpoint. Empty values are unknown.

    Attributes:
        file: name without folder. bytes: its size. sha256: of the file.
        format: `ultralytics`, or `ghost-deploy` for our own form.
        family, scale: e.g. `yolov8-ghost`, `n`.
        class_names: in the order of the class channels.
        size_hw: default input size in pixels, a multiple of `stride`.
        strides: of the levels of the head, pixels per cell.
        decoder: format of the output tensor, see `HeadSpec`.
        parameters: number of weights. gflops: 1e9 operations at `size_hw`.
        trained_with, trained_at, metrics, training: as recorded in the file.
        classes: the module classes, by path.
        names: all importable names in the file, used or not.
        warnings: for the user.
        statistics: whether the network computes what its batch norms recorded in training; None
            if it could not be built.
        exportable: whether the network could be built and checked.
        problems: why it cannot be exported.
        fork: the fork's own code, where it was named and executed: it can run the network.
        open_classes: the classes that stand in the way, with their parts.
        advice: the command that helps, if any.
    """

    file: str
    bytes: int
    sha256: str
    format: Literal["ultralytics", "ghost-deploy"]
    family: str = ""
    scale: str = ""
    class_names: tuple[str, ...] = ()
    size_hw: tuple[int, int] | None = None
    stride: int = 0
    strides: tuple[int, ...] = ()
    decoder: str = ""
    parameters: int = 0
    gflops: float = 0.0
    trained_with: str = ""
    trained_at: str = ""
    metrics: dict[str, float] = {}
    training: dict[str, str] = {}
    classes: tuple[ClassUse, ...] = ()
    names: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    statistics: StatisticsReport | None = None
    exportable: bool = False
    problems: tuple[str, ...] = ()
    fork: ForkCode | None = None
    open_classes: tuple[OpenClass, ...] = ()
    advice: str = ""


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
    if data.startswith(ZIP_MAGIC):
        archive = open_archive(name, data)
        seen, tree = _describe_records(archive, read_pickle(archive.pickle, name), len(data), user)
        if seen.problems:
            return seen
    elif is_native(data):
        seen, tree = _describe_native(name, data, user), None
    else:
        reject_foreign(name, data)
    try:
        return _with_network(seen, load_data(name, data, user, images=images))
    except GhostDeployError as error:
        return msgspec.structs.replace(
            seen,
            problems=(str(error),),
            open_classes=open_classes(tree, error),
            advice=advice_of(error, name),
        )


class _Attempts:
    """Runs the steps of a description and collects their errors."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def __call__(self, step: Callable[[], T]) -> T | None:
        try:
            return step()
        except GhostDeployError as error:
            self.problems.append(str(error))
            return None


def _describe_records(
    archive: Archive, pickle: Pickle, size: int, user: UserModules
) -> tuple[Inspection, ModuleNode | None]:
    """The description without a network, and the module tree if it can be read."""
    name, plain, attempt = archive.name, PlainReader(archive.name), _Attempts()
    facts: CheckpointInfo | None = None
    tree: ModuleNode | None = None
    attempt(lambda: check_calls(pickle.calls, name))
    found = attempt(lambda: find_network(pickle.root, name))
    if found is not None:
        before = len(attempt.problems)
        attempt(lambda: check_task(found, name))
        if len(attempt.problems) > before:  # what follows concerns detectors
            return _described(archive, pickle, size, user, found, None, None, attempt), None
        facts = attempt(lambda: read_info(found, name, plain))
        reader = TreeReader(name, TensorTable(archive), plain)
        tree = attempt(lambda: reader.read(found.record))
    return _described(archive, pickle, size, user, found, facts, tree, attempt), tree


def _described(
    archive: Archive,
    pickle: Pickle,
    size: int,
    user: UserModules,
    found: FoundNetwork | None,
    facts: CheckpointInfo | None,
    tree: ModuleNode | None,
    attempt: _Attempts,
) -> Inspection:
    """The description of what the steps found; see `_describe_records`."""
    facts = facts or CheckpointInfo(family="", class_names=())
    return Inspection(
        file=archive.name,
        bytes=size,
        sha256=archive.sha256,
        format="ultralytics",
        family=facts.family,
        scale=facts.scale,
        class_names=facts.class_names,
        size_hw=facts.image_size_hw,
        strides=_strides(tree) if tree is not None else (),
        parameters=_count(tree) if tree is not None else 0,
        trained_with=facts.trained_with,
        trained_at=facts.trained_at,
        metrics=dict(facts.metrics),
        classes=_classes(module_classes(found), found.record.target.path, user) if found else (),
        names=pickle.globals,
        warnings=facts.warnings,
        problems=tuple(dict.fromkeys(attempt.problems)),
    )


def _describe_native(name: str, data: bytes, user: UserModules) -> Inspection:
    native = read_native(name, data)
    nodes = Counter(node.class_path for _, node in native.tree.walk())
    return Inspection(
        file=name,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        format="ghost-deploy",
        family=native.spec.family,
        class_names=native.spec.class_names,
        size_hw=native.spec.input.size_hw,
        parameters=native.spec.parameters,
        classes=_classes(nodes, native.tree.class_path, user),
        warnings=native.source.warnings,
    )


def _classes(counts: Counter[str], root: str, user: UserModules) -> tuple[ClassUse, ...]:
    uses = []
    for path, count in sorted(counts.items()):
        fitting = () if path == root else candidates(path, user.classes)
        definition = " or ".join(kind.origin for kind in fitting) or "the network" * (path == root)
        uses.append(ClassUse(path=path, count=count, known=bool(definition), definition=definition))
    return tuple(uses)


def _count(tree: ModuleNode) -> int:
    """Number of weights; shared weights count once."""
    shapes = {info.key: info.shape for _, node in tree.walk() for info in node.parameters.values()}
    return sum(math.prod(shape) for shape in shapes.values())


def _strides(tree: ModuleNode) -> tuple[int, ...]:
    """The strides recorded in the last layer, or none."""
    layers = list(tree.children.get("model", tree).children.values())
    recorded = layers[-1].get("stride") if layers else None
    if not isinstance(recorded, list):
        return ()
    return tuple(int(stride) for stride in recorded if isinstance(stride, (int, float)))


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

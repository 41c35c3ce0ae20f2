"""What a checkpoint says of itself, by the inert reader alone: needs no torch.

Files with unknown classes or a hostile payload are described too: their records are inert.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from ghost_deploy.checkpoints.allowed_calls import check_calls
from ghost_deploy.checkpoints.archive import Archive, open_archive
from ghost_deploy.checkpoints.checkpoint_info import CheckpointInfo
from ghost_deploy.checkpoints.file_types import ZIP_MAGIC, reject_foreign
from ghost_deploy.checkpoints.inspection_record import ClassUse, Inspection
from ghost_deploy.checkpoints.native import describe_native, is_native
from ghost_deploy.checkpoints.pickle_reader import read_pickle
from ghost_deploy.checkpoints.plain_values import PlainReader
from ghost_deploy.checkpoints.records import Pickle
from ghost_deploy.checkpoints.tensors import TensorTable
from ghost_deploy.checkpoints.tree_reader import TreeReader
from ghost_deploy.checkpoints.ultralytics import (
    FoundNetwork,
    check_task,
    find_network,
    module_classes,
    read_info,
)
from ghost_deploy.core.errors import GhostDeployError
from ghost_deploy.models.tree import ModuleNode

T = TypeVar("T")

NETWORK = "the network"
"""What the class of the whole is, in place of a definition."""


def describe(name: str, data: bytes) -> tuple[Inspection, ModuleNode | None]:
    """The description of a file without a network, and the module tree if it can be read.

    Args:
        name: of the file, without folder.
        data: its content.

    Raises:
        CheckpointError: not a checkpoint, or the archive or pickle is damaged.
    """
    if is_native(data):
        return _describe_native(name, data), None
    if not data.startswith(ZIP_MAGIC):
        reject_foreign(name, data)
    archive = open_archive(name, data)
    return _describe_records(archive, read_pickle(archive.pickle, name), len(data))


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
    archive: Archive, pickle: Pickle, size: int
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
            return _described(archive, pickle, size, found, None, None, attempt), None
        facts = attempt(lambda: read_info(found, name, plain))
        reader = TreeReader(name, TensorTable(archive), plain)
        tree = attempt(lambda: reader.read(found.record))
    return _described(archive, pickle, size, found, facts, tree, attempt), tree


def _described(
    archive: Archive,
    pickle: Pickle,
    size: int,
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
        classes=_classes(module_classes(found), found.record.target.path) if found else (),
        names=pickle.globals,
        warnings=facts.warnings,
        problems=tuple(dict.fromkeys(attempt.problems)),
    )


def _describe_native(name: str, data: bytes) -> Inspection:
    native = describe_native(name, data)
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
        classes=_classes(nodes, native.tree.class_path),
        warnings=native.source.warnings,
    )


def _classes(counts: Counter[str], root: str) -> tuple[ClassUse, ...]:
    """The classes of the file; their definitions are looked up with the network."""
    return tuple(
        ClassUse(path=path, count=count, known=path == root, definition=NETWORK * (path == root))
        for path, count in sorted(counts.items())
    )


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

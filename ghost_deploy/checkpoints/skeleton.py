"""A network without its weights: the module tree with attributes and shapes, as JSON.

For requests and tests: what a definition needs to know of a checkpoint, and nothing private.
Weights, training arguments, class names of the data, paths and other texts that are no plain words
are left out. The numbers of channels and classes, and the names of modules and classes, remain.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from ghost_deploy.checkpoints.archive import open_archive
from ghost_deploy.checkpoints.file_types import ZIP_MAGIC, read_file, reject_foreign
from ghost_deploy.checkpoints.native import is_native, read_native
from ghost_deploy.checkpoints.pickle_reader import read_pickle
from ghost_deploy.checkpoints.plain_values import PlainReader
from ghost_deploy.checkpoints.tensors import TensorTable
from ghost_deploy.checkpoints.tree_reader import TreeReader
from ghost_deploy.checkpoints.ultralytics import find_network
from ghost_deploy.core.bundle import file_name
from ghost_deploy.core.errors import CheckpointError
from ghost_deploy.models.tree import Attribute, ModuleNode, TensorInfo

_SCHEMA = 1
# Short identifiers such as `nearest` or `attn`; a path, an address or a sentence is none.
_WORD = re.compile(r"[A-Za-z_][\w.+-]{0,79}")
_PRIVATE = frozenset({"names", "args", "yaml", "yaml_file", "pt_path", "ckpt_path", "hyp", "opt"})


class TensorShape(msgspec.Struct, frozen=True):
    """A tensor without its data; `shared` is the same number for one that several modules hold."""

    dtype: str
    shape: tuple[int, ...]
    shared: int


class SkeletonNode(msgspec.Struct, frozen=True, omit_defaults=True):
    """A module: `class` as named in the file, plain attributes, tensors and children by name."""

    kind: str = msgspec.field(name="class")
    attributes: dict[str, Any] = {}
    parameters: dict[str, TensorShape] = {}
    buffers: dict[str, TensorShape] = {}
    children: dict[str, SkeletonNode] = {}


class Skeleton(msgspec.Struct, frozen=True):
    """The document."""

    network: SkeletonNode
    schema: int = _SCHEMA


def read_skeleton(path: str | os.PathLike[str]) -> Skeleton:
    """Return the skeleton of a checkpoint, also of one that cannot be exported.

    Raises:
        CheckpointError: the file holds no module tree that can be read.
    """
    name, data = file_name(path), read_file(path)
    if data.startswith(ZIP_MAGIC):
        archive = open_archive(name, data)
        found = find_network(read_pickle(archive.pickle, name).root, name)
        tree = TreeReader(name, TensorTable(archive), PlainReader(name)).read(found.record)
        return skeleton_of(tree)
    if not is_native(data):
        reject_foreign(name, data)
    return skeleton_of(read_native(name, data).tree)


def skeleton_of(tree: ModuleNode) -> Skeleton:
    """Return the skeleton of a module tree."""
    return Skeleton(_node(tree, {}))


def encode_skeleton(skeleton: Skeleton) -> bytes:
    """Return the JSON document."""
    return msgspec.json.encode(skeleton) + b"\n"


def decode_skeleton(data: bytes) -> ModuleNode:
    """Return the module tree of a JSON document; the key of a tensor is its first place.

    Raises:
        CheckpointError: it is no skeleton.
    """
    try:
        skeleton = msgspec.json.decode(data, type=Skeleton)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise CheckpointError(
            "this is not a skeleton of a network",
            got=str(error),
            fix="Write one with: ghost-deploy inspect CHECKPOINT --skeleton FILE.json",
        ) from error
    if skeleton.schema != _SCHEMA:
        raise CheckpointError(
            "this skeleton is of another version",
            got=skeleton.schema,
            expected=_SCHEMA,
            fix="Write it again with this release",
        )
    return _tree(skeleton.network)


def _node(node: ModuleNode, numbers: dict[str, int]) -> SkeletonNode:
    return SkeletonNode(
        kind=node.class_path,
        attributes=dict(_public(node.attributes)),
        parameters=_shapes(node.parameters, numbers),
        buffers=_shapes(node.buffers, numbers),
        children={name: _node(child, numbers) for name, child in node.children.items()},
    )


def _shapes(infos: Any, numbers: dict[str, int]) -> dict[str, TensorShape]:
    return {
        name: TensorShape(info.dtype, info.shape, numbers.setdefault(info.key, len(numbers)))
        for name, info in infos.items()
    }


def _public(attributes: Any) -> Iterator[tuple[str, Attribute]]:
    for key, value in attributes.items():
        if key not in _PRIVATE and _is_public(value):
            yield key, value


def _is_public(value: Attribute) -> bool:
    """Whether an attribute holds numbers, switches and identifiers alone."""
    if isinstance(value, str):
        return _WORD.fullmatch(value) is not None
    if isinstance(value, list):
        return all(_is_public(item) for item in value)
    if isinstance(value, dict):
        return all(_is_public(key) and _is_public(item) for key, item in value.items())
    return True


def _tree(node: SkeletonNode) -> ModuleNode:
    return ModuleNode(
        class_path=node.kind,
        attributes=node.attributes,
        parameters=_infos(node.parameters),
        buffers=_infos(node.buffers),
        children={name: _tree(child) for name, child in node.children.items()},
    )


def _infos(shapes: dict[str, TensorShape]) -> dict[str, TensorInfo]:
    return {
        name: TensorInfo(str(each.shared), each.dtype, each.shape) for name, each in shapes.items()
    }

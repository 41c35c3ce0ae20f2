"""Our own checkpoint form: a safetensors file with the module tree and the spec in its header.

It contains no pickle. The metadata of the header is a single JSON text with the `ModelSpec`, the
`Source` and the module tree: safetensors writes several texts in random order, and equal networks
should give equal files.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from ghost_deploy.checkpoints.limits import MAX_DEPTH, MAX_JSON_BYTES, MAX_MODULES
from ghost_deploy.core.bundle import Source
from ghost_deploy.core.errors import CheckpointError, CorruptCheckpointError
from ghost_deploy.core.files import write_whole
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.models.tree import ModuleNode, TensorInfo

if TYPE_CHECKING:
    from torch import Tensor

    from ghost_deploy.models.network import DetectionNet

_KEY = "ghost_deploy.checkpoint"
_SCHEMA = 1
_AGAIN = "Copy the file again, or convert the original checkpoint again"


# What msgspec raises: its own errors, and errors of text that is not UTF-8 or nested too deeply.
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class _Node(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A `ModuleNode` as JSON; tensors by key, as their shapes and types are in the file."""

    class_path: str
    attributes: dict[str, Any] = {}
    parameters: dict[str, str] = {}
    buffers: dict[str, str] = {}
    children: dict[str, _Node] = {}


class _Document(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The content of the file except the tensors."""

    schema: int
    spec: ModelSpec
    source: Source
    tree: _Node

    def __post_init__(self) -> None:
        if self.schema != _SCHEMA:
            raise ValueError(f"this version reads checkpoint schema {_SCHEMA}, got {self.schema}")


class _Stored(msgspec.Struct):
    """A tensor in the header of a safetensors file."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


class NativeCheckpoint(msgspec.Struct, frozen=True):
    """The content of a file of our own form."""

    tree: ModuleNode
    tensors: dict[str, Any]
    spec: ModelSpec
    source: Source


def is_native(data: bytes) -> bool:
    """Whether a safetensors file is one of ours."""
    with contextlib.suppress(*_UNREADABLE):
        return _KEY in _metadata(data)
    return False


def save_native(
    path: str | os.PathLike[str],
    net: DetectionNet,
    spec: ModelSpec,
    source: Source,
    dtype: Literal["float16", "float32"] = "float32",
) -> None:
    """Write a network in our own form, atomically.

    Args:
        path: of the file to write; an existing file is replaced.
        net: the network.
        spec: its description.
        source: the origin of its weights.
        dtype: of the floating point tensors in the file. float16 is lossless for weights of a
            float16 checkpoint.

    Raises:
        CheckpointError: a weight exceeds float16.
        ExportError: the file cannot be written.
        StructureError: a user-defined module has an attribute that is not plain data.
    """
    import torch
    from safetensors.torch import save

    from ghost_deploy.models.tree_writer import to_node

    tree, tensors = to_node(net)
    stored = {
        key: tensor.to(getattr(torch, dtype)) if tensor.is_floating_point() else tensor
        for key, tensor in tensors.items()
    }
    for key, tensor in stored.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{key} does not fit {dtype}", fix="Save it as float32 instead")
    document = _Document(schema=_SCHEMA, spec=spec, source=source, tree=_to_json(tree))
    metadata = {_KEY: msgspec.json.encode(document).decode()}
    contiguous = {key: tensor.contiguous() for key, tensor in stored.items()}
    write_whole(Path(path), lambda file: file.write(save(contiguous, metadata)))


def read_native(name: str, data: bytes) -> NativeCheckpoint:
    """Read a file of our own form.

    Args:
        name: of the file, for error messages.
        data: its content.

    Raises:
        CorruptCheckpointError: damaged, or a safetensors file of another program.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        document = _document(name, data)
        tensors = load(data)
        tree = _Reader(name, tensors).tree(document.tree)
    except (*_UNREADABLE, SafetensorError, KeyError) as error:
        raise CorruptCheckpointError(
            f"{name} is damaged, or from another version", got=f"{error!s:.200}", fix=_AGAIN
        ) from error
    return NativeCheckpoint(tree=tree, tensors=tensors, spec=document.spec, source=document.source)


def describe_native(name: str, data: bytes) -> NativeCheckpoint:
    """What `read_native` reads, without the tensors and without torch: from the header alone.

    Args:
        name, data: as in `read_native`.

    Raises:
        CorruptCheckpointError: as `read_native`.
    """
    try:
        document = _document(name, data)
        size = int.from_bytes(data[:8], "little")
        header = msgspec.json.decode(data[8 : 8 + size], type=dict[str, msgspec.Raw])
        header.pop("__metadata__", None)
        stored = {key: msgspec.json.decode(raw, type=_Stored) for key, raw in header.items()}
        tree = _Reader(name, stored).tree(document.tree)
    except _UNREADABLE as error:
        raise CorruptCheckpointError(
            f"{name} is damaged, or from another version", got=f"{error!s:.200}", fix=_AGAIN
        ) from error
    if max((each.data_offsets[1] for each in stored.values()), default=0) != len(data) - 8 - size:
        raise CorruptCheckpointError(f"{name} is damaged: it has another length", fix=_AGAIN)
    return NativeCheckpoint(tree=tree, tensors={}, spec=document.spec, source=document.source)


def _document(name: str, data: bytes) -> _Document:
    metadata = _metadata(data)
    if _KEY not in metadata:
        raise CorruptCheckpointError(
            f"{name} has weights but not the network they belong to",
            expected="a safetensors file that ghost-deploy wrote",
            fix="Give the .pt file of the training",
        )
    return msgspec.json.decode(metadata[_KEY], type=_Document)


def _metadata(data: bytes) -> dict[str, str]:
    size = min(int.from_bytes(data[:8], "little"), MAX_JSON_BYTES)

    class Header(msgspec.Struct):
        metadata: dict[str, str] = msgspec.field(name="__metadata__", default={})

    return msgspec.json.decode(data[8 : 8 + size], type=Header).metadata


def _to_json(node: ModuleNode) -> _Node:
    return _Node(
        class_path=node.class_path,
        attributes=dict(node.attributes),
        parameters={name: info.key for name, info in node.parameters.items()},
        buffers={name: info.key for name, info in node.buffers.items()},
        children={name: _to_json(child) for name, child in node.children.items()},
    )


class _Reader:
    """Rebuilds the tree and requires that it matches the tensors."""

    def __init__(self, name: str, tensors: Mapping[str, Tensor | _Stored]) -> None:
        self._name = name
        self._tensors = tensors
        self._used: set[str] = set()
        self._modules = 0

    def tree(self, root: _Node) -> ModuleNode:
        """The tree of `root`, in which all tensors occur."""
        node = self._node(root, 0)
        if spare := sorted(set(self._tensors) - self._used):
            raise self._wrong(f"tensor {spare[0]!r} belongs to no module")
        return node

    def _node(self, node: _Node, depth: int) -> ModuleNode:
        self._modules += 1
        if depth > MAX_DEPTH or self._modules > MAX_MODULES:
            raise self._wrong("too many modules, or nested too deeply")
        return ModuleNode(
            class_path=node.class_path,
            attributes=node.attributes,
            parameters={name: self._info(key) for name, key in node.parameters.items()},
            buffers={name: self._info(key) for name, key in node.buffers.items()},
            children={name: self._node(child, depth + 1) for name, child in node.children.items()},
        )

    def _info(self, key: str) -> TensorInfo:
        tensor = self._tensors.get(key)
        if tensor is None:
            raise self._wrong(f"tensor {key!r:.80} is missing")
        self._used.add(key)
        return TensorInfo(key, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))

    def _wrong(self, what: str) -> CorruptCheckpointError:
        return CorruptCheckpointError(f"{self._name} is damaged", got=what, fix=_AGAIN)

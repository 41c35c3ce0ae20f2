"""From the record of a pickled `nn.Module` to a `ModuleNode` of plain data.

An `nn.Module` is pickled as its `__dict__`, which may hold anything. Parameters, buffers, children
and plain attributes are read. Code (hooks, a replaced `forward`, bound methods) is refused. A
function that an attribute refers to, such as the gate of an attention block, is read as its name
and not imported.
"""

from __future__ import annotations

from typing import Any

from ghost_deploy.checkpoints.allowed_calls import names_function
from ghost_deploy.checkpoints.limits import (
    MAX_ATTRIBUTE_TENSOR,
    MAX_DEPTH,
    MAX_ENTRIES,
    MAX_MODULES,
    MAX_NAME,
)
from ghost_deploy.checkpoints.pickle_vm import exceeds
from ghost_deploy.checkpoints.plain_values import NotPlainError, PlainReader
from ghost_deploy.checkpoints.records import Call, GlobalRef, describe, pairs_of
from ghost_deploy.checkpoints.tensors import TensorTable, is_tensor
from ghost_deploy.core.errors import StructureError, UnsafeCheckpointError
from ghost_deploy.models.fields import FUNCTION
from ghost_deploy.models.tree import Attribute, ModuleNode, TensorInfo

_PARTS = ("_parameters", "_buffers", "_modules")
# Caches: recomputed by the head for each input size, or left by a re-parameterization.
_CACHES = frozenset({"anchor_grid", "anchors", "grid", "id_tensor", "strides"})
# Attributes of the whole network that are not part of it: training arguments with paths of the
# training machine, the loss, and what `ultralytics` reads.
_NOT_NETWORK = frozenset(
    {
        "args", "class_weights", "ckpt_path", "criterion", "gr", "hyp", "names", "opt", "pt_path",
        "task", "yaml",
    }
)  # fmt: skip


def is_module(value: Any) -> bool:
    """Whether a record has the form of a pickled `nn.Module`."""
    return (
        isinstance(value, Call)
        and value.kind == "new"
        and isinstance(value.state, dict)
        and all(part in value.state for part in _PARTS)
    )


def state_of(record: Call) -> dict[Any, Any]:
    """The pickled `__dict__` of a module."""
    return record.state if isinstance(record.state, dict) else {}


class TreeReader:
    """Reads the modules of one file.

    Args:
        where: the file name, for error messages.
        tensors: receives the tensors.
        plain: reads plain values, within its budget.
    """

    def __init__(self, where: str, tensors: TensorTable, plain: PlainReader) -> None:
        self._where = where
        self._tensors = tensors
        self._plain = plain
        self._entries = MAX_ENTRIES
        self._open: set[int] = set()
        # By identity of the record: modules may be shared, e.g. activations in Ultralytics.
        self._done: dict[int, tuple[ModuleNode, int]] = {}

    def read(self, record: Call) -> ModuleNode:
        """Return the tree of a whole network.

        Raises:
            StructureError: an unexpected value.
            UnsafeCheckpointError: it contains code or itself, or exceeds a limit.
            CorruptCheckpointError: a tensor does not match its data.
        """
        node, _ = self._node(record, "")
        return node

    def _node(self, record: Any, name: str) -> tuple[ModuleNode, int]:
        """The node and the number of its modules, itself included."""
        if id(record) in self._done:
            return self._done[id(record)]
        if not is_module(record):
            raise StructureError(
                f"{self._where}: {name or 'the network'} is not a module",
                got=describe(record),
                expected="a pickled torch.nn.Module",
                fix="The file is damaged, or not a detector",
            )
        if id(record) in self._open or name.count(".") > MAX_DEPTH:
            raise exceeds(self._where, f"module {name[:80]} within itself", "a tree of modules")
        self._open.add(id(record))
        children, size = self._children(record, name)
        node = ModuleNode(
            class_path=record.target.path,
            attributes=self._attributes(record, name, children),
            parameters=self._tensor_part(record, "_parameters", name),
            buffers=self._tensor_part(record, "_buffers", name),
            children=children,
        )
        self._open.remove(id(record))
        self._done[id(record)] = (node, size)
        return node, size

    def _children(self, record: Call, name: str) -> tuple[dict[str, ModuleNode], int]:
        children, size = {}, 1
        for key, value in self._part(record, "_modules", name):
            if value is None:
                continue
            children[key], below = self._node(value, _join(name, key))
            size += below
            if size > MAX_MODULES:
                raise exceeds(self._where, "more modules", f"at most {MAX_MODULES}")
        return children, size

    def _tensor_part(self, record: Call, part: str, name: str) -> dict[str, TensorInfo]:
        return {
            key: self._tensors.add(value, _join(name, key))
            for key, value in self._part(record, part, name)
            if value is not None
        }

    def _part(self, record: Call, part: str, name: str) -> list[tuple[str, Any]]:
        """Names and values of one of the three dictionaries of a module."""
        pairs = pairs_of(state_of(record)[part])
        self._spend(len(pairs or ()))
        if pairs is None or not all(_is_name(key) and "." not in key for key, _ in pairs):
            raise StructureError(
                f"{self._where}: {part} of {name or 'the network'} is unusable",
                got=describe(state_of(record)[part]),
                expected="a dictionary with names as keys",
                fix="The file is damaged, or not a detector",
            )
        return list(dict(pairs).items())

    def _attributes(
        self, record: Call, name: str, children: dict[str, ModuleNode]
    ) -> dict[str, Attribute]:
        self._spend(len(state_of(record)))
        attributes: dict[str, Attribute] = {}
        taken = {key for part in _PARTS for key, _ in self._part(record, part, name)}
        for key, value in state_of(record).items():
            where = _join(name, str(key))
            if not _is_name(key) or key in taken:
                raise self._code(where, "hides a part of the same name")
            if key in _PARTS:
                continue
            if key == "forward":
                self._check_forward(record, value, where, children)
            elif key.startswith("_"):
                self._check_private(key, value, where)
            elif not (key in _CACHES and _is_cache(value)) and (name or key not in _NOT_NETWORK):
                attributes[key] = self._attribute(value, where)
        return attributes

    def _attribute(self, value: Any, where: str) -> Attribute:
        if is_tensor(value):
            flat = self._tensors.values_of(value, where, MAX_ATTRIBUTE_TENSOR)
            if flat is None:
                raise StructureError(
                    f"{self._where}: attribute {where} is a large tensor",
                    expected="large tensors as parameters or buffers",
                    fix="Register it as a buffer in its class, and save the model again",
                )
            return self._attribute(flat, where)
        if isinstance(value, GlobalRef) and names_function(value):
            return {FUNCTION: value.path}
        try:
            return self._plain.read(value)
        except NotPlainError as error:
            raise self._code(where, f"holds {error}") from error

    def _check_private(self, key: str, value: Any, where: str) -> None:
        """torch's private attributes must not contain code; others are checked and not kept."""
        if "hook" in key or key == "_compiled_call_impl":
            empty = value is None or isinstance(value, (bool, int)) or pairs_of(value) == []
            if not empty:
                raise self._code(where, "would run code with the model")
            return
        if isinstance(value, GlobalRef):
            raise self._code(where, f"holds {describe(value)}")
        self._attribute(value, where)

    def _check_forward(
        self, record: Call, value: Any, where: str, children: dict[str, ModuleNode]
    ) -> None:
        """`forward` may only be the module's own `forward_fuse`, as set by fusing."""
        is_fused = (
            isinstance(value, Call)
            and value.target.path == "builtins.getattr"
            and len(value.args) == 2
            and value.args[0] is record
            and value.args[1] == "forward_fuse"
        )
        if not is_fused or "bn" in children:
            raise self._code(where, "replaces the computation of its class")

    def _spend(self, entries: int) -> None:
        """Count visited entries: modules may share a large dictionary."""
        self._entries -= entries
        if self._entries < 0:
            raise exceeds(self._where, "more attributes", f"at most {MAX_ENTRIES}")

    def _code(self, where: str, what: str) -> UnsafeCheckpointError:
        return UnsafeCheckpointError(
            f"{self._where}: {where[:200]} {what}; it was not run",
            fix="Save the model again without it: the plain weights file of the training, "
            "best.pt, has no such thing",
        )


def _is_cache(value: Any) -> bool:
    """Whether it is nothing, a tensor, or one for each level."""
    items = value if isinstance(value, list) else [value]
    return all(item is None or is_tensor(item) for item in items)


def _is_name(key: Any) -> bool:
    return isinstance(key, str) and 0 < len(key) <= MAX_NAME and key.isprintable()


def _join(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key

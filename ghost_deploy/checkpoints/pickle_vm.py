"""The virtual machine of the pickle reader: its state, and the operations of the opcodes."""

from __future__ import annotations

import struct
from typing import Any, Literal

from ghost_deploy.checkpoints.limits import MAX_NAME
from ghost_deploy.checkpoints.records import Call, GlobalRef, describe
from ghost_deploy.core.errors import CorruptCheckpointError, UnsafeCheckpointError

# Protocol 2 writes these modules under their names in Python 2.
_PYTHON2_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}
# Larger keys could be chosen to have one hash, which makes a dictionary quadratic.
_MAX_KEY = 1 << 60


class PickleVM:
    """The state while reading one pickle."""

    __slots__ = ("calls", "data", "globals", "marks", "memo", "pos", "stack", "where")

    def __init__(self, data: bytes, where: str) -> None:
        self.data = data
        self.where = where
        self.pos = 0
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.calls: list[Call] = []
        self.globals: dict[str, GlobalRef] = {}

    def corrupt(self, why: str) -> CorruptCheckpointError:
        """Return the error for a damaged pickle."""
        return CorruptCheckpointError(
            f"{self.where} is damaged: in data.pkl near byte {self.pos}, {why}",
            fix="Copy or download the file again",
        )

    def unsafe(self, what: str) -> UnsafeCheckpointError:
        """Return the error for a pickle with an operation that no checkpoint needs."""
        return UnsafeCheckpointError(
            f"{self.where} {what}; nothing of it was run",
            fix="Do not open this file with other tools; get it again from a source you trust",
        )

    def take(self, count: int) -> bytes:
        """Read `count` bytes."""
        piece = self.data[self.pos : self.pos + count]
        if len(piece) != count:
            raise IndexError(count)
        self.pos += count
        return piece

    def number(self, form: struct.Struct) -> Any:
        """Read a number of the format `form`."""
        value = form.unpack_from(self.data, self.pos)[0]
        self.pos += form.size
        return value

    def pop_mark(self) -> list[Any]:
        """Pop all items since the last mark."""
        items = self.stack
        self.stack = self.marks.pop()
        return items

    def set_pairs(self, target: Any, flat: list[Any]) -> None:
        """Set alternating keys and values on a dict, or record them in a call."""
        pairs = list(zip(flat[::2], flat[1::2], strict=False))
        if len(flat) % 2:
            raise self.corrupt("a dictionary lacks a value")
        for key, _ in pairs:
            if not _is_plain_key(key):
                raise self.unsafe(f"has {describe(key)} as the key of a dictionary")
        if type(target) is dict:
            target.update(pairs)
        elif type(target) is Call:
            target.pairs.extend(pairs)
        else:
            raise self.corrupt("it sets a key on something that has none")

    def add_items(self, target: Any, items: list[Any]) -> None:
        """Append items to a list, or record them in a call."""
        if type(target) is list:
            target.extend(items)
        elif type(target) is Call:
            target.items.extend(items)
        else:
            raise self.corrupt("it appends to something that is no list")

    def push_global(self, module: Any, name: Any) -> None:
        """Push a name; equal names are the same object."""
        if not (isinstance(module, str) and isinstance(name, str)):
            raise self.corrupt("a class name is not text")
        module = _PYTHON2_MODULES.get(module, module)
        path = f"{module}.{name}"
        if len(path) > MAX_NAME or not path.isprintable() or not module or not name:
            raise self.corrupt("a class name is unreadable")
        self.stack.append(self.globals.setdefault(path, GlobalRef(module, name)))

    def push_call(self, kind: Literal["reduce", "new"], target: Any, args: Any) -> None:
        """Push the record of a call.

        Args:
            kind: see `Call.kind`.
            target: the callable, a `GlobalRef` in a valid pickle.
            args: positional arguments, a tuple in a valid pickle.
        """
        if not isinstance(target, GlobalRef):
            raise self.unsafe(f"asks to call {describe(target)}")
        if type(args) is not tuple:
            raise self.corrupt(f"the arguments of {target.path} are {describe(args)}")
        call = Call(kind, target, args)
        self.calls.append(call)
        self.stack.append(call)


def _is_plain_key(key: Any) -> bool:
    if isinstance(key, int):
        return -_MAX_KEY < key < _MAX_KEY
    return key is None or isinstance(key, str)


def exceeds(where: str, got: str, expected: str) -> UnsafeCheckpointError:
    """Return the error for a file whose content exceeds a limit.

    Args:
        where: the file name.
        got, expected: the content, and the limit.
    """
    return UnsafeCheckpointError(
        f"{where} exceeds a limit of checkpoints",
        got=got,
        expected=expected,
        fix="No detector needs that: get the file again from a source you trust",
    )

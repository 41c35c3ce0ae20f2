"""Tensor records, checked against the stored bytes; data is read on request."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ghost_deploy.checkpoints.archive import Archive
from ghost_deploy.checkpoints.limits import MAX_DIMENSIONS
from ghost_deploy.checkpoints.records import Call, GlobalRef, PersistentId, describe, pairs_of
from ghost_deploy.core.errors import CorruptCheckpointError, UnsafeCheckpointError
from ghost_deploy.models.tree import TensorInfo

if TYPE_CHECKING:
    import torch

# torch's typed storages: name of the dtype and bytes per element.
_STORAGES = {
    "torch.BFloat16Storage": ("bfloat16", 2),
    "torch.BoolStorage": ("bool", 1),
    "torch.ByteStorage": ("uint8", 1),
    "torch.CharStorage": ("int8", 1),
    "torch.DoubleStorage": ("float64", 8),
    "torch.FloatStorage": ("float32", 4),
    "torch.HalfStorage": ("float16", 2),
    "torch.IntStorage": ("int32", 4),
    "torch.LongStorage": ("int64", 8),
    "torch.ShortStorage": ("int16", 2),
}
_PARAMETERS = (
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
)
_TENSOR = "torch._utils._rebuild_tensor_v2"


def is_tensor(value: Any) -> bool:
    """Whether a record is a tensor or a parameter."""
    return isinstance(value, Call) and value.target.path in (_TENSOR, *_PARAMETERS)


@dataclass(frozen=True)
class _View:
    """The position of a tensor in its storage; `offset` and `stride` in elements."""

    storage: str
    dtype: str
    item_bytes: int
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


class TensorTable(Mapping[str, "torch.Tensor"]):
    """The tensors of a network, by key; data is read on access.

    Args:
        archive: contains the storages.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._views: dict[str, _View] = {}
        self._keys: dict[_View, str] = {}
        self._left = sum(view.nbytes for view in archive.storages.values())

    def add(self, record: Any, name: str) -> TensorInfo:
        """Check a tensor or parameter record and assign a key; equal views share their key.

        Args:
            record: of the pickle reader.
            name: dotted name in the network; the key of the first view.

        Raises:
            CorruptCheckpointError: the record is inconsistent, or does not match the bytes.
            UnsafeCheckpointError: it requires code, or overlapping views need more bytes than
                the file has.
        """
        view = self._view(_unwrap(record, name), name)
        key = self._keys.setdefault(view, name)
        if key == name:
            self._views[key] = view
            self._left -= view.elements * view.item_bytes
            if self._left < 0:
                raise UnsafeCheckpointError(
                    f"the tensors up to {name} need more bytes than the file has",
                    fix="They overlap, which no training writes: get the file again from a source "
                    "you trust",
                )
        return TensorInfo(key=key, dtype=view.dtype, shape=view.shape)

    def values_of(self, record: Any, name: str, limit: int) -> list[float] | None:
        """Return the elements of a tensor that is not a weight, flat.

        Args:
            record: of the pickle reader.
            name: dotted name, for error messages.
            limit: maximum number of elements; None is returned for a larger tensor.

        Raises:
            CorruptCheckpointError, UnsafeCheckpointError: see `add`.
        """
        view = self._view(_unwrap(record, name), name)
        if view.elements > limit:
            return None
        if view.elements == 0:
            return []
        # By NumPy: a description of the file needs no torch.
        dtype = np.dtype("uint16" if view.dtype == "bfloat16" else view.dtype)
        flat = np.frombuffer(self._piece(view), dtype.newbyteorder("<"))
        if view.dtype == "bfloat16":
            flat = (flat.astype(np.uint32) << 16).view(np.float32)
        steps = [step * flat.itemsize for step in view.stride]
        values = np.lib.stride_tricks.as_strided(flat, view.shape, steps).ravel()
        return [float(value) for value in values.tolist()]

    def __getitem__(self, key: str) -> torch.Tensor:
        return self._read(self._views[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def _view(self, record: Call, name: str) -> _View:
        if len(record.args) not in (6, 7) or any(record.args[6:]):
            raise _corrupt(name, "is recorded in an unknown way")
        storage, offset, shape, stride, _, hooks = record.args[:6]
        if pairs_of(hooks) != []:
            raise UnsafeCheckpointError(
                f"{name} carries hooks, code that would run with it",
                fix="Save the model again without hooks",
            )
        key, dtype, item_bytes, count = self._storage(storage, name)
        view = _View(key, dtype, item_bytes, offset, _sizes(shape, name), _sizes(stride, name))
        if type(offset) is not int or offset < 0 or offset + view.elements > count:
            raise _corrupt(name, f"does not fit its storage of {count} elements")
        if not _is_dense(view.shape, view.stride):
            raise _corrupt(name, f"has strides {view.stride} that do not fit shape {view.shape}")
        return view

    def _storage(self, record: Any, name: str) -> tuple[str, str, int, int]:
        """Key, dtype, bytes per element and number of elements of a storage."""
        value = record.value if isinstance(record, PersistentId) else None
        if not isinstance(value, tuple) or len(value) != 5 or value[0] != "storage":
            raise _corrupt(name, "has no storage")
        _, kind, key, _, count = value
        if not isinstance(kind, GlobalRef) or kind.path not in _STORAGES:
            raise _corrupt(name, f"has the storage type {describe(kind)}, which is not supported")
        dtype, item_bytes = _STORAGES[kind.path]
        present = self._archive.storages.get(key) if isinstance(key, str) else None
        if present is None:
            raise _corrupt(name, f"has its data in member data/{describe(key)}, which is missing")
        if type(count) is not int or count * item_bytes != present.nbytes:
            raise _corrupt(
                name, f"declares {describe(count)} elements of {dtype} over {present.nbytes} bytes"
            )
        return key, dtype, item_bytes, count

    def _read(self, view: _View) -> torch.Tensor:
        import torch

        if view.elements == 0:
            return torch.empty(view.shape, dtype=getattr(torch, view.dtype))
        # A bytearray, because torch requires writable memory.
        flat = torch.frombuffer(bytearray(self._piece(view)), dtype=getattr(torch, view.dtype))
        return flat.as_strided(view.shape, view.stride).contiguous()

    def _piece(self, view: _View) -> memoryview:
        start = view.offset * view.item_bytes
        end = start + view.elements * view.item_bytes
        return self._archive.storages[view.storage][start:end]


def _unwrap(record: Any, name: str) -> Call:
    """The tensor record inside a parameter record."""
    if not isinstance(record, Call):
        raise _corrupt(name, f"is {describe(record)}, not a tensor")
    if record.target.path in _PARAMETERS:
        with_state = len(record.args) == 4 and record.args[3]
        if len(record.args) not in (3, 4) or with_state or pairs_of(record.args[2]) != []:
            raise UnsafeCheckpointError(
                f"{name} is a parameter with hooks or attributes of its own",
                fix="Save the model again without them",
            )
        record = record.args[0]
    if not isinstance(record, Call) or record.target.path != _TENSOR or record.state is not None:
        raise _corrupt(name, f"is {describe(record)}, not a tensor of a known kind")
    return record


def _sizes(value: Any, name: str) -> tuple[int, ...]:
    if isinstance(value, Call) and value.target.path == "torch.Size" and value.args:
        value = value.args[0]
    is_size = isinstance(value, (tuple, list)) and all(
        type(side) is int and 0 <= side < 1 << 40 for side in value
    )
    if not is_size or len(value) > MAX_DIMENSIONS:
        raise _corrupt(name, "has a shape or strides that are no sizes")
    return tuple(value)


def _is_dense(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Whether the elements are contiguous, without overlap, in any order of the axes."""
    if len(shape) != len(stride):
        return False
    expected = 1
    for step, side in sorted(zip(stride, shape, strict=True)):
        if side > 1:
            if step != expected:
                return False
            expected *= side
    return True


def _corrupt(name: str, why: str) -> CorruptCheckpointError:
    return CorruptCheckpointError(
        f"the tensor {name} {why}", fix="The checkpoint is damaged or not from torch: use another"
    )

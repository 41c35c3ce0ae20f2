"""Records of plain data: sizes, sets, ordered dicts, namespaces, numbers.

Depth and number of values are limited, with shared parts expanded: a few kilobytes of lists of the
same list could expand to more than the memory. A container is counted before it is copied, and a
text counts by its length, since a long text may be shared as well.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable
from typing import Any

from ghost_deploy.checkpoints.allowed_calls import is_namespace
from ghost_deploy.checkpoints.limits import MAX_DEPTH, MAX_VALUES
from ghost_deploy.checkpoints.pickle_vm import exceeds
from ghost_deploy.checkpoints.records import Call, GlobalRef, describe, pairs_of
from ghost_deploy.models.tree import Attribute

_DTYPE = re.compile(r"(b?float|u?int|complex|q?u?int|bits)\d+\w*|bool|half|double|long|short")
_TEXT_OF_A_VALUE = 64  # characters of a text that count as one value
_LISTS = ("builtins.set", "builtins.frozenset", "collections.deque", "torch.Size")
_NUMPY_FORMS = {
    **{f"f{size}": form for size, form in ((2, "<e"), (4, "<f"), (8, "<d"))},
    **{f"i{size}": form for size, form in ((1, "<b"), (2, "<h"), (4, "<i"), (8, "<q"))},
    **{f"u{size}": form for size, form in ((1, "<B"), (2, "<H"), (4, "<I"), (8, "<Q"))},
    "b1": "<?",
}


class NotPlainError(ValueError):
    """A value is not plain data; the text describes it. Callers convert it to an error of ours."""


class PlainReader:
    """Converts values of a pickle to plain data, within one budget for the whole file.

    Args:
        where: the file name, for error messages.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._left = MAX_VALUES

    def read(self, value: Any, depth: int = 0) -> Attribute:
        """Convert `value` to plain data; paths lose their folders.

        Raises:
            NotPlainError: it is not plain data.
            UnsafeCheckpointError: it is nested too deeply, too large or contains itself.
        """
        if depth > MAX_DEPTH:
            raise exceeds(self._where, "deeper nesting", f"at most {MAX_DEPTH} levels")
        self._spend(_size(value))
        if isinstance(value, (list, tuple)):
            return [self.read(item, depth + 1) for item in value]
        if isinstance(value, dict):
            return self._dict(value.items(), depth)
        if isinstance(value, Call):
            self._spend(len(value.items) + len(value.pairs) + sum(map(_size, value.args)))
            return self._call(value, depth)
        return _scalar(value)

    def _spend(self, values: int) -> None:
        self._left -= values
        if self._left < 0:
            raise exceeds(self._where, "more values", f"at most {MAX_VALUES}")

    def _call(self, call: Call, depth: int) -> Attribute:
        path = call.target.path
        if path in _LISTS:
            items = call.args[0] if call.args else []
            return self.read([*_sequence(items), *call.items], depth + 1)
        if (pairs := pairs_of(call)) is not None or path == "collections.defaultdict":
            return self._dict(pairs if pairs is not None else call.pairs, depth)
        if is_namespace(call):
            return self.read(call.state if isinstance(call.state, dict) else {}, depth + 1)
        if call.target.module.partition(".")[0] == "pathlib":
            return base_name(next((part for part in call.args[-1:] if isinstance(part, str)), ""))
        if path == "torch.device":
            return ":".join(str(part) for part in call.args if isinstance(part, (str, int)))
        if path.endswith(".multiarray.scalar"):
            return _numpy_number(call)
        raise NotPlainError(describe(call))

    def _dict(self, pairs: Iterable[tuple[Any, Any]], depth: int) -> Attribute:
        return {str(key): self.read(value, depth + 1) for key, value in pairs}


def base_name(text: str) -> str:
    """Return the text, or its last part if it is an absolute path."""
    is_path = text[:1] in ("/", "~", "\\") or (text[1:3] in (":\\", ":/") and text[0].isalpha())
    return text.replace("\\", "/").rstrip("/").rpartition("/")[2] if is_path else text


def _scalar(value: Any) -> Attribute:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return base_name(value)
    if isinstance(value, float):
        return _finite(value)
    if isinstance(value, GlobalRef) and value.module == "torch" and _DTYPE.fullmatch(value.name):
        return value.path
    raise NotPlainError(describe(value))


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise NotPlainError(f"the number {value}")
    return value


def _size(value: Any) -> int:
    """The cost of a value before it is converted: its parts, in plain values."""
    if isinstance(value, str):
        return len(value) // _TEXT_OF_A_VALUE
    return len(value) if isinstance(value, (list, tuple, dict)) else 0


def _sequence(value: Any) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise NotPlainError(describe(value))
    return list(value)


def _numpy_number(call: Call) -> Attribute:
    """A numpy scalar: a dtype record and the raw bytes, which protocol 2 writes as latin-1 text."""
    try:
        dtype, raw = call.args
        # Truncated, because a text may be long and no number has more than 8 bytes.
        kind = dtype.args[0][:8].lstrip("<|")
        if isinstance(raw, Call) and raw.target.path == "_codecs.encode":
            raw = raw.args[0][:16].encode("latin-1")
        (value,) = struct.unpack(_NUMPY_FORMS[kind], raw)
    # Raised by any record that is not as numpy writes it.
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        raise NotPlainError("a numpy value of an unknown form") from error
    return _finite(value) if isinstance(value, float) else value

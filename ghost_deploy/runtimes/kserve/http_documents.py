"""The JSON documents of the KServe protocol over HTTP, which a server may get wrong in any way."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.runtimes.base import TensorSpec
from ghost_deploy.runtimes.kserve.protocol import (
    NUMPY_OF,
    NoAnswerError,
    array_of,
    broken_answer,
    shaped,
    tensor_spec,
)

_TAGS = re.compile(r"(?is)<(style|script|title)\b.*?</\1\s*>|<[^>]*>")
_LONGEST_PAGE = 1 << 14
"""Bytes of a page that are searched for text."""
_MISUNDERSTOOD = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    RecursionError,
)
"""What reading a document raises that is another one than the protocol's, whatever it holds."""


@contextlib.contextmanager
def understood(where: str) -> Iterator[None]:
    """Turn what a document of another form raises into the error for it.

    Raises:
        BackendError: the document is none of the protocol.
    """
    try:
        yield
    except _MISUNDERSTOOD as error:
        raise broken_answer(where, f"{type(error).__name__}: {error}"[:200]) from error


def versions_of(items: Any) -> tuple[str, ...]:
    """The versions in the description of a model."""
    if not isinstance(items, list):
        raise TypeError(f"versions: {items!r}")
    return tuple(map(str, items))


def tensors_of(items: Any) -> tuple[TensorSpec, ...]:
    """The inputs or outputs in the description of a model."""
    return tuple(
        tensor_spec(str(each["name"]), str(each["datatype"]), tuple(map(int, each["shape"])))
        for each in items or ()
    )


def output_of(each: Any, rest: memoryview, where: str) -> tuple[NDArray[Any], memoryview]:
    """An output of an answer, and the bytes behind it.

    Raises:
        NoAnswerError: there are fewer bytes than it announces.
        BackendError: its bytes and its shape do not fit.
    """
    datatype, shape = each["datatype"], tuple(map(int, each["shape"]))
    size = (each.get("parameters") or {}).get("binary_data_size")
    if size is None:
        return shaped(_of_list(each["data"], datatype), shape, where), rest
    count = int(size)
    if count < 0:
        raise broken_answer(where, f"binary_data_size: {count}")
    if count > len(rest):
        raise NoAnswerError("the answer ends early")
    return array_of(rest[:count], datatype, shape, where), rest[count:]


def texts_of(parameters: Any) -> dict[str, str]:
    """The texts among the parameters of a configuration."""
    found = parameters.items() if isinstance(parameters, dict) else ()
    texts = {key: value.get("string_value") for key, value in found if isinstance(value, dict)}
    return {key: text for key, text in texts.items() if isinstance(text, str)}


def _of_list(data: Any, datatype: str) -> NDArray[Any]:
    """An array of the numbers of a JSON answer, flat or nested."""
    if datatype not in NUMPY_OF:
        raise ValueError(f"a tensor of {datatype}")
    return np.asarray(data, NUMPY_OF[datatype])


def reason_of(body: bytes) -> str:
    """What a server says of an error, at most 300 characters; of a page, the first line of text."""
    try:
        facts = json.loads(body)
        text = facts.get("error") or facts.get("detail") if isinstance(facts, dict) else facts
        text = str(text)
    except (ValueError, RecursionError):
        text = body[:_LONGEST_PAGE].decode("utf-8", "replace")
        if text.lstrip().startswith("<"):
            words = _TAGS.sub(" ", text).split()
            return f"a page, not the KServe protocol: {' '.join(words)[:80]}"
    return " ".join(text.split())[:300]

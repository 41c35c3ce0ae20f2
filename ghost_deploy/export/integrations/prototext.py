"""Protocol buffer text format, as far as a Triton configuration needs it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias


class EnumValue(str):
    """The name of an enumeration's value, which is written without quotes."""


Value: TypeAlias = (
    "str | int | bool | EnumValue | Message | Sequence[str | int | EnumValue | Message]"
)
Message: TypeAlias = "Mapping[str, Value]"


def to_text(message: Message) -> str:
    """`message` in text format; a sequence becomes one entry for each item.

    Texts are written as ASCII with escapes that are the same in JSON and in C.
    """
    return "".join(f"{line}\n" for line in _lines(message, ""))


def _lines(message: Message, indent: str) -> Iterator[str]:
    for name, value in message.items():
        items = [value] if isinstance(value, str | int | Mapping) else list(value)
        for item in items:
            if isinstance(item, Mapping):
                yield f"{indent}{name} {{"
                yield from _lines(item, indent + "  ")
                yield f"{indent}}}"
            else:
                yield f"{indent}{name}: {_scalar(item)}"


def _scalar(value: str | int) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, EnumValue | int):
        return str(value)
    # Octal bytes, because a JSON escape for a character beyond ASCII is none here.
    return json.dumps(value, ensure_ascii=True) if value.isascii() else _octal(value)


def _octal(value: str) -> str:
    return '"' + "".join(f"\\{byte:03o}" for byte in value.encode()) + '"'

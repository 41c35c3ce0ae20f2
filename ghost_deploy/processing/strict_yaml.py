"""Reading YAML that others wrote: limited in size, depth and aliases, with one kind of error.

PyYAML's safe loader builds only plain values, but its constructors raise what their conversions
happen to raise (ValueError for the date 2024-02-30, KeyError for `!!bool x`), it recurses without a
limit, and nine lines of aliases to aliases take all memory ("billion laughs").
"""

from __future__ import annotations

from typing import Any

import yaml

_MAX_BYTES = 4 << 20
_MAX_DEPTH = 32
_MAX_ALIASES = 16
"""A doubling by each of 16 aliases ends at 65,536 values."""

_RAISED = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
"""What the constructors of PyYAML 6 raise besides YAMLError for a text that is no such value."""


def load_yaml(data: bytes) -> Any:
    """Read one YAML document of plain values.

    Args:
        data: UTF-8, with or without a byte order mark.

    Raises:
        ValueError: not UTF-8, not YAML, a value that its tag does not allow, or beyond a limit; the
            message has the line.
    """
    if len(data) > _MAX_BYTES:
        raise ValueError(f"{len(data)} bytes of YAML, at most {_MAX_BYTES} are read")
    text = data.decode("utf-8-sig")
    try:
        _check_limits(text)
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _check_limits(text: str) -> None:
    depth = aliases = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        aliases += isinstance(event, yaml.AliasEvent)
        if depth > _MAX_DEPTH or aliases > _MAX_ALIASES:
            what = f"more than {_MAX_DEPTH} levels or {_MAX_ALIASES} aliases"
            raise yaml.YAMLError(f"{what}, {event.start_mark}")


class _Loader(yaml.SafeLoader):
    """The safe loader, whose errors all name their line."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except _RAISED as error:
            what = f"not a value of {node.tag.removeprefix('tag:yaml.org,2002:')}: {error}"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark) from error

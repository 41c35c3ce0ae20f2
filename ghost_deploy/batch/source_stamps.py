"""Size and time of a source when it was read, by which a later run sees that it has changed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

_SECOND_NS = 10**9


class Stamp(NamedTuple):
    """What tells one state of a file from another.

    Attributes:
        file_bytes: size of the file.
        modified_ns: when it was changed last, nanoseconds since 1970; of an object in a store in
            whole seconds, because not every answer of a store has more.
    """

    file_bytes: int | None = None
    modified_ns: int | None = None

    def differs(self, other: Stamp) -> bool:
        """Whether the two are certainly of different states; what is not known differs never."""
        pairs = zip(self, other, strict=True)
        return any(None not in (one, two) and one != two for one, two in pairs)


UNKNOWN = Stamp()


def stamp_of_file(path: str) -> Stamp:
    """Of a file of this machine; unknown where it cannot be asked for."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return UNKNOWN
    return Stamp(status.st_size, status.st_mtime_ns)


def stamp_of_object(size: int | None, modified_ns: int | None) -> Stamp:
    """Of an object in a store, by what a listing says."""
    if modified_ns is not None:
        modified_ns -= modified_ns % _SECOND_NS
    return Stamp(size, modified_ns)


def stamp_of_stream(size: int, facts: Mapping[str, bytes] | None) -> Stamp:
    """Of an open object in a store, by its size and by what the store says of it."""
    text = ((facts or {}).get("Last-Modified") or b"").decode("ascii", "replace")
    try:
        when = datetime.fromisoformat(text.replace("Z", "+00:00"))
        modified_ns = int(when.timestamp()) * _SECOND_NS if when.tzinfo else None
    except ValueError:
        modified_ns = None
    return Stamp(size, modified_ns)

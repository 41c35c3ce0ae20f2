"""A file without a name, in memory where the system has such files."""

from __future__ import annotations

import os


def memory_file(name: str) -> int:
    """The descriptor of a new, empty one, for reading and writing.

    Args:
        name: for people who look at the open files of the process.
    """
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name)
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())

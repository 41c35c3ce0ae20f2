"""The processes of this machine, as Linux lists them in /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process that has not ended.

    Attributes:
        pid, parent, session: numbers.
        name: of the program, at most 15 characters.
        command: its words, with spaces between them.
    """

    pid: int
    parent: int
    session: int
    name: str
    command: str

    @property
    def folder(self) -> str:
        """The working directory; empty where it cannot be read."""
        try:
            return os.readlink(f"/proc/{self.pid}/cwd")
        except OSError:
            return ""


def processes() -> Iterator[Process]:
    """All processes that this user may see, but for those that only wait for their parent."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            head, _, rest = (entry / "stat").read_text().rpartition(")")
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended
            continue
        state, parent, _, session = rest.split()[:4]
        if state != "Z":
            name = head.partition("(")[2]
            yield Process(int(entry.name), int(parent), int(session), name, command)


def processes_below(parent: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    children: dict[int, list[int]] = {}
    for each in processes():
        children.setdefault(each.parent, []).append(each.pid)
    found, waiting = list[int](), [parent]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found

"""What a worker is doing, in memory that its driver reads when it wants to.

A message for each image would wake the driver for each, on a core that the workers need.
"""

from __future__ import annotations

import os
import struct

from ghost_deploy.core.memory_file import memory_file

_HEAD = struct.Struct("<dI")
_MOST = 1 << 16


class StepNote:
    """A source and how much of its task is done, shared by two processes.

    Args:
        descriptor: of an open file that both have.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def create(cls) -> StepNote:
        """A new, empty one."""
        return cls(memory_file("step"))

    def write(self, source: str, share: float) -> None:
        """Note a source that is about to be read, and the share of the task before it."""
        data = source.encode()[:_MOST]
        os.pwrite(self.descriptor, _HEAD.pack(share, len(data)) + data, 0)

    def read(self) -> tuple[str, float]:
        """The source and the share; empty and 0 before the first and between tasks."""
        data = os.pread(self.descriptor, _HEAD.size + _MOST, 0)
        if len(data) < _HEAD.size:
            return "", 0.0
        share, length = _HEAD.unpack_from(data)
        return data[_HEAD.size : _HEAD.size + length].decode(errors="replace"), share

    def close(self) -> None:
        """Close this process's descriptor."""
        os.close(self.descriptor)

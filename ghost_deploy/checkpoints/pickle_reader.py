"""An inert pickle reader: a stack machine that reads a pickle and runs nothing.

It gives plain data and `records`. It is a flat loop, so that nesting costs no stack, and it never
hashes a key that is not a number or text, because hashing a tuple is what recurses in C.
"""

from __future__ import annotations

import struct
from typing import Any

from ghost_deploy.checkpoints.limits import MAX_OPCODES, MAX_PICKLE_BYTES
from ghost_deploy.checkpoints.opcodes import OPCODES, STOP
from ghost_deploy.checkpoints.pickle_vm import PickleVM, absurd
from ghost_deploy.checkpoints.records import Pickle

__all__ = ["read_pickle"]


def read_pickle(data: bytes, where: str) -> Pickle:
    """Read a whole pickle without running any of it.

    Args:
        data: the pickle.
        where: the file's name, for error messages.

    Raises:
        CorruptCheckpointError: it is truncated, damaged or not a pickle.
        UnsafeCheckpointError: it exceeds a limit, or does what no checkpoint does.
    """
    if len(data) > MAX_PICKLE_BYTES:
        raise absurd(where, f"a pickle of {len(data)} bytes", f"at most {MAX_PICKLE_BYTES}")
    machine = PickleVM(data, where)
    try:
        root = _run(machine)
    # What a short buffer, a missing stack entry or memo entry and bad text raise, all the same.
    except (IndexError, KeyError, struct.error, UnicodeDecodeError) as error:
        raise machine.corrupt("it breaks off or is garbled") from error
    return Pickle(root, tuple(machine.calls), tuple(sorted(machine.globals)))


def _run(machine: PickleVM) -> Any:
    data = machine.data
    for _ in range(MAX_OPCODES):
        code = data[machine.pos]
        machine.pos += 1
        if code == STOP:
            break
        opcode = OPCODES.get(code)
        if opcode is None:
            raise machine.corrupt(f"opcode 0x{code:02x} is none that a checkpoint has")
        opcode(machine)
    else:
        raise absurd(machine.where, "more opcodes", f"at most {MAX_OPCODES}")
    if len(machine.stack) != 1 or machine.marks or machine.pos != len(data):
        raise machine.corrupt("it ends in the middle")
    return machine.stack.pop()

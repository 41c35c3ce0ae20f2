"""An inert pickle reader: a stack machine that executes nothing.

It returns plain data and `records`. It is a loop without recursion, and hashes only numbers and
text as keys, because hashing a nested tuple recurses in C.
"""

from __future__ import annotations

import struct
from typing import Any

from ghost_deploy.checkpoints.limits import MAX_OPCODES, MAX_PICKLE_BYTES
from ghost_deploy.checkpoints.opcodes import OPCODES, STOP
from ghost_deploy.checkpoints.pickle_vm import PickleVM, exceeds
from ghost_deploy.checkpoints.records import Pickle


def read_pickle(data: bytes, where: str) -> Pickle:
    """Read a whole pickle without executing any of it.

    Args:
        data: the pickle.
        where: the file name, for error messages.

    Raises:
        CorruptCheckpointError: it is truncated, damaged or not a pickle.
        UnsafeCheckpointError: it exceeds a limit, or uses an operation that no checkpoint uses.
    """
    if len(data) > MAX_PICKLE_BYTES:
        raise exceeds(where, f"a pickle of {len(data)} bytes", f"at most {MAX_PICKLE_BYTES}")
    machine = PickleVM(data, where)
    try:
        root = _run(machine)
    # Raised by a short buffer, a missing stack or memo entry, and invalid text.
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
        raise exceeds(machine.where, "more opcodes", f"at most {MAX_OPCODES}")
    if len(machine.stack) != 1 or machine.marks or machine.pos != len(data):
        raise machine.corrupt("it ends in the middle")
    return machine.stack.pop()

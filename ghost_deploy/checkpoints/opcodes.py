"""The effect of each pickle opcode on the state of the reader (protocols 2 to 5).

The opcodes are documented in `pickletools` of the standard library. Opcodes of protocols 0 and 1
are not supported: torch never writes them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from ghost_deploy.checkpoints.limits import MAX_INTEGER_BYTES, MAX_MARKS, MAX_NAME
from ghost_deploy.checkpoints.pickle_vm import PickleVM, exceeds
from ghost_deploy.checkpoints.records import Call, GlobalRef, PersistentId, describe

STOP = 0x2E
"""The opcode that ends a pickle."""

Opcode = Callable[[PickleVM], None]


def _push(value: Any) -> Opcode:
    return lambda m: m.stack.append(value)


def _push_number(form: str) -> Opcode:
    packed = struct.Struct(form)
    return lambda m: m.stack.append(m.number(packed))


def _push_text(length: str) -> Opcode:
    packed = struct.Struct(length)
    return lambda m: m.stack.append(m.take(m.number(packed)).decode())


def _push_bytes(length: str) -> Opcode:
    packed = struct.Struct(length)
    return lambda m: m.stack.append(m.take(m.number(packed)))


def _get(index: str) -> Opcode:
    packed = struct.Struct(index)
    return lambda m: m.stack.append(m.memo[m.number(packed)])


def _put(index: str) -> Opcode:
    packed = struct.Struct(index)

    def put(m: PickleVM) -> None:
        m.memo[m.number(packed)] = m.stack[-1]

    return put


def _tuple(count: int) -> Opcode:
    def make(m: PickleVM) -> None:
        if len(m.stack) < count:
            raise IndexError(count)
        m.stack[-count:] = [tuple(m.stack[-count:])]

    return make


def _integer(length: str) -> Opcode:
    packed = struct.Struct(length)

    def push(m: PickleVM) -> None:
        size = m.number(packed)
        if size > MAX_INTEGER_BYTES:
            raise m.unsafe(f"has an integer of {size} bytes")
        m.stack.append(int.from_bytes(m.take(size), "little", signed=True))

    return push


def _mark(m: PickleVM) -> None:
    if len(m.marks) >= MAX_MARKS:
        raise exceeds(m.where, "deeper nesting", f"at most {MAX_MARKS} levels")
    m.marks.append(m.stack)
    m.stack = []


def _protocol(m: PickleVM) -> None:
    version = m.take(1)[0]
    if not 2 <= version <= 5:
        raise m.corrupt(f"pickle protocol {version} is unknown")


def _global(m: PickleVM) -> None:
    parts = []
    for _ in range(2):
        end = m.data.find(b"\n", m.pos, m.pos + MAX_NAME + 1)
        if end < 0:
            raise m.corrupt("a class name does not end")
        parts.append(m.take(end - m.pos).decode())
        m.pos += 1
    m.push_global(*parts)


def _stack_global(m: PickleVM) -> None:
    name = m.stack.pop()
    m.push_global(m.stack.pop(), name)


def _append(m: PickleVM) -> None:
    item = m.stack.pop()
    m.add_items(m.stack[-1], [item])


def _appends(m: PickleVM) -> None:
    items = m.pop_mark()
    m.add_items(m.stack[-1], items)


def _setitem(m: PickleVM) -> None:
    value = m.stack.pop()
    key = m.stack.pop()
    m.set_pairs(m.stack[-1], [key, value])


def _setitems(m: PickleVM) -> None:
    flat = m.pop_mark()
    m.set_pairs(m.stack[-1], flat)


def _reduce(m: PickleVM) -> None:
    args = m.stack.pop()
    m.push_call("reduce", m.stack.pop(), args)


def _newobj(m: PickleVM) -> None:
    args = m.stack.pop()
    m.push_call("new", m.stack.pop(), args)


def _newobj_ex(m: PickleVM) -> None:
    keywords = m.stack.pop()
    if keywords != {}:
        raise m.unsafe("instantiates a class with keyword arguments")
    _newobj(m)


def _build(m: PickleVM) -> None:
    state = m.stack.pop()
    target = m.stack[-1]
    if type(target) is not Call or target.state is not None:
        raise m.unsafe(f"asks to change {describe(target)}")
    target.state = state


def _memoize(m: PickleVM) -> None:
    m.memo[len(m.memo)] = m.stack[-1]


def _discard_to_mark(m: PickleVM) -> None:
    m.pop_mark()


def _empty_set(m: PickleVM) -> None:
    m.stack.append(Call("reduce", GlobalRef("builtins", "set"), ()))


def _persistent(m: PickleVM) -> None:
    m.stack.append(PersistentId(m.stack.pop()))


def _frame(m: PickleVM) -> None:
    m.take(8)  # a hint for buffered readers


def _frozenset(m: PickleVM) -> None:
    items = tuple(m.pop_mark())
    m.stack.append(Call("reduce", GlobalRef("builtins", "frozenset"), (list(items),)))


def _tuple_from_mark(m: PickleVM) -> None:
    items = tuple(m.pop_mark())
    m.stack.append(items)


def _pop(m: PickleVM) -> None:
    if m.stack:
        m.stack.pop()
    else:
        m.pop_mark()


def _registered(m: PickleVM) -> None:
    raise m.unsafe("uses the registry of pickle extensions")


OPCODES: dict[int, Opcode] = {
    0x80: _protocol,
    0x95: _frame,
    ord("("): _mark,
    ord("0"): _pop,
    ord("1"): _discard_to_mark,
    ord("N"): _push(None),
    0x88: _push(True),
    0x89: _push(False),
    ord("K"): _push_number("<B"),
    ord("M"): _push_number("<H"),
    ord("J"): _push_number("<i"),
    ord("G"): _push_number(">d"),
    0x8A: _integer("<B"),
    0x8B: _integer("<I"),
    ord("X"): _push_text("<I"),
    0x8C: _push_text("<B"),
    0x8D: _push_text("<Q"),
    ord("C"): _push_bytes("<B"),
    ord("B"): _push_bytes("<I"),
    0x8E: _push_bytes("<Q"),
    ord(")"): _push(()),
    0x85: _tuple(1),
    0x86: _tuple(2),
    0x87: _tuple(3),
    ord("t"): _tuple_from_mark,
    ord("]"): lambda m: m.stack.append([]),
    ord("}"): lambda m: m.stack.append({}),
    0x8F: _empty_set,
    0x91: _frozenset,
    ord("a"): _append,
    ord("e"): _appends,
    0x90: _appends,
    ord("s"): _setitem,
    ord("u"): _setitems,
    ord("q"): _put("<B"),
    ord("r"): _put("<I"),
    0x94: _memoize,
    ord("h"): _get("<B"),
    ord("j"): _get("<I"),
    ord("c"): _global,
    0x93: _stack_global,
    ord("R"): _reduce,
    0x81: _newobj,
    0x92: _newobj_ex,
    ord("b"): _build,
    ord("Q"): _persistent,
    0x82: _registered,
    0x83: _registered,
    0x84: _registered,
}

"""Random changes of bytes, and of JSON documents by their structure."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

_MOST_BYTES = 1 << 20
_EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_TEXTS = ("", "\x00", "é", "\ud800", "../../etc/passwd", "x" * 5000, "1e999", "-", "%s", "💥", "/")
_NUMBERS = (0, -1, 1, 0.5, -0.0, 1e308, 1e-320, 2**31, 2**63, -(2**63), 10**400)


_DEEP = "deep value of "
_DEEPER = re.compile(f'"{_DEEP}([0-9]+)"')


def _nested(found: re.Match[str]) -> str:
    depth = int(found[1])
    return "[" * depth + "]" * depth


class Changeable(Protocol):
    """What a change has to know of a target."""

    tokens: Sequence[bytes]
    """Words of its language, which bytes alone would seldom give."""

    is_json: bool
    """Whether its inputs are JSON documents."""


def change(data: bytes, chance: random.Random, target: Changeable) -> bytes:
    """`data` with one to a few random changes."""
    if target.is_json and chance.random() < 0.6:
        return _change_json(data, chance)
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        if target.tokens and chance.random() < 0.4:
            _insert(changed, chance, chance.choice(target.tokens))
        else:
            chance.choice(_CHANGES)(changed, chance)
    return bytes(changed[:_MOST_BYTES])


def _at(data: bytearray, chance: random.Random) -> int:
    # Headers decide most, so that half of all changes fall into the first 256 bytes.
    most = min(len(data), 256) if chance.random() < 0.5 else len(data)
    return chance.randrange(most + 1)


def _flip(data: bytearray, chance: random.Random) -> None:
    at = _at(data, chance)
    if at < len(data):
        data[at] ^= 1 << chance.randrange(8)


def _set(data: bytearray, chance: random.Random) -> None:
    at = _at(data, chance)
    if at < len(data):
        data[at] = chance.randrange(256)


def _edge(data: bytearray, chance: random.Random) -> None:
    size, value, at = chance.choice((1, 2, 4, 8)), chance.choice(_EDGES), _at(data, chance)
    order: Any = chance.choice(("little", "big"))
    data[at : at + size] = (value % (1 << (8 * size))).to_bytes(size, order)


def _remove(data: bytearray, chance: random.Random) -> None:
    at = _at(data, chance)
    del data[at : at + chance.choice((1, 2, 4, 16, 256, 4096))]


def _truncate(data: bytearray, chance: random.Random) -> None:
    del data[_at(data, chance) :]


def _repeat(data: bytearray, chance: random.Random) -> None:
    at, length = _at(data, chance), chance.choice((1, 4, 32, 512))
    part = bytes(data[at : at + length])
    data[at:at] = part * chance.choice((1, 2, 100))


def _random(data: bytearray, chance: random.Random) -> None:
    _insert(data, chance, chance.randbytes(chance.choice((1, 2, 8, 64))))


def _zeros(data: bytearray, chance: random.Random) -> None:
    at, length = _at(data, chance), chance.choice((4, 64, 4096))
    data[at : at + length] = bytes(len(data[at : at + length]))


def _move(data: bytearray, chance: random.Random) -> None:
    at, to, length = _at(data, chance), _at(data, chance), chance.choice((4, 16, 128))
    part = data[at : at + length]
    del data[at : at + length]
    data[to:to] = part


def _insert(data: bytearray, chance: random.Random, part: bytes) -> None:
    at = _at(data, chance)
    data[at:at] = part


_CHANGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip, _set, _edge, _remove, _truncate, _repeat, _random, _zeros, _move
)  # fmt: skip


def _change_json(data: bytes, chance: random.Random) -> bytes:
    document = json.loads(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        document = _replace_at_random(document, chance)
    text = _DEEPER.sub(_nested, json.dumps(document))
    if chance.random() < 0.05:
        text = text.replace("0", chance.choice(("NaN", "Infinity", "1e999", "9" * 5000)), 1)
    return text.encode("utf-8", "replace")


def _replace_at_random(document: Any, chance: random.Random) -> Any:
    """One value of a document replaced, removed, added or given another name."""
    places = list(_containers(document))
    if not places:
        return _value(chance)
    place = chance.choice(places)
    keys: list[Any] = list(place) if isinstance(place, dict) else list(range(len(place)))
    if not keys:
        return document
    key, action = chance.choice(keys), chance.random()
    if action < 0.4:
        place[key] = _alike(place[key], chance)
    elif action < 0.7:
        place[key] = _value(chance)
    elif action < 0.85:
        del place[key]
    elif isinstance(place, dict):
        place[chance.choice(_TEXTS) or "other"] = place.pop(key)
    else:
        place += [place[key]] * chance.choice((1, 300))
    return document


def _alike(value: Any, chance: random.Random) -> Any:
    """Another value of the same type, which a strict decoder lets through."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return chance.choice((0, -1, 1, value + 1, value * 1000, -value, 2**31, 2**63))
    if isinstance(value, float):
        return chance.choice((0.0, -0.0, -1.0, value * 1e6, -value, 1e308, 1e-320, value + 1))
    if isinstance(value, str):
        return chance.choice((*_TEXTS, value * 2, value[:1], value.upper()))
    if isinstance(value, list):
        return chance.choice(([], value * 2, value[::-1], value[:1], value[1:]))
    return {}


def _containers(value: Any) -> list[Any]:
    found, left = [], [value]
    while left:
        one = left.pop()
        if isinstance(one, dict | list):
            found.append(one)
            left += one.values() if isinstance(one, dict) else one
    return found


def _value(chance: random.Random) -> Any:
    kind = chance.randrange(7)
    if kind < 2:
        return chance.choice(_NUMBERS)
    if kind == 2:
        return chance.choice(_TEXTS)
    if kind == 3:
        return chance.choice((None, True, False, [], {}, [[]], {"": None}))
    if kind == 4:
        return f"{_DEEP}{chance.choice((3, 60, 900, 100_000))}"
    if kind == 5:
        return [chance.choice(_NUMBERS)] * chance.choice((1, 2, 3, 4, 1000))
    return chance.uniform(-1e6, 1e6)

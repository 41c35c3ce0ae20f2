"""Forging checkpoints: pickles from inert records, archives from pickles.

A record that the inert reader gave can be changed and written again, so that every attack can be
planted in a real checkpoint. Payloads that would act are written by Python's own pickler.
"""

from __future__ import annotations

import functools
import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ghost_deploy.checkpoints.archive import open_archive
from ghost_deploy.checkpoints.pickle_reader import read_pickle
from ghost_deploy.checkpoints.records import Call, GlobalRef, PersistentId
from tests.support.assets import GHOST

FOLDER = "forged"


def archive(data_pkl: bytes, storages: dict[str, bytes] | None = None, **more: bytes) -> bytes:
    """A checkpoint archive as torch writes it; `more` are members by name, `/` written as `__`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        file.writestr(f"{FOLDER}/data.pkl", data_pkl)
        file.writestr(f"{FOLDER}/byteorder", "little")
        for key, data in (storages or {}).items():
            file.writestr(f"{FOLDER}/data/{key}", data)
        for name, data in more.items():
            file.writestr(name.replace("__", "/"), data)
        file.writestr(f"{FOLDER}/version", "3\n")
    return buffer.getvalue()


def dumps(value: Any) -> bytes:
    """The protocol 2 pickle of plain data and records."""
    writer = _Writer()
    writer.write(value)
    return b"\x80\x02" + bytes(writer.out) + b"."


class _Writer:
    """Writes each mutable object once and refers to it afterwards."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.memo: dict[int, int] = {}
        self.keep: list[Any] = []

    def write(self, value: Any) -> None:
        if id(value) in self.memo:
            self.out += b"j" + struct.pack("<I", self.memo[id(value)])
        elif isinstance(value, GlobalRef):
            self.out += f"c{value.module}\n{value.name}\n".encode()
            self._remember(value)
        elif isinstance(value, PersistentId):
            self.write(value.value)
            self.out += b"Q"
        elif isinstance(value, Call):
            self._call(value)
        elif isinstance(value, tuple):
            self._marked(value, b"t")
        elif isinstance(value, list):
            self.out += b"]"
            self._remember(value)
            self._marked(value, b"e")
        elif isinstance(value, dict):
            self.out += b"}"
            self._remember(value)
            self._marked([part for pair in value.items() for part in pair], b"u")
        else:
            self.out += pickle.dumps(value, 2)[2:-1]

    def _call(self, call: Call) -> None:
        self.write(call.target)
        self.write(call.args)
        self.out += b"\x81" if call.kind == "new" else b"R"
        self._remember(call)
        if call.items:
            self._marked(call.items, b"e")
        if call.pairs:
            self._marked([part for pair in call.pairs for part in pair], b"u")
        if call.state is not None:
            self.write(call.state)
            self.out += b"b"

    def _marked(self, parts: Any, end: bytes) -> None:
        self.out += b"("
        for part in parts:
            self.write(part)
        self.out += end

    def _remember(self, value: Any) -> None:
        self.memo[id(value)] = len(self.memo)
        self.keep.append(value)
        self.out += b"r" + struct.pack("<I", self.memo[id(value)])


@functools.cache
def ghost_bytes() -> bytes:
    """The real stock checkpoint."""
    return GHOST.read_bytes()


@functools.cache
def ghost_storages() -> dict[str, bytes]:
    """Its tensor storages."""
    found = open_archive(GHOST.name, ghost_bytes()).storages
    return {key: bytes(view) for key, view in found.items()}


def ghost_pickle() -> bytes:
    """Its `data.pkl`."""
    return open_archive(GHOST.name, ghost_bytes()).pickle


def ghost_root() -> dict[str, Any]:
    """Its records, fresh for each caller."""
    root: dict[str, Any] = read_pickle(ghost_pickle(), GHOST.name).root
    return root


def changed_checkpoint(change: Callable[[dict[str, Any]], None], **storages: bytes) -> bytes:
    """The real checkpoint with `change` made to its records, and with these storages replaced."""
    root = ghost_root()
    change(root)
    return archive(dumps(root), {**ghost_storages(), **storages})


def written(folder: Path, data: bytes, name: str = "forged.pt") -> Path:
    """A file with that content."""
    path = folder / name
    path.write_bytes(data)
    return path


def module_at(root: dict[str, Any], dotted: str) -> Call:
    """The record of a module, e.g. `model.0.conv`."""
    record: Call = root["model"]
    for name in dotted.split("."):
        record = part_of(record, "_modules")[name]
    return record


def part_of(record: Call, part: str) -> dict[str, Any]:
    """One of a module's dictionaries; an ordered one becomes a plain one, in place."""
    value = record.state[part]
    if isinstance(value, Call):
        value = record.state[part] = dict(value.pairs)
    found: dict[str, Any] = value
    return found


def tensor_at(root: dict[str, Any], dotted: str, part: str = "_parameters") -> Call:
    """The record of a tensor, e.g. `model.0.conv.weight`; of a parameter, what is inside."""
    module, _, name = dotted.rpartition(".")
    record: Call = part_of(module_at(root, module), part)[name]
    inner: Call = record.args[0] if part == "_parameters" else record
    return inner


def call(path: str, *args: Any) -> Call:
    """A call of something by name."""
    module, _, name = path.rpartition(".")
    return Call("reduce", GlobalRef(module, name), args)


def new(path: str, state: Any = None) -> Call:
    """An object of a class by name."""
    module, _, name = path.rpartition(".")
    return Call("new", GlobalRef(module, name), (), state)

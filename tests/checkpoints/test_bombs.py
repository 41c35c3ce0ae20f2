"""Small files that would cost much time or memory: refused before they do.

Each attack shares one large part many times, by the pickle's memo or by overlapping members of the
archive. The sizes are such that the unfolded form would be thousands of times the file.
"""

from __future__ import annotations

import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from ghost_deploy.checkpoints.archive import open_archive
from ghost_deploy.checkpoints.inspection import inspect_checkpoint
from ghost_deploy.checkpoints.limits import MAX_MEMBERS
from ghost_deploy.checkpoints.loading import load_data
from ghost_deploy.checkpoints.user_modules import UserModules
from ghost_deploy.core.errors import UnsafeCheckpointError
from tests.support.forged_checkpoints import archive, written

EMPTY, SHARED, OTHER = b"h\x00", b"h\x01", b"h\x02"
"""Opcodes that fetch what the prologue put away."""

_LOCAL = struct.Struct("<4s5H3L2H")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")


def text(value: bytes) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value


def put_away(*values: bytes) -> bytes:
    """Opcodes that remember each value and leave the stack as it was; an empty dict comes first."""
    return b"".join(v + b"q" + bytes([n]) + b"0" for n, v in enumerate((b"}", *values)))


def state(modules: bytes, **more: bytes) -> bytes:
    """The `__dict__` of a module."""
    pairs = {"_parameters": EMPTY, "_buffers": EMPTY, "_modules": modules, **more}
    return b"}(" + b"".join(text(key.encode()) + value for key, value in pairs.items()) + b"u"


def module(path: bytes, its_state: bytes) -> bytes:
    return b"c" + path + b"\n)\x81" + its_state + b"b"


def checkpoint(prologue: bytes, modules: bytes = EMPTY, **more: bytes) -> bytes:
    """A file with a network whose class is right and whose parts are the caller's."""
    more["names"] = b"](" + text(b"a") + b"e"
    network = module(b"ultralytics.nn.tasks\nDetectionModel", state(modules, **more))
    return archive(b"\x80\x02" + prologue + b"}" + text(b"model") + network + b"s.")


def numbered(count: int, value: bytes, stem: bytes = b"") -> bytes:
    """A dict with `count` names for one value."""
    return b"}(" + b"".join(text(stem + b"%d" % n) + value for n in range(count)) + b"u"


def long_path_many_times() -> bytes:
    """A path loses its folders, which copies it."""
    return checkpoint(put_away(text(b"/" + b"a" * (1 << 20))), x=b"](" + SHARED * 2000 + b"e")


def long_device_name() -> bytes:
    parts = b"(" + SHARED * 2000 + b"t"
    return checkpoint(put_away(text(b"a" * (1 << 20))), x=b"ctorch\ndevice\n" + parts + b"R")


def one_list_in_many_sets() -> bytes:
    """What is no plain data is left out of the facts, but only after it was looked at."""
    prologue = put_away(
        b"](cos\npath\n" + b"N" * 100_000 + b"e", b"cbuiltins\nset\n(" + SHARED + b"tR"
    )
    return checkpoint(prologue, yaml=numbered(20_000, OTHER))


def one_dict_of_children_for_all() -> bytes:
    prologue = put_away(numbered(50_000, b"N"))
    children = module(b"fork\nBlock", state(SHARED))
    return checkpoint(prologue, modules=numbered(5_000, children))


def one_state_for_all() -> bytes:
    prologue = put_away(state(EMPTY)[:-1] + numbered(50_000, b"N", b"_hook")[2:])
    return checkpoint(prologue, modules=numbered(5_000, module(b"fork\nBlock", SHARED)))


@pytest.mark.parametrize(
    "attack",
    [
        long_path_many_times,
        long_device_name,
        one_list_in_many_sets,
        one_dict_of_children_for_all,
        one_state_for_all,
    ],
)
def test_sharing_is_paid_for(
    attack: Callable[[], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A tenth of the real bound, so that the test is fast.
    monkeypatch.setattr("ghost_deploy.checkpoints.tree_reader.MAX_ENTRIES", 100_000)
    data = attack()
    assert len(data) < 6 << 20
    tracemalloc.start()
    try:
        with pytest.raises(UnsafeCheckpointError, match="exceeds a limit"):
            load_data("forged.pt", data, UserModules())
        seen = inspect_checkpoint(written(tmp_path, data))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert not seen.exportable
    assert "exceeds a limit" in " ".join(seen.problems)
    assert peak < 150 << 20


def zip_of(names: list[bytes], body: bytes, sizes: list[int] | None = None) -> bytes:
    """Local headers one after the other, `body` once, and a directory.

    A member has the size that is given for it, or all that follows its header. No checksum in the
    directory is right.
    """
    heads = [_LOCAL.pack(b"PK\3\4", 20, 0, 0, 0, 0, 0, 0, 0, len(n), 0) + n for n in names]
    starts = [sum(map(len, heads[:n])) for n in range(len(heads))]
    data = b"".join(heads) + body
    wrong = zlib.crc32(body) ^ 1
    directory = b""
    for n, name in enumerate(names):
        size = sizes[n] if sizes else len(data) - starts[n] - len(heads[n])
        directory += _ENTRY.pack(
            b"PK\1\2", 20, 20, 0, 0, 0, 0, wrong, size, size, len(name), 0, 0, 0, 0, 0, starts[n]
        )
        directory += name
    count = len(names) % 65536
    return data + directory + _END.pack(b"PK\5\6", 0, 0, count, count, len(directory), len(data), 0)


def test_members_that_overlap_are_refused_before_their_checksums_are_computed() -> None:
    data = zip_of([b"f/data/%d" % n for n in range(50)], bytes(1 << 16))
    with pytest.raises(UnsafeCheckpointError, match="share their bytes"):
        open_archive("forged.pt", data)


def test_a_directory_of_millions_is_refused_before_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = _ENTRY.pack(b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    directory = entry * (MAX_MEMBERS + 1)
    head = _LOCAL.pack(b"PK\3\4", 20, 0, 0, 0, 0, 0, 0, 0, 1, 0) + b"a"
    end = _END.pack(b"PK\5\6", 0, 0, 65535, 65535, len(directory), len(head), 0)

    def read(*_: object) -> None:
        raise AssertionError("the directory was read")

    monkeypatch.setattr(zipfile, "ZipFile", read)
    with pytest.raises(UnsafeCheckpointError, match="too many members"):
        open_archive("forged.pt", head + directory + end)

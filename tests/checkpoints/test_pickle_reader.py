"""The inert pickle reader against Python's own pickler, and on invalid pickles."""

from __future__ import annotations

import contextlib
import os
import pickle
import pickletools
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghost_deploy.checkpoints import limits
from ghost_deploy.checkpoints.pickle_reader import read_pickle
from ghost_deploy.checkpoints.records import Call, GlobalRef, PersistentId
from ghost_deploy.core.errors import CheckpointError, CorruptCheckpointError, UnsafeCheckpointError
from tests.support import forged_checkpoints as forged
from tests.support.assets import needs_assets

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner)
        | st.tuples(inner, inner, inner, inner)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=30,
)


@given(PLAIN, st.sampled_from([2, 3, 4, 5]))
def test_plain_data_is_what_pickle_wrote(value: Any, protocol: int) -> None:
    assert read_pickle(pickle.dumps(value, protocol), "x").root == value


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_class_and_its_state_become_records(protocol: int) -> None:
    shared = [1]
    root = read_pickle(pickle.dumps((Path("a/b"), shared, shared, {1}), protocol), "x").root
    assert root[0].target.path.endswith("PosixPath") or root[0].target.path.endswith("WindowsPath")
    assert root[1] is root[2]
    made = root[3]
    assert made.target.path == "builtins.set"
    assert [*(made.args[0] if made.args else ()), *made.items] == [1]


def test_python2_names_are_today_s_names() -> None:
    found = read_pickle(pickle.dumps(getattr, 2), "x")
    assert found.root == GlobalRef("builtins", "getattr")
    assert found.globals == ("builtins.getattr",)


def test_persistent_ids_are_kept() -> None:
    root = read_pickle(forged.dumps(PersistentId(("storage", "0"))), "x").root
    assert isinstance(root, PersistentId)
    assert root.value == ("storage", "0")


@needs_assets
def test_a_real_pickle_gives_every_name_that_pickletools_sees() -> None:
    data = forged.ghost_pickle()
    names = {
        argument.replace("__builtin__", "builtins").replace(" ", ".")
        for opcode, argument, _ in pickletools.genops(data)
        if opcode.name == "GLOBAL"
    }
    found = read_pickle(data, "x")
    assert set(found.globals) == names
    assert len(found.calls) > 5000


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.marker}'",)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_payload_is_read_and_does_not_run(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "it-ran"
    data = pickle.dumps({"a": Payload(marker)}, protocol)
    found = read_pickle(data, "x")
    assert not marker.exists()
    assert isinstance(found.root["a"], Call)
    assert found.root["a"].target.path == "posix.system"
    pickle.loads(data)
    assert marker.exists(), "the payload is one that would have run"


P2 = b"\x80\x02"
DEEP = 100_000
UNSAFE = {
    "a tuple as a key": P2 + b"}K\x01\x85K\x02s.",
    "a deep tuple as a key": P2 + b"})" + b"\x85" * 100_000 + b"K\x02s.",
    "a record as a key": P2 + b"}cos\nsystem\nK\x02s.",
    "a huge key": P2 + b"}" + b"\x8a\x09" + b"\xff" * 8 + b"\x00" + b"K\x02s.",
    "a huge integer": P2 + b"\x8b\x00\x00\x01\x00" + b"\x01" * 65536 + b".",
    "deep marks": P2 + b"(" * 100_000 + b"t" * 100_000 + b".",
    "a call of a call": P2 + b"cos\nsystem\n)R)R.",
    "a call of text": P2 + b"X\x01\x00\x00\x00a)R.",
    "a changed class": P2 + b"cos\nsystem\n}b.",
    "state twice": P2 + b"cos\nsystem\n)R}b}b.",
    "keyword arguments": P2 + b"cos\nsystem\n)}X\x01\x00\x00\x00aK\x01s\x92.",
    "an extension": P2 + b"\x82\x01.",
    "too many opcodes": P2 + b"N0" * (limits.MAX_OPCODES // 2) + b"N.",
    "too many bytes": P2 + b"N" * limits.MAX_PICKLE_BYTES + b".",
}
CORRUPT = {
    "nothing": b"",
    "no end": P2 + b"N",
    "two values": P2 + b"NN.",
    "no value": P2 + b".",
    "an open mark": P2 + b"(N.",
    "trailing bytes": P2 + b"N.N",
    "protocol 9": b"\x80\x09N.",
    "protocol 0 opcode": b"I01\n.",
    "an unknown memo": P2 + b"h\x07.",
    "short text": P2 + b"X\xff\x00\x00\x00abc.",
    "absurd text": P2 + b"\x8d" + struct.pack("<Q", 2**63) + b"abc.",
    "bad text": P2 + b"X\x02\x00\x00\x00\xff\xfe.",
    "a name that does not end": P2 + b"cos",
    "a long name": P2 + b"c" + b"a" * 300 + b"\nb\n.",
    "an empty name": P2 + b"c\n\n.",
    "an unprintable name": P2 + b"cos\nsys\x07tem\n.",
    "a name that is a number": b"\x80\x04K\x01K\x02\x93.",
    "half a pair": P2 + b"}(Nu.",
    "append to a number": P2 + b"K\x01Na.",
    "set on a list": P2 + b"]NNs.",
    "arguments in a list": P2 + b"cos\nsystem\n]R.",
    "a tuple of too few": P2 + b"N\x87.",
}


@pytest.mark.parametrize("data", UNSAFE.values(), ids=UNSAFE)
def test_what_no_checkpoint_does_is_unsafe(data: bytes) -> None:
    with pytest.raises(UnsafeCheckpointError, match=r"x ") as caught:
        read_pickle(data, "x")
    assert caught.value.fix


@pytest.mark.parametrize("data", CORRUPT.values(), ids=CORRUPT)
def test_what_is_no_pickle_is_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptCheckpointError, match=r"x is damaged"):
        read_pickle(data, "x")


DEPTH = {
    "tuples": P2 + b")" + b"\x85" * DEEP + b".",
    "tuples that are dropped": P2 + b")" + b"\x85" * DEEP + b"0N.",
    "lists": P2 + b"]" * DEEP + b"a" * (DEEP - 1) + b".",
    "calls": P2 + b"cos\nsystem\n" * DEEP + b")" + b"R\x85" * DEEP + b".",
}


@pytest.mark.parametrize("data", DEPTH.values(), ids=DEPTH)
def test_depth_neither_crashes_nor_fails(data: bytes) -> None:
    assert read_pickle(data, "x").globals in ((), ("os.system",))


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_our_error(data: bytes) -> None:
    for prefix in (b"", P2):
        with contextlib.suppress(CheckpointError):
            read_pickle(prefix + data, "x")

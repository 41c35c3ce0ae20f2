"""Archives of torch are read; ambiguous and damaged ones are refused."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
import torch

from ghost_deploy.checkpoints import archive as module
from ghost_deploy.checkpoints.archive import open_archive
from ghost_deploy.checkpoints.file_types import is_safetensors, read_file, reject_foreign
from ghost_deploy.core.errors import CheckpointError, CorruptCheckpointError, UnsafeCheckpointError
from tests.support import forged_checkpoints as forged
from tests.support.assets import needs_assets

PICKLE = forged.dumps({"a": 1})


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in members:
            file.writestr(name, data)
    return buffer.getvalue()


def good() -> bytes:
    return forged.archive(PICKLE, {"0": b"abcd", "1": b""})


def test_a_good_archive() -> None:
    found = open_archive("x.pt", good())
    assert found.pickle == PICKLE
    assert {key: bytes(view) for key, view in found.storages.items()} == {"0": b"abcd", "1": b""}
    assert sum(view.nbytes for view in found.storages.values()) == 4


def test_what_torch_writes_today(tmp_path: Path) -> None:
    torch.save({"a": torch.arange(3)}, tmp_path / "t.pt")
    found = open_archive("t.pt", read_file(tmp_path / "t.pt"))
    assert bytes(found.storages["0"]) == torch.arange(3).numpy().tobytes()


@needs_assets
def test_a_real_file() -> None:
    found = open_archive("x.pt", forged.ghost_bytes())
    assert len(found.storages) == 563
    assert len(found.sha256) == 64


def swap(data: bytes, old: bytes, new: bytes, count: int = -1) -> bytes:
    assert old in data
    assert len(old) == len(new)
    return data.replace(old, new, count)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.parametrize(
    "members",
    [
        [("f/data.pkl", PICKLE), ("f/data.pkl", b"evil")],
        [("f/data.pkl", PICKLE), ("f/DATA.PKL", b"evil")],
        [("f/data.pkl", PICKLE), ("f/data/0", b"a"), ("f/data/0", b"b")],
        [("f/data.pkl", PICKLE), ("F/data/0", b"a"), ("f/data/0", b"b")],
    ],
    ids=["twice", "differing in case", "a storage twice", "folders differing in case"],
)
def test_an_ambiguous_archive_is_unsafe(members: list[tuple[str, bytes]]) -> None:
    with pytest.raises(UnsafeCheckpointError, match="read differently"):
        open_archive("x.pt", zipped(*members))


def test_a_directory_that_names_another_member_than_the_header_is_unsafe() -> None:
    data = good()
    header = data.rindex(b"forged/data/0")
    with pytest.raises(UnsafeCheckpointError, match="read differently"):
        open_archive("x.pt", data[:header] + b"forged/data/9" + data[header + 13 :])


def test_members_that_share_bytes_are_unsafe() -> None:
    """Many directory entries over one member would unfold a small file to a huge one."""
    data = bytearray(forged.archive(PICKLE, {"0": bytes(1000), "1": bytes(1000)}))
    central = [i for i in range(len(data)) if data.startswith(b"PK\x01\x02", i)]
    entries = {bytes(data[i + 46 : i + 59]): i for i in central}
    first, second = entries[b"forged/data/0"], entries[b"forged/data/1"]
    size = struct.pack("<I", 1500)
    (start,) = struct.unpack_from("<I", data, first + 42)
    crc = struct.pack("<I", zlib.crc32(data[start + 43 : start + 43 + 1500]))
    for entry in (first, second):
        data[entry + 16 : entry + 28] = crc + size + size
    crc = struct.pack("<I", zlib.crc32(data[start + 43 + 1043 : start + 43 + 1043 + 1500]))
    with pytest.raises(CheckpointError):
        open_archive("x.pt", bytes(data))


BROKEN = {
    "a wrong checksum": (lambda d: swap(d, b"abcd", b"abce"), "checksum"),
    "truncated": (lambda d: d[:-30], "truncated or damaged"),
    "half": (lambda d: d[: len(d) // 2], "truncated or damaged"),
    "compressed": (
        lambda d: zipped(("f/data.pkl", PICKLE * 9), method=zipfile.ZIP_DEFLATED),
        "compressed",
    ),
    "another byte order": (
        lambda d: zipped(("f/data.pkl", PICKLE), ("f/byteorder", b"big")),
        "byte order",
    ),
    "no pickle": (lambda d: zipped(("f/other", b"1")), "not a checkpoint"),
    "no folder": (lambda d: zipped(("data.pkl", PICKLE)), "not a checkpoint"),
    "two folders": (
        lambda d: zipped(("f/data.pkl", PICKLE), ("g/data/0", b"")),
        "not a checkpoint",
    ),
    "a zip around a .pt": (lambda d: zipped(("runs/best.pt", d)), "contains 'runs/best.pt'"),
    "an encrypted member": (
        lambda d: d.replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"),
        "encrypted",
    ),
}


@pytest.mark.parametrize("case", BROKEN.values(), ids=BROKEN)
def test_a_broken_archive_is_corrupt(case: tuple) -> None:
    change, message = case
    with pytest.raises(CorruptCheckpointError, match=message) as caught:
        open_archive("x.pt", change(good()))
    assert caught.value.fix


def test_torchscript_is_named() -> None:
    data = zipped(("f/data.pkl", PICKLE), ("f/constants.pkl", PICKLE), ("f/code/__torch__.py", b""))
    with pytest.raises(CheckpointError, match="TorchScript"):
        open_archive("x.pt", data)


def test_too_large_a_pickle_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PICKLE_BYTES", 10)
    with pytest.raises(UnsafeCheckpointError, match=r"data.pkl that is too large"):
        open_archive("x.pt", good())


def test_too_many_members_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MEMBERS", 3)
    with pytest.raises(UnsafeCheckpointError, match="many members"):
        open_archive("x.pt", good())


def old_format() -> bytes:
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(2)}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        file.addfile(tarfile.TarInfo("pickle"))
    return buffer.getvalue()


FOREIGN = {
    "empty": (b"", "is empty"),
    "zeros": (bytes(5000), "zeros"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS"),
    "html": (b"\n<!DOCTYPE html><html><body>404</body></html>", "web page"),
    "openvino": (b'<?xml version="1.0"?>\n<net name="yolov8n" version="11">', "OpenVINO model"),
    "openvino of today": (b'<net name="m" version="11">', "an OpenVINO model"),
    "xml": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "web page"),
    "old torch": (old_format(), "before 2020"),
    "tar": (tarred(), "tar archive"),
    "pickle": (PICKLE, "bare pickle"),
    "gzip": (b"\x1f\x8b\x08\x00abc", "compressed"),
    "keras": (b"\x89HDF\r\n\x1a\n", "HDF5"),
    "tflite": (b"\x1c\x00\x00\x00TFL3\x00", "TensorFlow Lite"),
    "onnx": (b"\x08\x08\x12\x07pytorch\x1a\x052.3.0:", "ONNX"),
    "engine": (b'\x90\x01\x00\x00{"description": "x"}', "TensorRT"),
    "text": (b"nc: 80\nscales: {}\n", "text file"),
    "else": (b"\x00\x01\x02\x03" * 9, "starts with 00 01 02 03"),
}


@pytest.mark.parametrize(("data", "message"), FOREIGN.values(), ids=FOREIGN)
def test_other_files_are_named(data: bytes, message: str) -> None:
    assert not is_safetensors(data)
    with pytest.raises(CorruptCheckpointError, match=message) as caught:
        reject_foreign("x.pt", data)
    assert caught.value.fix


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "absent.pt", "cannot read"), (tmp_path, "is a folder, not")):
        with pytest.raises(CheckpointError, match=said):
            read_file(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match="a device or a pipe"):
        read_file(tmp_path / "best.pt")

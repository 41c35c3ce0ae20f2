"""Reading a checkpoint file, and identifying files of other types."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from ghost_deploy.checkpoints.limits import MAX_FILE_BYTES
from ghost_deploy.core.errors import CheckpointError, CorruptCheckpointError

ZIP_MAGIC = b"PK\x03\x04"

_GIVE_PT = "Give the trained .pt file, e.g. runs/detect/train/weights/best.pt"
_RESAVE = (
    "Load it once in the environment that wrote it and save it again with a torch of version 1.6 "
    "or later"
)


def read_file(path: str | os.PathLike[str]) -> bytes:
    """Read a whole file, once: the checked bytes are the used ones, even if the file is replaced.

    Raises:
        CheckpointError: the file cannot be read, or exceeds `MAX_FILE_BYTES`.
    """
    name = Path(path).name
    try:
        with open(path, "rb", opener=_at_once) as file:
            status = os.fstat(file.fileno())
            # The size of a device or a pipe is not known before it is read.
            if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_FILE_BYTES:
                return file.read()
    except OSError as error:
        raise _unreadable(path, error) from error
    raise CheckpointError(
        f"{name} is no checkpoint",
        got=f"{status.st_size} bytes" if stat.S_ISREG(status.st_mode) else "a device or a pipe",
        expected=f"a file of at most {MAX_FILE_BYTES >> 20} MiB",
        fix=_GIVE_PT,
    )


def _at_once(path: str, flags: int) -> int:
    """Open without waiting: the open of a named pipe waits for one who writes to it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # which Windows has not


def require_file(path: str | os.PathLike[str]) -> None:
    """Require that there is something at `path`, before torch is loaded, which takes seconds.

    Raises:
        CheckpointError: there is nothing.
    """
    try:
        os.stat(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str | os.PathLike[str], error: OSError) -> CheckpointError:
    name = os.fspath(path)
    fix = _GIVE_PT
    if name.startswith("zoo:"):
        fix = f"A network of the zoo is not trained, ghost-deploy inspect {name} shows it. {fix}"
    elif re.fullmatch(r"yolo[\w-]*\d\w[\w-]*(\.pt|\.yaml)?", name, re.IGNORECASE):
        stem = name.rpartition(".")[0] or name
        fix += f"; ghost-deploy inspect zoo:{stem} shows the untrained network of the zoo"
    if isinstance(error, IsADirectoryError):
        what = "a bundle" if (Path(path) / "bundle.json").is_file() else "a folder"
        return CheckpointError(f"{path} is {what}, not a checkpoint", fix=_GIVE_PT)
    return CheckpointError(f"cannot read {path}", got=error.strerror or str(error), fix=fix)


def is_safetensors(data: bytes) -> bool:
    """Whether the file starts like safetensors: the length of a JSON header, and the header."""
    return len(data) > 9 and int.from_bytes(data[:8], "little") <= len(data) - 8 and data[8] == 0x7B


def reject_foreign(name: str, data: bytes) -> NoReturn:
    """Raise an error that identifies a file which is neither a zip archive nor safetensors.

    Raises:
        CorruptCheckpointError: always.
    """
    for matches, what, fix in _FOREIGN:
        if matches(data):
            raise CorruptCheckpointError(f"{name} is {what}, not a checkpoint", fix=fix)
    raise CorruptCheckpointError(
        f"{name} is not a checkpoint",
        got=f"a file that starts with {data[:8].hex(' ')}",
        expected="the zip archive that torch.save writes, or our own safetensors form",
        fix=_GIVE_PT,
    )


def _starts(*magics: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(magics)


def _matches(pattern: bytes) -> Callable[[bytes], bool]:
    compiled = re.compile(pattern, re.IGNORECASE | re.DOTALL)
    return lambda data: compiled.match(data[:512]) is not None


_FOREIGN: tuple[tuple[Callable[[bytes], bool], str, str], ...] = (
    (lambda data: not data, "empty", "Copy or download the file again"),
    (
        lambda data: not any(data[:4096]),
        "filled with zeros",
        "A download broke off or a disk failed: copy the file again",
    ),
    (
        _starts(b"version https://git-lfs.github.com/spec/"),
        "a Git LFS pointer",
        "Fetch the real file with: git lfs pull",
    ),
    (
        _matches(rb"\s*(<\?xml[^>]*>\s*)?(<!--.{0,200}-->\s*)?<net[\s>]"),
        "an OpenVINO model (.xml)",
        "Give the .pt file that it was made of, from which we export OpenVINO ourselves",
    ),
    (
        _matches(rb"\s*(<!doctype html|<html|<\?xml)"),
        "a web page",
        "The download got a page instead of the file: download it again",
    ),
    (
        _starts(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"),
        "in torch's format of before 2020",
        _RESAVE,
    ),
    (_matches(rb".{257}ustar"), "a tar archive", "Unpack it and give the .pt file, or " + _RESAVE),
    (
        _starts(*(b"\x80" + bytes([protocol]) for protocol in range(2, 6))),
        "a bare pickle",
        _GIVE_PT,
    ),
    (_starts(b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"BZh"), "compressed", "Unpack it first"),
    (_starts(b"\x89HDF"), "an HDF5 file (Keras)", _GIVE_PT),
    (_matches(rb".{4}TFL3"), "a TensorFlow Lite model", _GIVE_PT),
    (
        _matches(rb"\x08[\x01-\x20].{0,200}(pytorch|onnx|ghost)"),
        "an ONNX model",
        _GIVE_PT + ", from which we export ONNX ourselves",
    ),
    (_matches(rb'.{2}\x00\x00\{\s*"'), "a TensorRT engine of Ultralytics", _GIVE_PT),
    (_matches(rb"\s*[\[{#\w-][^\x00-\x08\x0e-\x1f\x80-\xff]{8,}"), "a text file", _GIVE_PT),
)

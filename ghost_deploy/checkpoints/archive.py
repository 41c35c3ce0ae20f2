"""The zip archive of a checkpoint, verified as a whole before its content is used.

torch writes one folder with `data.pkl` and a member `data/KEY` for each tensor storage, all without
compression. An archive with duplicate names, or names that differ only in case, is refused: readers
may interpret it differently. All checksums are verified.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from ghost_deploy.checkpoints.file_types import ZIP_MAGIC
from ghost_deploy.checkpoints.limits import MAX_MEMBERS, MAX_PICKLE_BYTES
from ghost_deploy.core.errors import CheckpointError, CorruptCheckpointError, UnsafeCheckpointError

_ENTRY_MAGIC = b"PK\x01\x02"
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_AGAIN = "Copy or download the file again"


@dataclass(frozen=True)
class Archive:
    """A verified archive.

    Attributes:
        name: file name without the folder.
        sha256: of the file.
        pickle: the content of `data.pkl`.
        storages: raw bytes of each tensor storage by key, views of the file content.
    """

    name: str
    sha256: str
    pickle: bytes
    storages: Mapping[str, memoryview]


def open_archive(name: str, data: bytes) -> Archive:
    """Verify an archive and locate its members.

    Args:
        name: of the file, for error messages.
        data: the whole file.

    Raises:
        CorruptCheckpointError: truncated, damaged, or another kind of archive.
        UnsafeCheckpointError: the archive is ambiguous, or its members are larger than the file.
    """
    infos = _directory(name, data)
    _check_names(name, infos)
    files = [info for info in infos if not info.is_dir()]
    members = {info.filename: _member(name, data, info) for info in files}
    # Before the checksums, whose time depends on the claimed sizes of the members.
    if sum(view.nbytes for view in members.values()) > len(data):
        raise UnsafeCheckpointError(
            f"{name} has members that share their bytes", fix="Get it from a source you trust"
        )
    for info in files:
        if zlib.crc32(members[info.filename]) != info.CRC:
            raise _damaged(name, info, "its checksum is wrong")
    folder = _folder(name, members)
    _check_byte_order(name, members.get(f"{folder}/byteorder"))
    pickle = members[f"{folder}/data.pkl"]
    if pickle.nbytes > MAX_PICKLE_BYTES:
        raise UnsafeCheckpointError(
            f"{name} has a data.pkl that is too large",
            got=f"{pickle.nbytes} bytes",
            expected=f"at most {MAX_PICKLE_BYTES}",
            fix="No detector needs that: get it from a trusted source",
        )
    prefix = f"{folder}/data/"
    return Archive(
        name=name,
        sha256=hashlib.sha256(data).hexdigest(),
        pickle=bytes(pickle),
        storages={
            path[len(prefix) :]: view for path, view in members.items() if path.startswith(prefix)
        },
    )


def _directory(name: str, data: bytes) -> list[zipfile.ZipInfo]:
    if not data.startswith(ZIP_MAGIC):
        raise CorruptCheckpointError(f"{name} is not a zip archive", fix=_AGAIN)
    # The signature of a directory entry; by chance it occurs once in 4 GB of weights.
    if (entries := data.count(_ENTRY_MAGIC)) > MAX_MEMBERS:
        raise UnsafeCheckpointError(
            f"{name} has too many members",
            got=entries,
            expected=f"at most {MAX_MEMBERS}",
            fix="No detector needs that: get it from a trusted source",
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return archive.infolist()
    # All exceptions that zipfile is known to raise for damaged directories; one is documented.
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        OSError,
        OverflowError,
        ValueError,
        struct.error,
    ) as error:
        raise CorruptCheckpointError(
            f"{name} is truncated or damaged", got=str(error), fix=_AGAIN
        ) from error


def _check_names(name: str, infos: list[zipfile.ZipInfo]) -> None:
    seen: dict[str, str] = {}
    for info in infos:
        # zipfile truncates a name at a NUL; other readers may not.
        if "\0" in info.orig_filename:
            raise _ambiguous(name, f"a name with a NUL ({info.filename!r})")
        first = seen.setdefault(info.filename.casefold(), info.filename)
        if first != info.filename:
            raise _ambiguous(name, f"{first!r} and {info.filename!r}")
    if len(seen) != len(infos):
        raise _ambiguous(name, "two members of one name")


def _ambiguous(name: str, got: str) -> UnsafeCheckpointError:
    return UnsafeCheckpointError(
        f"{name} is an archive that two programs would read differently",
        got=got,
        fix="Get it again from a source you trust",
    )


def _member(name: str, data: bytes, info: zipfile.ZipInfo) -> memoryview:
    """The bytes of a member whose header is verified."""
    start = info.header_offset + _LOCAL_HEADER.size
    if info.header_offset < 0 or start > len(data):
        raise _damaged(name, info, "its header lies outside the file")
    header = _LOCAL_HEADER.unpack_from(data, info.header_offset)
    signature, _, flags, method, *_, name_size, extra_size = header
    if signature != ZIP_MAGIC:
        raise _damaged(name, info, "its header is not where the directory says")
    if flags & 1 or info.flag_bits & 1:
        raise _damaged(name, info, "it is encrypted")
    if method or info.compress_type or info.compress_size != info.file_size:
        raise CorruptCheckpointError(
            f"{name} was compressed after it was written",
            got=f"member {info.filename!r}",
            expected="members stored as torch.save writes them",
            fix="Use the original file",
        )
    raw_name = data[start : start + name_size]
    start += name_size + extra_size
    view = memoryview(data)[start : start + info.file_size]
    encoding = "utf-8" if info.flag_bits & 0x800 else "cp437"
    if raw_name != info.orig_filename.encode(encoding, "replace"):
        raise _ambiguous(name, f"{info.filename!r} and {raw_name!r}")
    if view.nbytes != info.file_size:
        raise _damaged(name, info, "it is cut off")
    return view


def _damaged(name: str, info: zipfile.ZipInfo, why: str) -> CorruptCheckpointError:
    return CorruptCheckpointError(f"{name} is damaged: member {info.filename!r}: {why}", fix=_AGAIN)


def _folder(name: str, members: Mapping[str, memoryview]) -> str:
    """The only top folder of the archive."""
    folders = {path.partition("/")[0] for path in members}
    pickles = [path for path in members if path.count("/") == 1 and path.endswith("/data.pkl")]
    if any("/code/" in path or path.endswith("/constants.pkl") for path in members):
        raise CheckpointError(
            f"{name} is a TorchScript archive: compiled code, without the original modules",
            fix="Give the .pt file of the training that it was exported from",
        )
    if len(pickles) == 1 and len(folders) == 1:
        return folders.pop()
    inner = [path for path in members if path.endswith((".pt", ".pth"))]
    if inner:
        raise CorruptCheckpointError(
            f"{name} is a zip archive that contains {inner[0]!r}", fix="Unpack it, and give that"
        )
    raise CorruptCheckpointError(
        f"{name} is a zip archive but not a checkpoint",
        got=f"{len(pickles)} data.pkl in {len(folders)} top folders",
        expected="one folder with one data.pkl",
        fix="Give the trained .pt file, e.g. runs/detect/train/weights/best.pt",
    )


def _check_byte_order(name: str, member: memoryview | None) -> None:
    # torch before 2.1 did not write the member and used the order of the machine, usually little.
    if member is not None and bytes(member) != b"little":
        raise CorruptCheckpointError(
            f"{name} was written in another byte order",
            got=bytes(member[:16]).decode("ascii", "replace"),
            expected="little",
            fix="Save it again on a little-endian machine, such as any x86 or ARM computer",
        )

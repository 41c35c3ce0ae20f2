"""Files of the board; runs there, with the standard library alone.

    make FOLDER             make the folder; prints its size and the free bytes, as JSON
    read FOLDER NAME        print a file; nothing where it is not there
    write FOLDER NAME TEXT  write a small file, whole or not at all
    list FOLDER             hashes of what is there, as JSON
    receive FOLDER          put files there that come as a tar archive on standard input
    send FOLDER             print all files as a tar archive
    remove FOLDER PATH...   remove paths below a folder; prints what was there

`list`, `receive` and `send` take the place of rsync where it is missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import sys
import tarfile
from collections.abc import Iterator

_SILENCE_S = 60
_CHUNK = 1 << 20
_PART = ".ghost-deploy-part"


def main() -> int:
    """Do what the first argument says."""
    action, folder, *rest = sys.argv[1:]
    try:
        return _ACTIONS[action](folder, rest)
    except OSError as error:
        print(f"{error.filename or folder}: {error.strerror}", file=sys.stderr)
        return 1
    except tarfile.ReadError:
        print("the line broke", file=sys.stderr)
        return 1


def _files(folder: str) -> Iterator[str]:
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            if os.path.isfile(path) and not os.path.islink(path) and not name.endswith(_PART):
                yield os.path.relpath(path, folder)


def _make(folder: str, _: list[str]) -> int:
    os.makedirs(folder, mode=0o700, exist_ok=True)
    print(json.dumps({"free": shutil.disk_usage(folder).free, "there": _size(folder)}))
    return 0


def _read(folder: str, names: list[str]) -> int:
    with contextlib.suppress(FileNotFoundError), open(os.path.join(folder, *names), "rb") as file:
        sys.stdout.buffer.write(file.read())
    return 0


def _write(folder: str, given: list[str]) -> int:
    path = os.path.join(folder, given[0])
    with open(path + _PART, "w", encoding="utf-8") as file:
        file.write(given[1])
    os.replace(path + _PART, path)
    return 0


def _list(folder: str, _: list[str]) -> int:
    found = {}
    for name in _files(folder):
        digest = hashlib.sha256()
        with open(os.path.join(folder, name), "rb") as file:
            while data := file.read(_CHUNK):
                digest.update(data)
        found[name] = digest.hexdigest()
    print(json.dumps(found))
    return 0


def _receive(folder: str, _: list[str]) -> int:
    """A file gets its name when it is complete, so that a broken line leaves no half file."""
    # Nothing else ends this process when the line is silent.
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
        for member in archive:
            signal.alarm(_SILENCE_S)
            target = os.path.join(folder, member.name)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            source = archive.extractfile(member)
            assert source is not None
            with open(target + _PART, "wb") as file:
                while data := source.read(_CHUNK):
                    signal.alarm(_SILENCE_S)
                    file.write(data)
            os.replace(target + _PART, target)
    print("received", flush=True)
    return 0


def _send(folder: str, _: list[str]) -> int:
    sys.stdout.buffer.write(b"\nghost-deploy-archive\n")  # a shell may have printed a greeting
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(_files(folder)):
            signal.alarm(_SILENCE_S)
            archive.add(os.path.join(folder, name), arcname=name, recursive=False)
    return 0


def _remove(folder: str, paths: list[str]) -> int:
    there = []
    for name in paths:
        path = os.path.join(folder, name)
        if not os.path.lexists(path):
            continue
        size = _size(path)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
        there.append([name, size])
    with contextlib.suppress(OSError):
        os.rmdir(folder)  # if nothing else is in it
        above, name = os.path.split(folder)
        if (os.path.basename(above), name) == ("ghost-deploy", "remote"):
            os.rmdir(above)  # made for it in the account's cache
    print(json.dumps(there))
    return 0


def _size(path: str) -> int:
    """Bytes of a file, or of all files below a folder."""
    if not os.path.isdir(path):
        return os.lstat(path).st_size
    return sum(
        os.lstat(os.path.join(place, name)).st_size
        for place, _, names in os.walk(path)
        for name in names
    )


_ACTIONS = {
    "make": _make,
    "read": _read,
    "write": _write,
    "list": _list,
    "receive": _receive,
    "send": _send,
    "remove": _remove,
}


if __name__ == "__main__":
    sys.exit(main())

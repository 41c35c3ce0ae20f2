"""A board that answers wrongly, in the place of SSH: `python lying_board.py WHAT [OPTIONS]`."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Sequence

FACTS = {
    "folder": "/board", "free_bytes": 1 << 40, "home": "/h", "time_s": time.time(),
    "python": "3.11.2", "executable": "/usr/bin/python3", "implementation": "cpython",
    "libc": "glibc 2.36", "architecture": "x86_64", "bits": 64, "system": "", "distribution": "",
    "model": "", "cpuinfo": "", "temperature_c": None, "governors": [], "power_mode": "",
    "rsync": "", "packages": [],
}  # fmt: skip


def right_answer(words: Sequence[str]) -> tuple[str, bytes]:
    """What a command is called here, and what a board answers to it."""
    source = words[2] if len(words) > 2 else ""
    if "Keeps a folder" in source:
        return "lock", b"held /board"
    if "Facts about the board" in source:
        return "facts", json.dumps(FACTS).encode()
    if "Files of the board" in source:
        right = {"make": b'{"free": 9999999999, "there": 0}', "list": b"{}", "remove": b"[]"}
        return words[3], right.get(words[3], b"")
    return "command", b""


def main(what: str) -> None:
    """Answer one command."""
    kind, _, wrong = what.partition("=")
    size = int(re.findall(r'" (\d+) [0-9a-f]+; fi', sys.argv[-1])[0])
    source = sys.stdin.buffer.read(size)
    if b"Runs one command on the board" not in source:
        sys.stdout.buffer.write(wrong.encode("latin-1") if kind == "archive" else b"")
        return
    request = json.loads(sys.stdin.buffer.readline())
    mark = request["mark"].encode()
    name, answer = right_answer(request["words"])
    if (kind, name) == ("mute", "lock"):
        time.sleep(1000)
    if (kind, name) == ("greeting", "lock"):
        sys.stdout.buffer.write(b"welcome " * (1 << 19))
    if kind == name:
        answer = wrong.encode("latin-1")
    if (kind, name) == ("endless", "facts"):
        sys.stdout.buffer.write(b"\n" + mark + b"\n")
        while True:
            sys.stdout.buffer.write(bytes(1 << 16))
    code = wrong if (kind, name) == ("code", "facts") else "0"
    sys.stderr.write(f"\n{mark.decode()}\n")
    if (kind, name) == ("said", "make"):
        sys.stderr.write(f"{wrong}\n")
        code = "9"
    sys.stdout.buffer.write(b"\n" + mark + b"\n" + answer + b"\n")
    sys.stdout.flush()
    if name == "lock":
        sys.stdin.buffer.read()
    sys.stdout.buffer.write(mark + b" " + code.encode() + b"\n")
    sys.stdout.buffer.write(b"bye\n" if kind == "bye" else b"")


if __name__ == "__main__":
    main(sys.argv[1])

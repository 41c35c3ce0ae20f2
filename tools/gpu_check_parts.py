"""The parts of a check on a GPU: each a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.gpu_check_report import broken_rows

ROOT = Path(__file__).resolve().parents[1]
_LIMIT_S = 3600
_STATES = {0: "done", 1: "gate missed", 3: "skipped"}

Run = Callable[[Sequence[str], Path], int]
"""Runs a command with its output in `<path>.out` and `<path>.err`; returns the exit code."""


@dataclass
class Part:
    """One step: its state, why it is not `done`, its seconds, and the document that it printed."""

    name: str
    state: str
    reason: str = ""
    seconds: float = 0.0
    document: Any = None


class Check:
    """The parts done so far, and the folder that they write to."""

    def __init__(self, folder: Path, run: Run) -> None:
        self.folder, self.parts, self._run = folder, list[Part](), run
        self._logs = folder / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)

    def command(self, name: str, *words: str, document: bool = False) -> Part:
        """Run `ghost-deploy WORDS` as one part."""
        code = "import sys; from ghost_deploy.cli.main import main; sys.exit(main())"
        return self.process(name, [sys.executable, "-c", code, *words], document=document)

    def own(self, name: str, *words: str) -> Part:
        """Run `tools/gpu_check.py` with other options as one part."""
        script = [sys.executable, str(ROOT / "tools" / "gpu_check.py")]
        return self.process(name, [*script, *words], document=True)

    def process(self, name: str, words: Sequence[str], *, document: bool = False) -> Part:
        """Run a process as one part. What it printed counts whatever its exit code is."""
        print(f"{name} ...", flush=True)
        stem, start = self._logs / name.replace(" ", "_"), time.monotonic()
        code = self._run(words, stem)
        out, err = (text_of(stem.with_name(stem.name + end)) for end in (".out", ".err"))
        part = Part(name, _STATES.get(code, "failed"), seconds=round(time.monotonic() - start, 1))
        if code:
            part.reason = _reason(err or out) or f"exit code {code}"
        if document:
            try:
                part.document = json.loads(out)
            except ValueError:
                if part.state in ("done", "gate missed"):
                    part.state = "failed"
                    part.reason = part.reason or "it printed no JSON document"
            else:
                rows = list(broken_rows(part.document))
                if part.state in ("failed", "gate missed") and rows:
                    part.reason = f"{len(rows)} of its rows failed, see below"
        self.parts.append(part)
        print(f"  {part.state} {part.reason}", flush=True)
        return part

    def skip(self, name: str, reason: str) -> None:
        """Record what is not possible."""
        self.parts.append(Part(name, "skipped", reason))
        print(f"{name}: skipped, {reason}", flush=True)

    def ok(self, name: str) -> bool:
        """Whether the part of that name left something to work with."""
        return any(p.name == name and p.state in ("done", "gate missed") for p in self.parts)


def run_process(words: Sequence[str], stem: Path) -> int:
    with (
        stem.with_name(stem.name + ".out").open("w") as out,
        stem.with_name(stem.name + ".err").open("w") as err,
    ):
        try:
            return subprocess.run(
                words, stdout=out, stderr=err, check=False, timeout=_LIMIT_S
            ).returncode
        except subprocess.TimeoutExpired:
            err.write(f"it did not end within {_LIMIT_S} s\n")
            return 2


def _reason(text: str) -> str:
    """The line of an error in what a process printed, or its last line."""
    lines = text.strip().splitlines()
    told = (line for line in reversed(lines) if line.startswith("error: "))
    return next(told, lines[-1] if lines else "").removeprefix("error: ")


def text_of(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""

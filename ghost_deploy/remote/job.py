"""One command of this package on one board: install, send, run, and what it returned."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from ghost_deploy.core.bundle import DOCUMENT, Bundle
from ghost_deploy.core.bundle.statement import SIGNING_FILES
from ghost_deploy.remote.environment import choose_backends, wanted
from ghost_deploy.remote.install import ensure_environment
from ghost_deploy.remote.session import BoardSession

_SEVERAL_RUNTIMES = frozenset({"check", "bench", "validate"})
"""Commands that run on every runtime that is installed, unless some are named."""


@dataclass(frozen=True)
class SentFiles:
    """An argument that names files here; on the board it names their copies.

    Attributes:
        files: local files by their names below the folder there.
        target: what of that folder the argument names; empty for the folder itself.
        origin: what the files were made of, where some were made to be sent.
        name: what reports call the folder; they would show that of the copy.
    """

    files: Mapping[str, Path]
    target: str = ""
    origin: str = ""
    name: str = ""

    @property
    def key(self) -> str:
        """Name of the folder: the same files come to the same place, where they may still be."""
        parts = [f"{name}\0{path.absolute()}" for name, path in sorted(self.files.items())]
        if self.origin:
            parts = [self.origin]
        return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]


@dataclass(frozen=True)
class SentBundle:
    """An argument that is a bundle here; on the board it is its copy."""

    bundle: Bundle

    @property
    def files(self) -> dict[str, Path]:
        """All that belongs to it, and nothing else that lies in its folder."""
        names = [name for artifact in self.bundle.artifacts for name in artifact.files]
        names += [DOCUMENT, *self.bundle.evidence_files()]
        names += [name for name in SIGNING_FILES if (self.bundle.path / name).is_file()]
        return {name: self.bundle.path / name for name in names}

    @property
    def place(self) -> tuple[str, str]:
        """Its folder there: by content, and with its own name, which reports show."""
        hashes = sorted(a.files[a.path] for a in self.bundle.artifacts)
        key = hashlib.sha256("\n".join(hashes).encode()).hexdigest()[:16]
        return key, self.bundle.path.absolute().name


@dataclass(frozen=True)
class Returned:
    """An argument that names an output; on the board it lies in a folder that comes back."""

    name: str


Word: TypeAlias = "str | SentFiles | SentBundle | Returned"


@dataclass(frozen=True)
class BoardJob:
    """A command for boards.

    Attributes:
        command: its name.
        words: its arguments in order; of an option with a value that is no text, `(option, value)`.
        runtimes: those that the user named; None for the one that suits the board.
        wheels: folder here with wheels for boards.
        extras: pip extras that it needs besides that of its backend.
    """

    command: str
    words: Sequence[Word | tuple[str, Word]]
    runtimes: Sequence[str] | None = None
    wheels: Path | None = None
    extras: Sequence[str] = ()

    @property
    def values(self) -> list[Word]:
        """All arguments, those of options too."""
        return [word[1] if isinstance(word, tuple) else word for word in self.words]

    @property
    def bundles(self) -> list[Bundle]:
        """The bundles that go over."""
        return [word.bundle for word in self.values if isinstance(word, SentBundle)]


@dataclass(frozen=True)
class JobResult:
    """What a command on a board returned.

    Attributes:
        code: its exit code.
        document: what it printed: one JSON document, or nothing.
        messages: the end of its messages, with paths here.
        places: what local path a path there is a copy of.
        names: of folders, by the names that their copies have.
    """

    code: int
    document: bytes
    messages: str
    places: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    def here(self, text: str) -> str:
        """A text of the board with the paths here."""
        return _with_paths_here(text, self.places)


def run_job(session: BoardSession, job: BoardJob, results: Path) -> JobResult:
    """Run a command on a board.

    Args:
        session: with the board.
        job: the command.
        results: a folder here; what it writes there comes back into it, also if it failed.

    Raises:
        GhostDeployError: the board lacks something, or the line broke while the command ran.
    """
    rows = choose_backends(job.bundles, session.board, job.runtimes)
    needed = wanted(rows, session.board, job.extras)
    python = ensure_environment(session, needed, job.wheels)
    placed = _Placed(session)
    words = [placed.word(word) for word in job.words]
    if job.runtimes is None and job.command in _SEVERAL_RUNTIMES:
        # What is not installed there is no finding.
        words = ["--runtime", *(row.name for row in rows), *words]
    if job.command == "bench":  # the figures come back and are stored here
        words = ["--no-store", *words]
    session.make("tmp")
    session.remove("out")
    out = session.make("out")
    session.say(f"running {job.command}")
    answer = session.run(
        [python, "-I", "-X", "utf8", "-m", "ghost_deploy.cli.main", job.command, "--json", *words],
        cwd=out,
        said=lambda text: None if f"{out}/" in text else session.say(placed.here(text)),
    )
    if job.command == "build" and answer.output.strip():
        (bundle,) = [value for value in job.values if isinstance(value, SentBundle)]
        session.fetch(session.board.path("bundles", *bundle.place), results)
    if any(isinstance(value, Returned) for value in job.values):
        session.fetch(out, results)
    session.remove("out", "tmp")
    names = {
        each.key: each.name for each in job.values if isinstance(each, SentFiles) and each.name
    }
    return JobResult(answer.code, answer.output, placed.here(answer.messages), placed.places, names)


class _Placed:
    """Sends what arguments name, and translates them."""

    def __init__(self, session: BoardSession) -> None:
        self._session = session
        self.places: dict[str, str] = {}
        self._sent: set[str] = set()

    def word(self, word: Word | tuple[str, Word]) -> str:
        """The argument as the board's command gets it."""
        if isinstance(word, tuple):
            return f"{word[0]}={self._value(word[1])}"
        return self._value(word)

    def here(self, text: str) -> str:
        """A message of the board with the paths here."""
        return _with_paths_here(text, self.places)

    def _value(self, value: Word) -> str:
        if isinstance(value, str):
            return value
        if isinstance(value, Returned):
            return self._session.board.path("out", value.name)
        if isinstance(value, SentBundle):
            self._session.say(f"sending {value.bundle.path.name}")
            there = self._session.send(value.files, "bundles", *value.place)
            self.places[there] = str(value.bundle.path)
            return there
        there = self._session.board.path("data", value.key)
        if there in self._sent:
            return f"{there}/{value.target}" if value.target else there
        self._session.say(f"sending {len(value.files)} files")
        self._sent.add(self._session.send(value.files, "data", value.key))
        for name, path in value.files.items():
            self.places[f"{there}/{name}"] = str(path)
        return f"{there}/{value.target}" if value.target else there


def _with_paths_here(text: str, places: Mapping[str, str]) -> str:
    for there in sorted(places, key=len, reverse=True):
        text = text.replace(there, places[there])
    return text

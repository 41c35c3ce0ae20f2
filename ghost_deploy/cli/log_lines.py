"""Messages as log lines: with time and level, as text or JSON, and without secrets."""

from __future__ import annotations

import argparse
import json
import logging
import time
import traceback
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import IO, Literal, TypeAlias, get_args

from ghost_deploy.core.errors import GhostDeployError
from ghost_deploy.core.printable import printable
from ghost_deploy.stream.sources.masking import mask

Level = Literal["debug", "info", "warning", "error"]
"""Of a message: `debug` is left out by default; after a `warning` the run goes on."""

Value: TypeAlias = "str | float | None"
"""Of a fact of a message."""

_NO_FACTS: Mapping[str, Value] = {}

LEVELS: tuple[Level, ...] = get_args(Level)
_PADDED = max(map(len, LEVELS))


class LogLines:
    """Writes messages as lines with the time in UTC and the level.

    A line of text is `2026-11-30T19:26:38.123Z INFO    source 0 is live`; one of JSON has `time`,
    `level`, `message` and the facts of the message. User, password and tokens of addresses become
    `***`, as do the `secrets`.

    Args:
        stream: where to.
        least: messages of lower levels are left out.
        as_json: one JSON object a line.
        secrets: texts that no line may hold.
    """

    def __init__(
        self,
        stream: IO[str],
        least: Level = "info",
        *,
        as_json: bool = False,
        secrets: Collection[str] = (),
    ) -> None:
        self.as_json = as_json
        self._stream = stream
        self._least = LEVELS.index(least)
        self._secrets = sorted(secrets, key=len, reverse=True)

    def write(self, level: Level, message: str, facts: Mapping[str, Value] = _NO_FACTS) -> None:
        """Write a message; a further line of its text is indented.

        Args:
            level: of the message.
            message: for people.
            facts: what it says for programs, written in JSON alone; no NaN and no infinity.
        """
        if LEVELS.index(level) < self._least:
            return
        now = datetime.fromtimestamp(time.time(), timezone.utc)
        stamp = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        # Cleaned before it is escaped: the quotes around a secret would hide it.
        message = self._clean(message)
        if self.as_json:
            said = {k: self._clean(v) if isinstance(v, str) else v for k, v in facts.items()}
            line = json.dumps({"time": stamp, "level": level, "message": message, **said})
        else:
            line = f"{stamp} {level.upper():<{_PADDED}} {printable(message)}"
        print(line, file=self._stream, flush=True)

    def error(self, error: GhostDeployError) -> None:
        """Write an error and what to do next."""
        parts = {"got": error.got, "expected": error.expected, "next": error.fix}
        known = {name: str(value) for name, value in parts.items() if value is not None}
        if self.as_json:
            self.write("error", error.what, known)
        else:
            told = [error.what, *(f"  {name}: {value}" for name, value in known.items())]
            self.write("error", "\n".join(told))

    def traceback(self) -> None:
        """Write the traceback of the exception that is being handled."""
        if self.as_json:
            self.write("error", "traceback", {"traceback": traceback.format_exc()})
        else:
            self.write("error", traceback.format_exc().rstrip())

    @contextmanager
    def of_packages(self) -> Iterator[None]:
        """In its block, warnings and errors that packages log become lines too."""
        handler = _Handler(self)
        root = logging.getLogger()
        root.addHandler(handler)
        try:
            yield
        finally:
            root.removeHandler(handler)

    def _clean(self, text: str) -> str:
        text = mask(text)
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def log_of(args: argparse.Namespace, stream: IO[str], token: str | None = None) -> LogLines:
    """The log that `options.add_log` asks for; it hides the `token` of the web view."""
    secrets = [token] if token else []
    return LogLines(stream, args.log_level or "info", as_json=args.log_json, secrets=secrets)


class _Handler(logging.Handler):
    def __init__(self, lines: LogLines) -> None:
        super().__init__(logging.WARNING)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record; one that cannot be written is left to `logging`."""
        try:
            level: Level = "error" if record.levelno >= logging.ERROR else "warning"
            text = f"{record.name}: {record.getMessage()}"
            if record.exc_info and record.exc_info[1]:
                text += f": {type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
            self._lines.write(level, text)
        except Exception:
            self.handleError(record)

"""The line to a board: one SSH connection that all commands to it share.

SSH is used as the user has set it up: keys, agent, jump hosts, known hosts. Nothing is asked for
(`BatchMode`), so that no password passes through here.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from ghost_deploy.core.errors import LineError, UnavailableError
from ghost_deploy.remote.address import BoardAddress
from ghost_deploy.remote.line_call import NO_PYTHON, BoardAnswer, LineCall, Said, silent
from ghost_deploy.remote.local_process import LocalProcess

R = TypeVar("R", LineCall, LocalProcess)

SSH_VARIABLE = "GHOST_DEPLOY_SSH"
"""The environment variable with the SSH command and its options, `ssh` by default."""

_ALIVE_S, _ALIVE_COUNT = 5, 6
_CONNECT_S = 20
_GRACE_S = 5.0
_CHUNK = 1 << 16
LEAST_PYTHON = (3, 10)
"""The oldest Python that a board may have."""
_PYTHONS = (
    "python3 python3.14 python3.13 python3.12 python3.11 python3.10 /usr/bin/python3 "
    "/usr/local/bin/python3 /opt/conda/bin/python3"
)
_HERE = Path(__file__).parent


def ssh_program() -> list[str]:
    """The words that start SSH.

    Raises:
        UnavailableError: it is not installed.
    """
    words = shlex.split(os.environ.get(SSH_VARIABLE) or "ssh")
    if not words or shutil.which(words[0]) is None:
        raise UnavailableError(
            "the SSH client is not installed",
            got=words[0] if words else "nothing",
            fix="Install OpenSSH, e.g. apt-get install openssh-client",
        )
    return words


def board_source(name: str) -> str:
    """The source of one of our modules that run on the board."""
    return (_HERE / f"{name}.py").read_text(encoding="utf-8")


class Line:
    """A connection to a board. `open` it once; several threads may then call.

    Args:
        address: of the board.
        folder: private to this process; it gets the socket that the calls share.
        silence_s: after so many seconds without a sign of life the line counts as broken, here and
            on the board.
    """

    def __init__(
        self, address: BoardAddress, folder: Path, silence_s: float = _ALIVE_S * _ALIVE_COUNT
    ) -> None:
        self.address = address
        self.noisy = False
        """Whether the shell there prints text before each command."""
        self._socket = folder / secrets.token_hex(4)
        self._silence_s = silence_s
        self._running: list[LineCall | LocalProcess] = []
        self._lock = threading.Lock()
        self._ended = False
        self._master: LineCall | None = None

    def ssh_words(self) -> list[str]:
        """SSH with all options, without the host: what `rsync -e` takes."""
        address = self.address
        settings = (
            "BatchMode=yes",
            f"ConnectTimeout={_CONNECT_S}",
            f"ServerAliveInterval={max(1, round(self._silence_s / _ALIVE_COUNT))}",
            f"ServerAliveCountMax={_ALIVE_COUNT}",
            "ClearAllForwardings=yes",
            "ForwardAgent=no",
            "ForwardX11=no",
            "PermitLocalCommand=no",
            "RemoteCommand=none",
            "RequestTTY=no",
            "ControlPersist=no",
            "EscapeChar=none",
        )
        words = [*ssh_program(), *(word for each in settings for word in ("-o", each))]
        words += ["-S", str(self._socket).replace("%", "%%")]  # `%` begins a token of SSH
        if address.port is not None:
            words += ["-p", str(address.port)]
        if address.user:
            words += ["-l", address.user]
        return words

    def open(self, words: Sequence[str]) -> str:
        """Connect, and keep a command running there for as long as the line is open.

        Args:
            words: the command.

        Returns:
            The first line that it printed.

        Raises:
            LineError: the board cannot be reached.
            UnavailableError: it has no Python that is new enough.
            BoardError: the command ended instead.
        """
        self.close()
        self._ended = False
        self._master = self._start(words, master=True)
        try:
            said = self._master.first_line()
        except BaseException:
            self.close()
            raise
        self.noisy = self._master.noisy
        return said

    @property
    def is_open(self) -> bool:
        """Whether the connection stands."""
        return self._master is not None and self._master.runs

    def close(self) -> None:
        """End everything that runs over this line, here and on the board."""
        self._ended = True
        with self._lock:
            running = list(self._running)
        master = [self._master] if self._master else []
        for each in (*running, *master):
            each.stop()
        for each in (*running, *master):
            each.end()
        self._master = None

    def call(
        self,
        words: Sequence[str],
        *,
        cwd: str = "",
        env: Mapping[str, str] | None = None,
        said: Said = silent,
    ) -> BoardAnswer:
        """Run a command on the board and wait for it.

        Args:
            words: the program and its arguments; `{python}` alone stands for the board's Python.
            cwd: folder there.
            env: variables besides those that the account has.
            said: takes its messages, line by line.

        Raises:
            LineError: the line broke; what ran there is ended.
        """
        with self._registered(self._start(words, cwd=cwd, env=env, said=said)) as call:
            return call.wait()

    def call_module(self, name: str, *arguments: str) -> BoardAnswer:
        """Run one of our modules on the board, with its own Python."""
        return self.call(["{python}", "-c", board_source(name), *arguments])

    @contextlib.contextmanager
    def stream_module(self, name: str, *arguments: str) -> Iterator[LocalProcess]:
        """Run one of our modules there with its standard input and output open to the block.

        Nothing supervises it there: it must end when its standard input does.
        """
        source = board_source(name).encode()
        words = [*self.ssh_words(), *self._host(), bootstrap(len(source), arguments)]
        with self._registered(LocalProcess(words)) as process:
            with contextlib.suppress(OSError):
                process.input.write(source)
                process.input.flush()
            yield process

    def watch(self, words: Sequence[str]) -> tuple[int, str]:
        """Run a program here that uses the line, e.g. rsync; its exit code and messages."""
        with self._registered(LocalProcess(words)) as process:
            process.input.close()
            while process.output.read(_CHUNK):
                pass
            return process.finish()

    @contextlib.contextmanager
    def _registered(self, running: R) -> Iterator[R]:
        """`close` ends it too; it is ended at the end of the block."""
        with self._lock:
            self._running.append(running)
        try:
            if self._ended:
                running.stop()
            yield running
        finally:
            running.stop()
            running.end()
            with self._lock:
                self._running.remove(running)

    def _host(self) -> list[str]:
        return ["-T", "--", self.address.host]

    def _start(
        self,
        words: Sequence[str],
        *,
        cwd: str = "",
        env: Mapping[str, str] | None = None,
        said: Said = silent,
        master: bool = False,
    ) -> LineCall:
        if self._ended:
            raise LineError(f"the line to {self.address.name} was closed", fix="Run it again")
        mark = f"ghost-deploy-{secrets.token_hex(8)}"
        request = {
            "mark": mark,
            "words": list(words),
            "cwd": cwd,
            "env": dict(env or {}),
            "silence_s": self._silence_s,
            "grace_s": _GRACE_S,
        }
        source = board_source("supervise").encode()
        opening = source + json.dumps(request).encode() + b"\n"
        kind = ["-o", f"ControlMaster={'yes' if master else 'no'}"]
        ssh = [*self.ssh_words(), *kind, *self._host(), bootstrap(len(source))]
        return LineCall(self.address, ssh, mark, opening, said, self._silence_s)


def bootstrap(size: int, arguments: Sequence[str] = ()) -> str:
    """The command that SSH hands to the login shell of the account.

    It reads `size` bytes of Python from standard input and executes them. All shells take it (sh,
    dash, bash, zsh, csh, fish): `exec`, one program, and words in single quotes without the
    characters that some of them read there: the quote, the exclamation mark and the backslash.

    Args:
        size: of the source, bytes.
        arguments: of the source, `sys.argv[1:]`; they travel as digits.
    """
    given = json.dumps(list(arguments)).encode().hex()
    program = (
        "import sys,json;n=int(sys.argv[1]);sys.argv[1:]=json.loads(bytes.fromhex(sys.argv[2]));"
        "exec(sys.stdin.buffer.read(n))"
    )
    test = f"import sys;sys.exit(sys.version_info<{LEAST_PYTHON})"
    script = (
        f'for p in {_PYTHONS}; do if "$p" -c "{test}" 2>/dev/null; then '
        f'exec "$p" -c "{program}" {size} {given}; fi; done; '
        f"python3 --version 1>&2; exit {NO_PYTHON}"
    )
    return f"exec /bin/sh -c '{script}'"

"""A board: a real SSH server on loopback, with an account of its own where the tests run as root.

The account's home folder lies beside pytest's folders, which no other account may enter.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import wait_until

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
PYTHON = Path("/usr/bin/python3")


def needs_sshd() -> None:
    """Skip the test where there is no SSH server or client."""
    for program in ("ssh", "ssh-keygen", "rsync"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: apt install openssh-client rsync")
    if SSHD is None:
        pytest.skip("no SSH server: apt install openssh-server")


class SshBoard:
    """An SSH server and its account.

    Attributes:
        user: the account.
        home: its folder.
        port: of the server.
        command: for `$GHOST_DEPLOY_SSH`: SSH with the key and the known hosts of the test.
    """

    def __init__(self, folder: Path, user: str, home: Path) -> None:
        self.user = user
        self.home = home
        self.folder = folder
        self.port = free_port()
        self._server: subprocess.Popen[bytes] | None = None
        for name in ("host_key", "key"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)],
                check=True,
            )
        ssh = home / ".ssh"
        ssh.mkdir(mode=0o700, exist_ok=True)
        shutil.copy(folder / "key.pub", ssh / "authorized_keys")
        host_key = (folder / "host_key.pub").read_text().split()
        known = folder / "known_hosts"
        known.write_text(f"* {host_key[0]} {host_key[1]}\n")
        self._own(home)
        self.command = (
            f"ssh -F none -i '{folder}/key' -o IdentitiesOnly=yes "
            f"-o UserKnownHostsFile='{known}' -o StrictHostKeyChecking=yes"
        )
        self.environment: dict[str, str] = {"PATH": "/usr/local/bin:/usr/bin:/bin"}

    def _own(self, path: Path) -> None:
        if os.getuid() == 0:
            subprocess.run(["chown", "-R", f"{self.user}:", str(path)], check=True)

    def address(self, folder: str = "", port: int | None = None) -> str:
        """The address of the board."""
        return f"ssh://{self.user}@127.0.0.1:{port or self.port}{folder}"

    def start(self) -> None:
        """Start the server, and wait until it listens."""
        assert SSHD is not None
        Path("/run/sshd").mkdir(exist_ok=True) if os.getuid() == 0 else None
        config = self.folder / "sshd_config"
        variables = " ".join(f'"{name}={value}"' for name, value in self.environment.items())
        config.write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.folder}/host_key\n"
            f"PidFile {self.folder}/pid\nUsePAM no\nStrictModes no\nPasswordAuthentication no\n"
            f"KbdInteractiveAuthentication no\n"
            f"AuthorizedKeysFile {self.home}/.ssh/authorized_keys\n"
            f"AllowUsers {self.user}\nMaxStartups 100\nSetEnv {variables}\nPrintMotd no\n"
            "Subsystem sftp internal-sftp\n"
        )
        log = self.folder / "log"
        self._server = subprocess.Popen(
            [SSHD, "-D", "-f", str(config), "-E", str(log)], start_new_session=True
        )
        wait_until(lambda: listens(self.port), state=lambda: log.read_text()[-2000:])

    def stop(self) -> None:
        """End the server and everything of the account, as switching the board off does."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self.processes(), state=self.processes)

    def restart_with(self, **variables: str) -> None:
        """Give the account other environment variables."""
        self.environment = variables
        self._own(self.home)
        self.restart()

    def restart(self) -> None:
        """As a reboot."""
        self.stop()
        self.start()

    def processes(self) -> dict[int, str]:
        """What runs for the board: below the server, and what the account left."""
        below = {self._server.pid} if self._server else set()
        found: dict[int, str] = {}
        own = None if self.user == getpass.getuser() else pwd.getpwnam(self.user).pw_uid
        for entry in sorted(Path("/proc").glob("[0-9]*"), key=lambda p: int(p.name)):
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                pid = int(entry.name)
                if parent in below or (own is not None and entry.stat().st_uid == own):
                    below.add(pid)
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                    if line:  # no zombie
                        found[pid] = line.decode(errors="replace")[:1000]
        return found


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether something accepts connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def ssh_board(shell: str = "/bin/sh") -> Iterator[SshBoard]:
    """A running board.

    Args:
        shell: of the account, where one is made.
    """
    needs_sshd()
    root = Path(tempfile.mkdtemp(prefix="ghost-deploy-board-", dir="/tmp"))
    root.chmod(0o755)
    private = root / "server"
    private.mkdir(mode=0o700)
    home = root / "home"
    home.mkdir(mode=0o755)
    user = getpass.getuser()
    made = False
    try:
        if os.getuid() == 0:
            user = f"gdtest{secrets.token_hex(3)}"
            _make_account(user, home, shell)
            made = True
        board = SshBoard(private, user, home)
        board.start()
        try:
            yield board
        finally:
            board.stop()
    finally:
        if made:
            _retry(["userdel", user])
        shutil.rmtree(root, ignore_errors=True)


def _make_account(user: str, home: Path, shell: str) -> None:
    # The password `*` is none that fits; an account that is locked, `!`, is refused by sshd.
    _retry(["useradd", "-M", "-d", str(home), "-s", shell, "-p", "*", "-U", user])


def _retry(words: list[str]) -> None:
    """Run it; another test process may hold the lock of the system's list of accounts."""
    for _ in range(50):
        if subprocess.run(words, capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.1)
    subprocess.run(words, check=True)

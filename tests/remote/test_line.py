"""The line to a board: what goes over it, and that nothing stays behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ghost_deploy.core.errors import LineError, UnavailableError
from ghost_deploy.remote.address import BoardAddress
from ghost_deploy.remote.line import Line, bootstrap
from ghost_deploy.remote.line_call import unreachable
from tests.support.ssh_board import SshBoard, ssh_board
from tests.support.waiting import wait_until

SHOW = [
    "{python}", "-c", "import json,os,sys; print(json.dumps([sys.argv[1:], os.getcwd()]))",
]  # fmt: skip
HARD = [
    "a b",
    "it's",
    'say "x"',
    "größe",
    "-x",
    "--",
    "$HOME",
    "`id`",
    "a\\b",
    "!!",
    "*",
    "",
    "a\nb",
]


def busy_family() -> list[str]:
    """A command that ignores SIGINT, with a child of a session of its own."""
    code = (
        "import os,signal,subprocess,sys,time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "subprocess.Popen(['sleep', '98765'], start_new_session=True)\n"
        "if os.fork() == 0:\n    os.setsid()\n    time.sleep(98765)\n"
        "print('begun', file=sys.stderr, flush=True)\n"
        "time.sleep(98765)"
    )
    return ["{python}", "-c", code]


def test_every_argument_arrives_as_it_is(line: Line) -> None:
    answer = line.call([*SHOW, *HARD], cwd="/usr/lib")
    assert json.loads(answer.output) == [HARD, "/usr/lib"]
    assert answer.code == 0


def test_output_code_and_messages_are_kept_apart(line: Line) -> None:
    said: list[str] = []
    answer = line.call(
        ["sh", "-c", "printf 'no end of line'; echo one >&2; echo two >&2; exit 9"],
        said=said.append,
    )
    assert (answer.code, answer.output) == (9, b"no end of line")
    assert said == ["one", "two"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["no such program"], 127),
        (["sh", "-c", "kill -9 $$"], 137),
        (["sh", "-c", "exit 255"], 255),
        (["true"], 0),
    ],
)
def test_how_commands_end(line: Line, words: list[str], code: int) -> None:
    assert line.call(words).code == code


def test_much_output(line: Line) -> None:
    answer = line.call(["{python}", "-c", "import sys; sys.stdout.buffer.write(bytes(5 << 20))"])
    assert answer.output == bytes(5 << 20)


def test_a_command_has_no_input(line: Line) -> None:
    assert line.call(["cat"]).output == b""


def test_calls_in_several_threads(line: Line) -> None:
    found: dict[int, bytes] = {}

    def ask(number: int) -> None:
        found[number] = line.call(["sh", "-c", f"echo {number}"]).output

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: f"{number}\n".encode() for number in range(4)}


def test_closing_ends_children_that_hide(board: SshBoard, line: Line) -> None:
    begun = threading.Event()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            line.call(busy_family(), said=lambda _: begun.set())
        except LineError as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(20)
    assert sum("98765" in text for text in board.processes().values()) >= 2
    line.close()
    thread.join(20)
    assert not thread.is_alive()
    wait_until(lambda: not board.processes(), state=board.processes)


def test_what_a_command_leaves_behind_is_ended_with_it(board: SshBoard, line: Line) -> None:
    answer = line.call(["sh", "-c", "setsid sleep 98764 >/dev/null 2>&1 & sleep 0.3; exit 4"])
    assert answer.code == 4
    assert not [text for text in board.processes().values() if "98764" in text]


def test_a_process_here_that_is_killed_leaves_nothing_there(
    board: SshBoard, tmp_path: Path
) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from ghost_deploy.remote.line import Line\n"
        "from ghost_deploy.remote.address import BoardAddress\n"
        "line = Line(BoardAddress.parse(sys.argv[1]), Path(sys.argv[2]))\n"
        "line.open(['sh', '-c', 'echo ready; exec sleep 1000'])\n"
        "words = ['sh', '-c', 'echo begun >&2; exec sleep 98765']\n"
        "line.call(words, said=lambda text: print(text, flush=True))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, board.address(), str(tmp_path)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    process.kill()
    process.wait()
    process.stdout.close()
    wait_until(lambda: not board.processes(), state=board.processes)


def test_silence_ends_the_command_there(board: SshBoard, line: Line) -> None:
    """The line is up but nothing comes any more, as when a cable is pulled."""
    begun = threading.Event()

    def run() -> None:
        with contextlib.suppress(LineError):
            line.call(busy_family(), said=lambda _: begun.set())

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(20)
    stopped = ssh_processes(line)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(
            lambda: not any("98765" in text for text in board.processes().values()),
            timeout_s=30,
            state=board.processes,
        )
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    line.close()
    thread.join(20)


def ssh_processes(line: Line) -> list[int]:
    """The SSH clients of a line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"ssh") and str(line._socket).encode() in words:
            found.append(int(entry.name))
    return found


def test_a_host_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GHOST_DEPLOY_SSH", "ssh -F none")
    with pytest.raises(LineError, match="cannot be reached") as caught:
        Line(BoardAddress("127.0.0.1", port=1), tmp_path).open(["true"])
    assert "SSH server" in caught.value.fix


def test_an_unknown_host_key_is_not_accepted(
    board: SshBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = f"ssh -o UserKnownHostsFile={tmp_path}/no "
    monkeypatch.setenv("GHOST_DEPLOY_SSH", board.command.replace("ssh ", unknown, 1))
    with pytest.raises(LineError, match="cannot be reached") as caught:
        Line(BoardAddress.parse(board.address()), tmp_path).open(["true"])
    assert f"ssh-keygen -R '[127.0.0.1]:{board.port}'" in caught.value.fix


@pytest.mark.parametrize(
    ("address", "known"),
    [
        ("ssh://pi", "-R pi"),
        ("ssh://a@pi:22", "-R pi"),
        ("ssh://a@pi:2222/f", "-R '[pi]:2222'"),
        ("ssh://[::1]:23", "-R '[::1]:23'"),
    ],
)
def test_an_old_host_key_is_named_as_ssh_names_it(address: str, known: str) -> None:
    for sign in ("Host key verification failed.", "REMOTE HOST IDENTIFICATION HAS CHANGED!"):
        error = unreachable(BoardAddress.parse(address), 255, sign)
        assert error.fix.split("ssh-keygen ")[1].split(",")[0] == known


def test_a_key_that_the_board_does_not_know(
    board: SshBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = board.folder / "known_hosts"
    monkeypatch.setenv(
        "GHOST_DEPLOY_SSH", f"ssh -F none -o IdentityFile=none -o UserKnownHostsFile={known}"
    )
    with pytest.raises(LineError, match="Permission denied") as caught:
        Line(BoardAddress.parse(board.address()), tmp_path).open(["true"])
    assert "ssh-copy-id" in caught.value.fix


def test_no_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GHOST_DEPLOY_SSH", "no-such-ssh")
    with pytest.raises(UnavailableError, match="SSH client is not installed"):
        Line(BoardAddress("x"), tmp_path).open(["true"])


GREETING = "#!/bin/sh\necho 'Welcome!'\nprintf 'no line end'\nexec /bin/sh \"$@\"\n"
NOT_BASH = """#!/usr/bin/python3
# As fish: it refuses what only POSIX shells understand outside quotes.
import os, shlex, sys
text = sys.argv[2]
outside = "".join(text.split("'")[::2])
if any(sign in outside for sign in ("$", "`", "&", ";", "=", "(", "<", ">", '"', "\\\\")):
    sys.exit("fish: unknown syntax: " + outside)
words = shlex.split(text)
if words[0] == "exec":
    words = words[1:]
os.execvp(words[0], words)
"""
NO_PYTHON = """#!/usr/bin/python3
# The programs that are looked for are not there.
import os, re, sys
os.execv("/bin/sh", ["sh", "-c", re.sub("[a-z/]*python3[.0-9]*", "/no/python3", sys.argv[2])])
"""


@pytest.fixture(params=["greeting", "dash", "not bash"])
def odd_board(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SshBoard]:
    with ssh_board() as board:
        set_shell(board, {"greeting": GREETING, "dash": "", "not bash": NOT_BASH}[request.param])
        yield board


def shell_of(board: SshBoard) -> str:
    """The script that the account has as its shell; empty where it has another."""
    path = board.home / "shell"
    return path.read_text() if path.exists() else ""


def set_shell(board: SshBoard, script: str) -> None:
    """Give the account another login shell."""
    if os.getuid() != 0:
        pytest.skip("the shell of an account is changed by root")
    shell = "/usr/bin/dash"
    if script:
        path = board.home / "shell"
        path.write_text(script)
        path.chmod(0o755)
        shell = str(path)
    subprocess.run(["usermod", "-s", shell, board.user], check=True)


def test_login_shells(odd_board: SshBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GHOST_DEPLOY_SSH", odd_board.command)
    line = Line(BoardAddress.parse(odd_board.address()), tmp_path)
    assert line.open(["sh", "-c", "echo ready; exec sleep 1000"]) == "ready"
    answer = line.call([*SHOW, *HARD])
    line.close()
    assert json.loads(answer.output)[0] == HARD
    assert line.noisy == ("Welcome" in shell_of(odd_board))


def test_a_board_without_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ssh_board() as board:
        set_shell(board, NO_PYTHON)
        monkeypatch.setenv("GHOST_DEPLOY_SSH", board.command)
        with pytest.raises(UnavailableError, match="no Python") as caught:
            Line(BoardAddress.parse(board.address()), tmp_path).open(["true"])
    assert caught.value.exit_code == 3


def test_the_first_command_has_no_character_that_shells_read_differently() -> None:
    text = bootstrap(123, ["it's", "!"])
    inner = text.partition("'")[2].rpartition("'")[0]
    assert text == f"exec /bin/sh -c '{inner}'"
    assert not set(inner) & set("'!\\\n")

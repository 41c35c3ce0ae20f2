"""What hostile code in the child can reach: each attack is tried there and says what came of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ghost_deploy.checkpoints.fork import child_settings, fork_process
from ghost_deploy.checkpoints.fork.fork_folder import open_fork_folder
from ghost_deploy.checkpoints.fork.fork_process import ForkProcess
from ghost_deploy.checkpoints.fork.messages import LoadRequest
from ghost_deploy.core.errors import CheckpointError
from tests.support.fork_folders import needs_confinement, write_fork
from tests.support.waiting import wait_until

REQUEST = LoadRequest(classes=2, size_hw=(64, 64))

ATTACKS = """
import mmap, os, signal, socket, subprocess, sys, threading

OUTCOMES = {}

def attack(name, action):
    try:
        OUTCOMES[name] = f"done: {action()}"[:200]
    except BaseException as error:
        OUTCOMES[name] = f"{type(error).__name__}: {error}"[:200]

def read_link(number):
    try:
        return os.readlink("/proc/self/fd/" + number)
    except OSError:
        return ""

def bomb():
    for _ in range(10000):
        if os.fork() == 0:
            os._exit(0)

def allocate():
    kept = []
    for _ in range(1000):
        kept.append(bytearray(1 << 28))

def fill():
    for name in "ab":
        with open("/tmp/" + name, "wb") as file:
            file.write(bytes(40 << 20))

def threads():
    for _ in range(8):
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()

attack("connect", lambda: socket.create_connection(("192.0.2.1", 80), 2))
attack("loopback", lambda: socket.create_connection(("127.0.0.1", PORT), 2))
attack("resolve", lambda: socket.getaddrinfo("example.com", 80))
attack("fork bomb", bomb)
attack("program", lambda: subprocess.run(["/bin/true"]))
attack("exec", lambda: os.execv("/bin/true", ["true"]))
attack("write home", lambda: open(HOME + "/planted", "w"))
attack("write fork", lambda: open(os.path.dirname(__file__) + "/planted.py", "w"))
attack("write environment", lambda: open(os.path.dirname(os.__file__) + "/planted.py", "w"))
attack("read home", lambda: open(HOME + "/secret").read())
attack("read passwords", lambda: open("/etc/passwd").read())
attack("environment", lambda: [name for name in os.environ if "SECRET" in name])
attack("descriptors", lambda: list(map(read_link, os.listdir("/proc/self/fd"))))
attack("processes", lambda: [n for n in os.listdir("/proc") if n.isdigit()])
attack("parent", lambda: os.kill(os.getppid(), signal.SIGKILL))
attack("everybody", lambda: os.kill(-1, signal.SIGKILL))
attack("stop", lambda: os.kill(os.getpid(), signal.SIGSTOP))
attack("memory", allocate)
attack("shared memory", lambda: mmap.mmap(-1, 1 << 20))
attack("fill", fill)
attack("become root", lambda: os.setuid(0))
attack("threads", threads)
print("x" * (8 << 20))
os.write(2, b"\\x1b]0;owned\\x07")
"""

REPORT = """
import json
from ultralytics.nn.modules.block import OUTCOMES

def restore(self, state):
    nn.Module.__setstate__(self, state)
    self.names = [json.dumps(pair) for pair in OUTCOMES.items()]

DetectionModel.__setstate__ = restore
"""
"""Lets the network report what came of the attacks as its class names."""

CONTAINED = {
    "connect": "OSError",
    "loopback": "OSError",
    "resolve": "gaierror",
    "fork bomb": "PermissionError",
    "program": "PermissionError",
    "exec": "PermissionError",
    "write home": "FileNotFoundError",
    "write fork": "OSError: [Errno 30]",
    "write environment": "OSError: [Errno 30]",
    "read home": "FileNotFoundError",
    "read passwords": "FileNotFoundError",
    "environment": "done: []",
    "processes": "done: ['1']",
    "everybody": "ProcessLookupError",
    "memory": "MemoryError",
    "shared memory": "OSError: [Errno 12]",
    "fill": "OSError: [Errno 28]",
    "become root": "OSError: [Errno 22]",
    "threads": "done",
}


@needs_confinement
def test_attacks_are_contained(
    fork_folder: Path, fork_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "secret").write_text("the key")
    monkeypatch.setenv("MY_SECRET", "the key")
    monkeypatch.setattr(child_settings, "memory_limit", lambda: 1 << 30)
    monkeypatch.setattr(child_settings, "SCRATCH_BYTES", 64 << 20)
    with (
        (home / "secret").open() as file,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        os.set_inheritable(file.fileno(), True)
        settings = f"\nHOME, PORT = {str(home)!r}, {listener.getsockname()[1]}\n"
        folder = write_fork(tmp_path / "fork", block=settings + ATTACKS, tasks=REPORT)
        with ForkProcess(open_fork_folder(folder)) as process:
            reply = process.load(fork_checkpoint.read_bytes(), REQUEST)
    outcomes = dict(json.loads(name) for name in reply.names)
    wrong = {
        name: outcomes.get(name)
        for name, expected in CONTAINED.items()
        if not outcomes.get(name, "").startswith(expected)
    }
    assert wrong == {}
    assert "secret" not in outcomes["descriptors"]
    assert [*home.iterdir()] == [home / "secret"]
    assert not list(folder.rglob("planted*"))


ENDINGS = {
    "it imports for ever": ("while True: pass", "it did not answer in time"),
    "it leaves": ("import os; os._exit(7)", "it ended with exit code 7"),
    "it aborts": ("import os; os.abort()", "it was ended by SIG(ABRT|SEGV)"),
    "it writes nonsense": ("FORGED = b'nonsense' * 9", "not of the known form"),
    "it announces too much": (
        "import struct; FORGED = struct.pack('<4sQQ', b'GDF1', 2, 1 << 60)",
        "at most 0 are read",
    ),
    "it gives another answer": (
        'import struct; T = b\'{"type":"graph"}\'; '
        "FORGED = struct.pack('<4sQQ', b'GDF1', len(T), 0) + T",
        "not of the known form",
    ),
}

_FORGE = """
import os, time
if "FORGED" in globals():
    for number in range(3, 64):
        try:
            os.write(number, FORGED)
        except OSError:
            pass
    time.sleep(1e6)
"""


@needs_confinement
@pytest.mark.parametrize("ending", ENDINGS)
def test_code_that_gives_no_answer_is_ended_and_named(
    ending: str, fork_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, named = ENDINGS[ending]
    if "in time" in named:
        monkeypatch.setattr(fork_process, "LOAD_S", 4.0)
    folder = write_fork(tmp_path / "fork", block=f"\n{code}\n{_FORGE}")
    with (
        ForkProcess(open_fork_folder(folder)) as process,
        pytest.raises(CheckpointError, match=named),
    ):
        process.load(fork_checkpoint.read_bytes(), REQUEST)


@needs_confinement
def test_where_the_kernel_grants_no_namespaces_it_refuses(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("")
    program = (
        "from ghost_deploy.checkpoints.fork.fork_process import ForkProcess;"
        "from ghost_deploy.checkpoints.fork.fork_folder import open_fork_folder;"
        f"ForkProcess(open_fork_folder({str(tmp_path)!r}))"
    )
    none_left = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    done = subprocess.run(
        ["unshare", "-Ur", "sh", "-c", none_left, "-", sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "UnavailableError: the fork's code cannot be confined here" in done.stderr
    assert "--fork-unconfined" in done.stderr


_HOLD = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background ignores it
from pathlib import Path
from ghost_deploy.checkpoints.fork.fork_folder import open_fork_folder
from ghost_deploy.checkpoints.fork.fork_process import ForkProcess
from ghost_deploy.checkpoints.fork.messages import LoadRequest

if __name__ == "__main__":
    process = ForkProcess(open_fork_folder(sys.argv[1]), confined=sys.argv[3] == "confined")
    print(process._child.pid, flush=True)
    process.load(Path(sys.argv[2]).read_bytes(), LoadRequest(classes=2, size_hw=(64, 64)))
"""

_SPAWN = """
import subprocess, sys, time
try:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1e6)"], start_new_session=True)
except OSError:
    pass
time.sleep(1e6)
"""


@pytest.mark.parametrize(
    ("number", "how"),
    [
        pytest.param(signal.SIGTERM, "confined", marks=needs_confinement),
        pytest.param(signal.SIGINT, "confined", marks=[needs_confinement, pytest.mark.slow]),
        pytest.param(signal.SIGKILL, "confined", marks=[needs_confinement, pytest.mark.slow]),
        (signal.SIGINT, "unconfined"),
        pytest.param(signal.SIGTERM, "unconfined", marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, "unconfined", marks=pytest.mark.slow),
    ],
)
def test_the_whole_tree_ends_with_the_parent(
    number: signal.Signals, how: str, fork_checkpoint: Path, tmp_path: Path
) -> None:
    folder = write_fork(tmp_path / "fork", block=_SPAWN)
    command = [sys.executable, "-c", _HOLD, str(folder), str(fork_checkpoint), how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdout is not None
        launcher = int(parent.stdout.readline())
        expected = 1 if how == "confined" else 2  # the code, and what it has started
        wait_until(lambda: len(_below(launcher)) >= expected, 60)
        tree = [launcher, *_below(launcher)]
        parent.send_signal(number)
    wait_until(lambda: not any(map(_runs, tree)), 20)


def _below(root: int) -> list[int]:
    """All processes below one."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{name}/stat").read_text()
            parents[int(name)] = int(text.rpartition(")")[2].split()[1])
    found, last = [], [root]
    while last:
        last = [pid for pid, parent in parents.items() if parent in last]
        found += last
    return found


def _runs(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False

"""The end of a command: what is left to do is done, and nothing is destroyed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

START = "import atexit, os, sys, threading, time; from ghost_deploy.cli.leave import leave\n"
DESTROYED = "class A:\n    def __del__(self): os.write(1, b'destroyed')\nkept = A()\n"


def run(code: str, out: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    buffered = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", START + code]
    return subprocess.run(
        command, stdout=out, stderr=subprocess.PIPE, text=True, env=buffered, check=False
    )


@pytest.mark.parametrize("code", [0, 1, 2, 3, 130, 143])
def test_the_exit_code(code: int) -> None:
    assert run(f"leave({code})").returncode == code


def test_nothing_is_destroyed() -> None:
    assert run(DESTROYED).stdout == "destroyed"
    assert run(DESTROYED + "leave(0)").stdout == ""


@pytest.mark.parametrize(
    ("code", "out", "err"),
    [
        ("sys.stdout.write('no line'); sys.stderr.write('nor here')", "no line", "nor here"),
        ("atexit.register(print, 'first registered'); atexit.register(print, 'last')",
         "last\nfirst registered\n", ""),
        ("import ctypes; ctypes.CDLL(None).printf(b'of a library')", "of a library", ""),
    ],
)  # fmt: skip
def test_what_is_left_to_do_is_done(code: str, out: str, err: str) -> None:
    ran = run(code + "\nleave(0)")
    assert (ran.stdout, ran.stderr, ran.returncode) == (out, err, 0)


def test_threads_at_work_are_waited_for() -> None:
    work = "threading.Thread(target=lambda: (time.sleep(0.3), print('done'))).start()\n"
    ran = run(work + "leave(3)")
    assert (ran.stdout, ran.returncode) == ("done\n", 3)


def test_daemons_are_not_waited_for() -> None:
    ran = run("threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\nleave(0)")
    assert ran.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_stream_that_takes_nothing_is_told() -> None:
    with Path("/dev/full").open("w") as full:
        ran = run("print('lost')\nleave(0)", full.fileno())
    assert ran.returncode == 120
    assert "No space left" in ran.stderr


def test_the_command_ends_so() -> None:
    code = "sys.argv[1:] = ['infer', 'absent', 'absent.jpg']\n" + DESTROYED
    ran = run(code + "from ghost_deploy.cli.main import command; command()")
    assert ran.returncode == 2
    assert "destroyed" not in ran.stdout

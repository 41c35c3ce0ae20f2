"""The command as a program: help, exit codes, errors, streams."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ghost_deploy import api
from ghost_deploy._version import __version__
from ghost_deploy.cli.main import COMMANDS, EXIT_CODES, build_parser, main
from ghost_deploy.cli.signals import Terminated
from ghost_deploy.core.errors import InputError, MissingExtraError
from ghost_deploy.core.gate_error import GateError
from ghost_deploy.runtimes.vendor import vendor_import

Capture = pytest.CaptureFixture[str]
HEAVY = ("torch", "onnx", "onnxruntime", "openvino", "cv2", "numpy", "rich", "msgspec", "shtab")


def run_process(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ghost_deploy.cli.main", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_no_command(capsys: Capture) -> None:
    assert main([]) == 2
    assert "COMMAND" in capsys.readouterr().err


def test_help(capsys: Capture) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in COMMANDS)
    assert EXIT_CODES.strip() in out
    assert "examples:" in out


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["infer", "--help"], ["infer"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from ghost_deploy.cli.main import main\n"
        f"main({words!r})\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_each_help_has_an_example_of_its_command(name: str, capsys: Capture) -> None:
    assert main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"ghost-deploy {name}" in out.partition("examples:")[2]
    assert "exit codes:" in out


def test_every_option_has_a_help() -> None:
    parser = build_parser(COMMANDS)
    (commands,) = (action for action in parser._actions if hasattr(action.choices, "values"))
    for name, command in commands.choices.items():
        for action in command._actions:
            assert action.help, f"{name} {action.option_strings or action.dest}"


def test_version(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ghost-deploy {__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["fly"],
        ["--fly"],
        ["infer"],
        ["infer", "b"],
        ["export", "best.pt", "-o", "x", "--imgsz", "big"],
        ["infer", "b", "x", "--conf", "7"],
        ["infer", "b", "x", "--threads", "-1"],
        ["infer", "b", "x", "--prec", "fp16"],  # no abbreviations: they would break later
        ["completion", "cmd.exe"],
    ],
)
def test_wrong_use(words: list[str], capsys: Capture) -> None:
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("ghost-deploy")
    assert ": error: " in said.err
    assert said.err.endswith("--help` has all options\n")


def test_an_export_without_a_folder_says_what_is_missing(capsys: Capture) -> None:
    assert main(["export", "best.pt"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "next: Add -o BUNDLE" in said.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("no such thing", got=1, expected=2, fix="Do that"), 2),
        (GateError("too far off", fix="Do that"), 1),
        (MissingExtraError.for_extra("torch", "export"), 3),
        (RuntimeError("boom"), 2),
        (OSError(28, "No space left on device"), 2),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 2),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("debug", [False, True])
def test_errors_have_a_code_and_no_traceback(
    error: BaseException, code: int, debug: bool, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(api, "inspect", fail)
    assert main(["inspect", "x", *(["--debug"] if debug else [])]) == code
    said = capsys.readouterr()
    assert said.out == ""
    quiet = isinstance(error, KeyboardInterrupt | BrokenPipeError)
    assert ("Traceback" in said.err) is (debug and not quiet)
    assert quiet or "\nnext: " in said.err


@pytest.mark.parametrize(
    ("stop", "code", "said"),
    [(KeyboardInterrupt(), 130, "interrupted\n"), (Terminated(), 143, "terminated\n")],
)
def test_a_signal_while_a_package_is_imported(
    stop: BaseException,
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    """As compiled modules do it: what was raised in them becomes the cause of an ImportError."""

    def fail(*_: object, **__: object) -> None:
        with vendor_import("onnxruntime", "onnxruntime"):
            raise ImportError("initialization failed") from stop

    monkeypatch.setattr(api, "inspect", fail)
    assert main(["inspect", "x"]) == code
    assert capsys.readouterr().err == said


def test_an_error_says_what_got_expected_next(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise InputError("no such thing", got=1, expected=2, fix="Do that")

    monkeypatch.setattr(api, "inspect", fail)
    main(["inspect", "x"])
    assert capsys.readouterr().err == (
        "error: no such thing\n  got: 1\n  expected: 2\nnext: Do that\n"
    )


def test_what_vendors_print_does_not_reach_standard_output() -> None:
    """Not through `print`, and not through the file descriptor, as C++ does it."""
    code = (
        "import os, sys\n"
        "from ghost_deploy import api\n"
        "from ghost_deploy.cli.main import main\n"
        "def chatty(*_, **__):\n"
        "    print('python chatter')\n"
        "    os.write(1, b'native chatter\\n')\n"
        "    return {'answer': 'ü'}\n"
        "api.inspect = chatty\n"
        "sys.exit(main(['inspect', 'x', '--json']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert json.loads(done.stdout) == {"answer": "ü"}
    assert b"python chatter" in done.stderr
    assert b"native chatter" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_standard_output_is_an_error() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ghost_deploy.cli.main", "completion", "bash"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_standard_output_that_is_closed() -> None:
    command = f"{shlex.quote(sys.executable)} -m ghost_deploy.cli.main completion bash >&-"
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("messages", ["2>/dev/full", "2>&-", "<&- 2>&-"])
def test_messages_that_cannot_be_written_end_nothing(messages: str, tmp_path: Path) -> None:
    """A full disk with a log on it ended runs, with the code of a failed gate."""
    code = (
        "import contextlib, os, sys\n"
        "from ghost_deploy import api\n"
        "from ghost_deploy.cli.main import command\n"
        "def inspect(*_, **__):\n"
        "    for number in range(2000):\n"
        "        print('a message of a package', number, file=sys.stderr, flush=True)\n"
        "    with open('taken', 'wb') as file:\n"
        "        with contextlib.suppress(OSError):\n"
        "            os.write(2, b'of C code')\n"
        "        assert file.fileno() > 2\n"
        "    return {'answer': 3}\n"
        "api.inspect = inspect\n"
        "command()\n"
    )
    (tmp_path / "run.py").write_text(code)
    words = f"{shlex.quote(sys.executable)} run.py inspect x --json {messages}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        ["sh", "-c", words], stdout=subprocess.PIPE, cwd=tmp_path, env=environment, check=False
    )
    assert (done.returncode, json.loads(done.stdout)) == (0, {"answer": 3})
    assert (tmp_path / "taken").read_bytes() == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_error_keeps_its_code_where_it_cannot_be_told() -> None:
    words = [sys.executable, "-m", "ghost_deploy.cli.main", "infer", "b", "absent"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stderr=full, stdout=subprocess.PIPE, check=False)
    assert (done.returncode, done.stdout) == (2, b"")


def test_a_reader_that_leaves_early() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "ghost_deploy.cli.main", "completion", "bash"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (2, "")


def test_names_that_the_terminal_cannot_show() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    done = run_process("infer", "b", "ünd/画像.png", env=environment)
    assert done.returncode == 2
    assert "no image" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_all_commands_and_options(shell: str, capsys: Capture) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(name in script for name in COMMANDS)
    assert "allow-fallback" in script


def test_completion_works_in_bash(tmp_path: Path) -> None:
    script = tmp_path / "completion"
    script.write_text(run_process("completion", "bash").stdout)
    (tmp_path / "images").mkdir()

    def complete(*words: str) -> list[str]:
        listed = " ".join(f"'{word}'" for word in words)
        code = (
            f"source {script}; COMP_WORDS=(ghost-deploy {listed}); COMP_CWORD={len(words)}; "
            '_shtab_ghost_deploy; echo "${COMPREPLY[@]}"'
        )
        done = subprocess.run(
            ["bash", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    assert complete("inf") == ["infer"]
    assert "--allow-fallback" in complete("infer", "--allow")
    assert complete("infer", "imag") == ["images"]

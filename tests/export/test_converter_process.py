"""A converter in a process of its own: whatever it does, the parent gets a reply or our error."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ghost_deploy.core.errors import ExportError, MissingExtraError, UsageError
from ghost_deploy.export.converter_process import Converter, ConverterProcess

STEPS = """
import os, sys, time
def add(say, *, a, b):
    say("adding")
    print("a vendor prints on standard output")
    os.write(1, b"from C++ too\\n")
    return a + b
def fails(say):
    raise ValueError("no such operator")
def exits(say):
    sys.exit(3)  # as loggers of vendors do
def dies(say):
    print("Segmentation is near", file=sys.stderr)
    sys.stderr.flush()
    os.kill(os.getpid(), 11)
def hangs(say):
    time.sleep(600)
def starts_a_child(say):
    import subprocess
    return subprocess.Popen(["sleep", "600"]).pid
def shouts(say):
    for _ in range(2000):
        print("x" * 1000, file=sys.stderr)
    return "done"
def imports(say):
    import only_here
def environment(say):
    return [os.environ.get("TMPDIR"), os.getcwd(), os.getpid()]
STEPS = {f.__name__: f for f in (add, fails, exits, dies, hangs, starts_a_child, shouts, imports,
                                 environment)}
"""


def converter(folder: Path, package: str = "no_such_package") -> Converter:
    steps = folder / "steps.py"
    steps.write_text(STEPS)
    return Converter(
        name="the tool",
        package=package,
        steps=str(steps),
        variable="GHOST_DEPLOY_TEST_PYTHON",
        option="--tool-python",
        fix="Install the tool",
    )


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ConverterProcess]:
    with ConverterProcess(converter(tmp_path), sys.executable, tmp_path) as process:
        yield process


def ask(process: ConverterProcess, step: str, limit_s: float = 60, **arguments: object) -> object:
    return process.ask(step, limit_s, said.append, **arguments)


said: list[str] = []


def test_steps_are_done_one_after_the_other(process: ConverterProcess) -> None:
    said.clear()
    assert [ask(process, "add", a=1, b=2), ask(process, "add", a="x", b="y")] == [3, "xy"]
    assert said == ["adding", "adding"]


def test_its_folder_is_its_own(process: ConverterProcess, tmp_path: Path) -> None:
    place, here, _ = ask(process, "environment")  # type: ignore[misc]
    assert (Path(place), Path(here)) == (tmp_path, tmp_path.resolve())


def test_pythonpath_is_of_another_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with (
        ConverterProcess(converter(tmp_path), sys.executable, tmp_path) as process,
        pytest.raises(ExportError, match="failed to imports: got ModuleNotFoundError"),
    ):
        ask(process, "imports")


def test_much_output_blocks_nothing(process: ConverterProcess) -> None:
    assert ask(process, "shouts") == "done"


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("fails", "the tool failed to fails: got ValueError: no such operator. Install the tool"),
        ("exits", "failed to exits: got SystemExit: 3"),
        ("dies", r"ended during 'dies' \(signal 11\): got .*Segmentation is near"),
        ("nothing", "failed to nothing: got KeyError"),
    ],
)
def test_failures_are_ours(process: ConverterProcess, step: str, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        ask(process, step)


def test_a_step_has_a_limit_and_its_process_ends(process: ConverterProcess) -> None:
    pid = ask(process, "environment")[2]  # type: ignore[index]
    with pytest.raises(ExportError, match=r"did not finish 'hangs' within 0\.2 s"):
        ask(process, "hangs", 0.2)
    assert not Path(f"/proc/{pid}").exists()


def test_what_it_started_ends_with_it(process: ConverterProcess) -> None:
    pid = ask(process, "starts_a_child")
    process.close()
    deadline = time.monotonic() + 20
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _runs(pid)


def _runs(pid: object) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    converter(tmp_path)
    code = f"""
import sys, time
from pathlib import Path
from tests.export.test_converter_process import converter
from ghost_deploy.export.converter_process import ConverterProcess
folder = Path({str(tmp_path)!r})
process = ConverterProcess(converter(folder), sys.executable, folder)
print(process.ask("environment", 60, print)[2], flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[3],
    )
    assert parent.stdout is not None
    with parent.stdout as out:
        pid = int(out.readline())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 20
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _runs(pid)


def test_a_program_that_answers_otherwise(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho hello\nsleep 600\n")
    program.chmod(stat.S_IRWXU)
    with (
        ConverterProcess(converter(tmp_path), str(program), tmp_path) as process,
        pytest.raises(ExportError, match="something else than a reply: got hello"),
    ):
        ask(process, "add", a=1, b=2)


def test_a_program_that_does_not_start(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_bytes(b"\0\0")
    program.chmod(stat.S_IRWXU)
    with pytest.raises(ExportError, match="the tool does not start"):
        ConverterProcess(converter(tmp_path), str(program), tmp_path)


# Which interpreter


def test_the_interpreter_named_first_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = converter(tmp_path, package="json")
    monkeypatch.delenv(tool.variable, raising=False)
    assert tool.python() == sys.executable
    first, second = (other_python(tmp_path / name) for name in ("first", "second"))
    monkeypatch.setenv(tool.variable, str(first))
    assert tool.python() == str(first)
    assert tool.python(second) == str(second)
    byitself = replace(tool, default=second)
    assert byitself.python() == str(first)
    monkeypatch.delenv(tool.variable)
    assert byitself.python() == str(second)


def other_python(path: Path) -> Path:
    path.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    path.chmod(stat.S_IRWXU)
    return path


def test_an_interpreter_without_the_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool, python = converter(tmp_path), other_python(tmp_path / "python")
    monkeypatch.delenv(tool.variable, raising=False)
    with pytest.raises(MissingExtraError, match="the Python of --tool-python has no the tool: got"):
        tool.python(python)
    with pytest.raises(MissingExtraError, match="the Python of the default place has no the tool"):
        replace(tool, default=python).python()
    monkeypatch.setenv(tool.variable, str(python))
    with pytest.raises(MissingExtraError, match="the Python of GHOST_DEPLOY_TEST_PYTHON has no"):
        tool.python()
    with pytest.raises(UsageError, match="--tool-python is no Python"):
        tool.python("/bin/ls")


def test_a_name_that_is_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = converter(tmp_path)
    with pytest.raises(UsageError, match="--tool-python is no Python that can be started: got /no"):
        tool.python("/no/such/python")
    monkeypatch.setenv(tool.variable, str(tmp_path))  # a folder
    with pytest.raises(UsageError, match="GHOST_DEPLOY_TEST_PYTHON is no Python"):
        tool.python()


def test_an_absent_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = converter(tmp_path)
    monkeypatch.delenv(tool.variable, raising=False)
    with pytest.raises(
        MissingExtraError,
        match=r"not installed here: got nothing in \$GHOST.*PYTHON, here .*Install the tool",
    ):
        tool.python()

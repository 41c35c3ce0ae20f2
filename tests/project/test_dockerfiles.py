"""deploy/Dockerfile.*: what can be said of them without Docker, and their commands in a venv."""

from __future__ import annotations

import fnmatch
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ghost_deploy.cli.main import COMMANDS, build_parser
from tests.support.camera_servers import MjpegCamera
from tests.support.constant_model import write_constant_bundle
from tests.support.dockerfiles import Instruction, comment_commands, instructions

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "deploy").glob("Dockerfile*"))
by_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
KNOWN = {"ARG", "FROM", "COPY", "RUN", "USER", "WORKDIR", "EXPOSE", "HEALTHCHECK"}
KNOWN |= {"ENTRYPOINT", "CMD"}


def only(path: Path, name: str) -> Instruction:
    (found,) = [each for each in instructions(path) if each.name == name]
    return found


def health_command(path: Path) -> list[str]:
    """The words behind CMD of HEALTHCHECK."""
    rest = only(path, "HEALTHCHECK").rest.partition("CMD ")[2]
    return Instruction("CMD", rest).words


def ignored(name: str) -> bool:
    """Whether .dockerignore leaves a path of the checkout out; the last line that fits decides."""
    result = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!").removeprefix("**/")
            parts = [name, *(str(parent) for parent in Path(name).parents), Path(name).name]
            if any(fnmatch.fnmatchcase(part, pattern) for part in parts):
                result = not line.startswith("!")
    return result


def test_there_are_dockerfiles() -> None:
    assert [path.name for path in FILES] == ["Dockerfile.l4t", "Dockerfile.x86"]


@by_file
def test_only_known_instructions_in_order(path: Path) -> None:
    names = [each.name for each in instructions(path)]
    assert set(names) <= KNOWN
    assert names[-2:] == ["ENTRYPOINT", "CMD"]
    assert names.index("FROM") <= 1


@by_file
def test_the_base_is_a_tag(path: Path) -> None:
    """A digest that was never pulled here would be made up, and `latest` is no version."""
    arguments = dict(each.rest.split("=", 1) for each in instructions(path) if each.name == "ARG")
    base = only(path, "FROM").rest
    base = arguments.get(base.strip("${}"), base)
    assert "@" not in base
    assert base.rpartition(":")[2] not in {"", "latest", base}


@by_file
def test_what_is_copied_is_there_and_in_the_context(path: Path) -> None:
    copies = [each.words for each in instructions(path) if each.name == "COPY"]
    names = [name for words in copies for name in words[:-1]]
    assert {"pyproject.toml", "README.md", "LICENSE", "ghost_deploy"} <= set(names)
    assert [name for name in names if not (ROOT / name).exists() or ignored(name)] == []
    for other in (".git/config", ".venv/bin/python", "out/best/bundle.json", "shared/x", "token"):
        assert ignored(other)
    assert ignored("ghost_deploy/cli/__pycache__")
    assert not ignored("ghost_deploy/cli/main.py")


@by_file
def test_it_runs_without_rights(path: Path) -> None:
    names = [each.name for each in instructions(path)]
    user = only(path, "USER").rest
    assert user not in {"root", "0"}
    assert names.index("USER") < names.index("ENTRYPOINT")
    first = next(each for each in instructions(path) if "useradd" in each.rest)
    assert f" {user}" in first.rest


@by_file
def test_commands_that_are_written_parse(path: Path) -> None:
    """The default command, and the arguments of each `docker run` in the comments."""
    found = [shlex.split(command) for command in comment_commands(path)]
    runs = [words for words in found if words[:2] == ["docker", "run"]]
    assert len(runs) == 2
    for words in [only(path, "CMD").words, *(run[run.index("ghost-deploy") + 1 :] for run in runs)]:
        build_parser(COMMANDS).parse_args(words or ["doctor"])
    serving = next(run for run in runs if "--serve" in run)
    assert "GHOST_DEPLOY_TOKEN_FILE=/run/secrets/token" in serving
    assert "$PWD/token:/run/secrets/token:ro" in serving
    assert f"8080:{only(path, 'EXPOSE').rest}" in serving
    build = next(words for words in found if words[:2] == ["docker", "build"])
    assert build[build.index("-f") + 1] == f"deploy/{path.name}"


def installed(path: Path, tmp_path: Path) -> Path:
    """The folder of the programs that the Dockerfile installs, with its own lines."""
    source = tmp_path / "src"
    for words in (each.words for each in instructions(path) if each.name == "COPY"):
        for name in words[:-1]:
            place = words[-1] if words[-1].endswith(Path(name).name) else f"{words[-1]}{name}"
            target = tmp_path / place.removeprefix("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, target)
    assert source.is_dir()
    venv = tmp_path / "opt" / "ghost"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment["PATH"] = f"{venv / 'bin'}:{environment['PATH']}"
    for command in (c for each in instructions(path) if each.name == "RUN" for c in each.commands):
        if command.split()[0].rpartition("/")[2] == "pip":
            words = [word.replace("/src", str(source)) for word in shlex.split(command)]
            words[0] = str(tmp_path / words[0][1:]) if words[0].startswith("/") else words[0]
            subprocess.run(words, env=environment, check=True, capture_output=True)
    return venv / "bin"


@pytest.mark.slow
@by_file
def test_its_lines_install_a_program_that_answers(path: Path, tmp_path: Path) -> None:
    programs = installed(path, tmp_path)
    entry = programs / Path(only(path, "ENTRYPOINT").words[0]).name
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment["PATH"] = f"{programs}:{environment['PATH']}"
    command = [entry, *only(path, "CMD").words]
    doctor = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    # 3: the base image has OpenCV and TensorRT, this venv has neither.
    assert doctor.returncode in ({0} if path.name.endswith("x86") else {0, 3}), doctor.stderr
    assert not list(programs.parent.glob("lib/python*/site-packages/torch"))
    if path.name.endswith("x86"):
        serves(path, entry, environment, tmp_path)


def serves(path: Path, entry: Path, environment: dict[str, str], tmp_path: Path) -> None:
    """The command for a camera runs, on a video, and the health command agrees with it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    health = [word.replace("8080", str(port)) for word in health_command(path)]
    assert subprocess.run(health, env=environment, capture_output=True, check=False).returncode
    run = next(shlex.split(c) for c in comment_commands(path) if "--serve" in c)
    bundle = write_constant_bundle(tmp_path / "bundle").path
    words = run[run.index("ghost-deploy") + 1 :]
    names = {"/bundle": bundle, "0.0.0.0:8080": f"0.0.0.0:{port}"}
    names["openvino"] = "ort"  # what the small bundle holds
    (tmp_path / "token").write_text("0123456789abcdef0123456789abcdef\n")
    environment = {**environment, "GHOST_DEPLOY_TOKEN_FILE": str(tmp_path / "token")}
    with MjpegCamera() as camera:
        names["rtsp://camera/stream"] = camera.address
        command = [entry, *(str(names.get(word, word)) for word in words)]
        live = subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE)
        try:
            deadline = time.monotonic() + 60
            while subprocess.run(health, capture_output=True, check=False).returncode:
                assert live.poll() is None, live.stderr and live.stderr.read().decode()
                assert time.monotonic() < deadline
                time.sleep(0.2)
        finally:
            live.terminate()
            live.communicate(timeout=60)
    assert live.returncode == 143

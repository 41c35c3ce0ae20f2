"""Installing on a board: an environment of its Python with this package and one backend."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ghost_deploy.core.errors import BoardError, UnavailableError
from ghost_deploy.core.scratch import scratch_folder
from ghost_deploy.remote.environment import INSTALLED_BYTES, Wanted, failed_install
from ghost_deploy.remote.own_wheel import pack_own_wheel, pack_wheel, require_extras
from ghost_deploy.remote.session import BoardSession
from ghost_deploy.remote.target_wheels import resolve_wheels
from ghost_deploy.remote.transfer import no_space

_READY = "ghost-deploy-ready"  # the extras that are installed
_BASE = "ghost-deploy"
_UNPACKED = 4  # times the bytes of wheels, with the wheels themselves


def ensure_environment(session: BoardSession, wanted: Wanted, wheels: Path | None) -> str:
    """Make the environment on the board, unless it is there; the path of its Python.

    Args:
        session: with the board.
        wanted: what it must hold.
        wheels: a folder here with wheels for the board, which gets those that are missing; where
            None, the board takes them from its own index.

    Raises:
        UnavailableError: the packages are not to be had for this board.
        BoardError: the board lacks space, or refuses.
        LineError: the line broke too often.
    """
    require_extras(wanted.extras)
    with scratch_folder() as scratch:
        own = pack_own_wheel(scratch)
        place = ("environments", wanted.key(own, session.board.executable + session.board.python))
        python = session.board.path(*place, "bin", "python")
        there = set(session.read(*place, _READY).decode("utf-8", "replace").split())
        if _BASE not in there:  # nothing, or something that is not ours
            there = set()
        if there >= {_BASE, *wanted.extras}:
            return python
        pip = _pip_wheel(scratch)
        files = {each.name: each for each in filter(None, (own, pip))}
        if wheels is not None:
            session.say("resolving the wheels for its Python and processor")
            files |= resolve_wheels(session.board, own, wanted.extras, wheels, scratch / "chosen")
        _require_space(session, files, carried=wheels is not None)
        session.say("installing " + ", ".join(("ghost-deploy", *wanted.extras)))
        # What fails half-way is not taken for whole; environments of other versions are not used.
        session.remove("/".join((*place, _READY)) if there else "environments")
        folder = session.send(files, "wheels")
        if not there:
            _make_environment(session, wanted, place)
        _install(session, python, folder, own, pip, wanted, carried=wheels is not None)
        session.write(" ".join(sorted({_BASE, *wanted.extras, *there})), *place, _READY)
        session.remove("wheels")
        return python


def _pip_wheel(folder: Path) -> Path | None:
    """A wheel of pip, which installs without being installed; None where pip is not here.

    A board's Python often has no pip: Debian has it, and `ensurepip`, in packages of their own.
    """
    try:
        return pack_wheel("pip", folder)
    except UnavailableError:
        return None


def _require_space(session: BoardSession, files: Mapping[str, Path], *, carried: bool) -> None:
    size = sum(path.stat().st_size for path in files.values())
    needed = _UNPACKED * size if carried else INSTALLED_BYTES
    if session.board.free_bytes < needed:
        raise no_space(
            session.name,
            session.board.folder,
            f"{session.board.free_bytes >> 20} MiB",
            f"{needed >> 20} MiB for the environment",
        )


def _make_environment(session: BoardSession, wanted: Wanted, place: tuple[str, ...]) -> None:
    session.make("tmp")
    words = ["{python}", "-m", "venv", "--clear", "--without-pip", session.board.path(*place)]
    if wanted.system_packages:
        words.append("--system-site-packages")
    answer = session.run(words)
    if answer.code == 0:
        return
    if "No space left" in answer.messages:
        raise failed_install(session.name, answer.messages, carried=False)
    missing = "No module named venv" in answer.messages
    raise (UnavailableError if missing else BoardError)(
        f"no Python environment can be made on {session.name}",
        got=answer.messages.strip()[-300:],
        fix="Install it there: apt-get install python3-venv"
        if missing
        else f"Check {session.board.folder} there",
    )


def _install(
    session: BoardSession,
    python: str,
    wheels: str,
    own: Path,
    pip: Path | None,
    wanted: Wanted,
    *,
    carried: bool,
) -> None:
    if pip is None:
        session.run([python, "-m", "ensurepip"])
    program = [f"{wheels}/{pip.name}/pip"] if pip else ["-m", "pip"]
    package = f"{wheels}/{own.name}" + (f"[{','.join(wanted.extras)}]" if wanted.extras else "")
    source = ["--no-index", "--find-links", wheels] if carried else []
    answer = session.run(
        [
            *(python, *program, "install", "--quiet", "--progress-bar", "off"),
            # Compiling a package on a board takes hours, and the modules of a few commands are
            # compiled when they are first imported.
            *("--only-binary=:all:", "--no-compile", "--no-cache-dir", *source, package),
        ]
    )
    if answer.code:
        raise failed_install(session.name, answer.messages, carried=carried)

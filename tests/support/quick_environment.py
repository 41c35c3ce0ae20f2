"""An environment on a board of the tests without installing: it sees the packages of the tests."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import pytest

from ghost_deploy.core.scratch import scratch_folder
from ghost_deploy.remote.address import BoardAddress
from ghost_deploy.remote.environment import Wanted
from ghost_deploy.remote.own_wheel import pack_own_wheel
from ghost_deploy.remote.session import opened

ROOT = Path(__file__).resolve().parents[2]


def make_quick_environment(address: str, *extras: str) -> None:
    """Make the environment of a board that `ensure_environment` then finds.

    The test is skipped where the board's Python cannot load the packages of this one.

    Args:
        address: of the board.
        extras: that it is said to have.
    """
    with opened(BoardAddress.parse(address), lambda _: None) as session, scratch_folder() as folder:
        board = session.board
        here = ".".join(map(str, sys.version_info[:2]))
        if not board.python.startswith(f"{here}."):
            pytest.skip(f"the board has Python {board.python}, the tests have {here}")
        key = Wanted((), False).key(pack_own_wheel(folder), board.executable + board.python)
        place = board.path("environments", key)
        session.make("environments")
        assert session.run(["{python}", "-m", "venv", "--without-pip", place]).code == 0
        paths = "\n".join((str(ROOT), sysconfig.get_path("purelib"))) + "\n"
        session.write(paths, "environments", key, "lib", f"python{here}", "site-packages", "t.pth")
        python = f"{place}/bin/python"
        probe = session.run([python, "-I", "-c", "import ghost_deploy.api.check, onnxruntime"])
        if probe.code:
            pytest.skip(f"another account cannot read the packages of the tests: {probe.messages}")
        session.write(
            " ".join(("ghost-deploy", *extras)), "environments", key, "ghost-deploy-ready"
        )

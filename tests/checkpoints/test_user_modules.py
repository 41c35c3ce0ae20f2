"""Module definitions of the user."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from ghost_deploy.checkpoints.user_modules import load_user_modules
from ghost_deploy.core.errors import UsageError

GOOD = """
from dataclasses import dataclass
from torch import nn
from torch.nn import Conv2d

@dataclass
class Options:
    a: int = 1

class Mine(nn.Module):
    options = Options()

class Other(Mine):
    pass

def helper():
    pass
"""


def written(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_nothing() -> None:
    assert load_user_modules([]).classes == {}


def test_the_modules_that_the_file_itself_defines(tmp_path: Path) -> None:
    before = set(sys.modules)
    path = written(tmp_path, GOOD)
    found = load_user_modules([path])
    assert sorted(found.classes) == ["Mine", "Other"]
    assert found.files == {"mine.py": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert "mine" not in set(sys.modules) - before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "defines no torch.nn.Module"),
        ("from torch.nn import Conv2d", "defines no torch.nn.Module"),
        ("\n\nclass :", r"mine.py, line 3, failed: got SyntaxError"),
        ("import torch\n\nx = 1 / 0\n", r"mine.py, line 3, failed: got ZeroDivisionError"),
        ("def f():\n    raise KeyError(1)\n\nf()\n", r"mine.py, line 2, failed: got KeyError"),
        ("import sys\nsys.exit(5)", r"mine.py, line 2, failed: got SystemExit"),
        ("import no_such_package_at_all", r"line 1, failed: got ModuleNotFoundError"),
        ("x = '\0'", r"line 1, failed: got"),
    ],
)
def test_a_file_that_fails_says_where(text: str, message: str, tmp_path: Path) -> None:
    before = set(sys.modules)
    with pytest.raises(UsageError, match=message):
        load_user_modules([written(tmp_path, text)])
    assert not {name for name in set(sys.modules) - before if "ghost_deploy_user" in name} or (
        "defines no" in message
    )


def test_an_absent_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        load_user_modules([tmp_path / "absent.py"])


def test_one_name_in_two_files(tmp_path: Path) -> None:
    first = written(tmp_path, GOOD)
    second = written(tmp_path, GOOD + "\nx = 1\n", "other.py")
    with pytest.raises(UsageError, match="Mine is defined in two files"):
        load_user_modules([first, second])

"""Module definitions of the user, given with `--modules FILE.py` and thereby trusted.

This is the only place where code of others is executed, because the user names the file.
"""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from torch import nn

from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.files import MAX_TEXT_BYTES, read_regular

_PREFIX = "_ghost_deploy_user_"


@dataclass(frozen=True)
class UserModules:
    """The definitions of some files.

    Attributes:
        classes: subclasses of `nn.Module` defined in the files, by class name.
        files: sha256 of each file, by file name.
    """

    classes: Mapping[str, type[nn.Module]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


def load_user_modules(paths: Sequence[Path]) -> UserModules:
    """Execute the files and collect the modules that they define.

    Raises:
        UsageError: a file cannot be read, fails (the error names the line) or defines no module,
            or two files define the same name.
    """
    classes: dict[str, type[nn.Module]] = {}
    files: dict[str, str] = {}
    for path in map(Path, paths):
        source = _read(path)
        digest = hashlib.sha256(source).hexdigest()
        found = _classes_of(_run(path, source, digest))
        if not found:
            raise UsageError(
                f"{path} defines no torch.nn.Module",
                fix="Give the file with the classes that the checkpoint names",
            )
        if twice := sorted(found.keys() & classes.keys()):
            raise UsageError(f"{twice[0]} is defined in two files", fix="Leave one of them out")
        classes |= found
        files[path.name] = digest
    return UserModules(classes, files)


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, MAX_TEXT_BYTES)
    except OSError as error:
        raise UsageError(
            f"cannot read {path}",
            got=error.strerror,
            fix="Give a Python file after --modules",
        ) from error


def _run(path: Path, source: bytes, digest: str) -> ModuleType:
    """Execute a file as a module with a unique name."""
    module = ModuleType(_PREFIX + digest[:16])
    module.__file__ = str(path)
    # Registered as by an import: dataclasses and pickle look up their module there.
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
    # The user's code may raise anything, and may call sys.exit.
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        raise UsageError(
            f"{path.name}, line {_line_of(error, str(path))}, failed",
            got=f"{type(error).__name__}: {error}",
            fix="Correct the file; it must run on its own",
        ) from error
    return module


def _line_of(error: BaseException, file: str) -> int:
    if isinstance(error, SyntaxError) and error.filename == file:
        return error.lineno or 1
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file and frame.lineno]
    return lines[-1] if lines else 1


def _classes_of(module: ModuleType) -> dict[str, type[nn.Module]]:
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, nn.Module)
        and value.__module__ == module.__name__
    }

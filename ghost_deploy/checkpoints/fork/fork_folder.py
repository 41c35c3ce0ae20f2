"""The files of a fork: what is on the import path, what the child sees, their hashes."""

from __future__ import annotations

import hashlib
import os
import site
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ghost_deploy.core.errors import UsageError

MAX_FILES = 20_000
_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages"})


@dataclass(frozen=True)
class ForkFolder:
    """A fork's folder or file, as the user named it.

    Attributes:
        path: as given.
        folders: of the import path, absolute, the first one first.
        visible: what the child may read of it, absolute paths.
        imports: files whose classes stand in for those that cannot be imported.
        hashes: sha256 of each Python file, by absolute path.
    """

    path: Path
    folders: tuple[str, ...]
    visible: tuple[str, ...]
    imports: tuple[str, ...]
    hashes: Mapping[str, str]

    @property
    def digest(self) -> str:
        """sha256 over the names and hashes of all Python files."""
        base = self.visible[0]
        lines = (f"{os.path.relpath(k, base)} {v}" for k, v in sorted(self.hashes.items()))
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

    def hashes_of(self, files: tuple[str, ...]) -> dict[str, str]:
        """Hashes of those of `files` that are the fork's, by path inside the folder."""
        base = self.visible[0] if Path(self.visible[0]).is_dir() else os.path.dirname(self.path)
        return {os.path.relpath(f, base): self.hashes[f] for f in files if f in self.hashes}


def open_fork_folder(path: str | os.PathLike[str]) -> ForkFolder:
    """Read the names and hashes of a fork's files; nothing is executed.

    A folder is a checkout: with `ultralytics`, with `models` and `utils`, with `src`, or with plain
    files. The folder of a package itself is imported from its parent.

    Raises:
        UsageError: it does not exist, holds no Python file, or too many.
    """
    given = Path(path).expanduser()
    found = Path(os.path.realpath(given))
    if not found.exists():
        raise UsageError(
            f"there is no {given}",
            fix="Give --fork the folder of the fork's code, or a Python file with its classes",
        )
    imports: tuple[str, ...] = ()
    root = found
    if found.is_file():
        if found.suffix != ".py":
            raise UsageError(
                f"{given} is no Python file",
                fix="Give --fork the folder of the fork's code, or a .py file with its classes",
            )
        imports, root = (str(found),), found.parent
    packaged = (root / "__init__.py").is_file()
    while (root / "__init__.py").is_file() and root.parent != root:
        top, root = root, root.parent
    visible = top if packaged else found
    folders = [str(root)]
    if found.is_dir() and not packaged and (found / "src").is_dir():
        folders.append(str(found / "src"))
    hashes = dict(_hashes(visible, given))
    return ForkFolder(given, tuple(folders), (str(visible),), imports, hashes)


def environment_paths() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The import path of the child beside the fork, and what it must see for that.

    Installed packages and this one; not the current folder, nor `PYTHONPATH`.
    """
    package = str(Path(__file__).resolve().parents[3])
    standard = os.path.realpath(os.path.dirname(os.__file__))
    user = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    named = [*site.getsitepackages(), *user, *_path_files(site.getsitepackages())]
    installed = [os.path.realpath(each) for each in named if os.path.isdir(each)]
    path = [standard, os.path.join(standard, "lib-dynload"), *installed]
    libraries = os.path.join(os.path.realpath(sys.base_prefix), "lib")
    visible = [libraries, *path, os.path.join(package, "ghost_deploy")]
    return tuple(dict.fromkeys([*path, package])), tuple(dict.fromkeys(visible))


def _path_files(folders: list[str]) -> Iterator[str]:
    """Folders that `.pth` files add: packages that are installed to be edited."""
    for folder in folders:
        for file in sorted(Path(folder).glob("*.pth")):
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
                if line and not line.startswith(("#", "import ", "import\t")):
                    yield os.path.join(folder, line.strip())


def _hashes(visible: Path, given: Path) -> Iterator[tuple[str, str]]:
    count = 0
    for file in _python_files(visible):
        count += 1
        if count > MAX_FILES:
            raise UsageError(
                f"{given} has more than {MAX_FILES} Python files",
                fix="Give the folder of the fork's code alone",
            )
        try:
            yield str(file), hashlib.sha256(file.read_bytes()).hexdigest()
        except OSError as error:
            raise UsageError(
                f"cannot read {file}", got=error.strerror, fix="Make it readable, or remove it"
            ) from error
    if not count:
        raise UsageError(
            f"{given} holds no Python file",
            fix="Give --fork the folder of the fork's code, e.g. the one that holds ultralytics/",
        )


def _python_files(visible: Path) -> Iterator[Path]:
    if visible.is_file():
        yield visible
        return
    for folder, names, files in os.walk(visible):
        names[:] = [n for n in names if n not in _SKIPPED and not n.startswith(".")]
        yield from (Path(folder, name) for name in files if name.endswith(".py"))

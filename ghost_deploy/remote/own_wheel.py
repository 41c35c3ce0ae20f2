"""A wheel of an installed distribution, made of its files: a board gets what runs here.

No sources are needed and nothing is downloaded. The files are those that the installation
recorded; of a checkout, which records none, those in the folder of the package. The metadata are
the installed ones. Compiled files (`.pyc`) stay here.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path, PurePosixPath

from ghost_deploy.core.errors import UnavailableError

_TIME = (1980, 1, 1, 0, 0, 0)  # the same files give the same wheel
_WHEEL = "Wheel-Version: 1.0\nGenerator: ghost-deploy\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_LEFT_OUT = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "WHEEL")
_PACKAGE = Path(__file__).resolve().parents[1]


def pack_wheel(name: str, folder: Path, package: Path | None = None) -> Path:
    """Write a wheel of an installed distribution of pure Python.

    Args:
        name: of the distribution, e.g. `pip`.
        folder: where to write it.
        package: its files are taken from there instead of from the record of the installation.

    Returns:
        The wheel.

    Raises:
        UnavailableError: it is not installed, or has compiled parts.
    """
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise UnavailableError(
            f"{name} is not installed here, so no board can get it",
            fix=f"Install it: pip install {name}",
        ) from None
    label = f"{found.metadata['Name'].replace('-', '_').replace('.', '_')}-{found.version}"
    info = f"{label}.dist-info"
    files = dict(_folder_files(package) if package else _recorded_files(found))
    compiled = [place for place in files if place.endswith((".so", ".pyd"))]
    if compiled:
        raise UnavailableError(
            f"{name} has parts that run on this processor only",
            got=compiled[0],
            fix=f"Give wheels of {name} for the board: --wheels DIR",
        )
    files |= _info_files(found, info)
    files[f"{info}/WHEEL"] = _WHEEL.encode()
    target = folder / f"{label}-py3-none-any.whl"
    _write(target, files, f"{info}/RECORD")
    return target


def pack_own_wheel(folder: Path) -> Path:
    """The wheel of this package, as it runs now."""
    return pack_wheel("ghost-deploy", folder, _PACKAGE)


def require_extras(extras: Sequence[str]) -> None:
    """Raise unless the installed metadata of this package have these extras.

    Those of a checkout are as old as its installation; pip leaves unknown extras out silently.

    Raises:
        UnavailableError: one is missing.
    """
    known = metadata.metadata("ghost-deploy").get_all("Provides-Extra") or []
    for extra in extras:
        if extra not in known:
            raise UnavailableError(
                f"this installation of ghost-deploy does not know the extra {extra}",
                got=", ".join(known),
                fix="Install it again: pip install -e . in the checkout",
            )


def _folder_files(package: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(package.rglob("*")):
        inner = path.relative_to(package.parent)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in inner.parts)
        if path.is_file() and not hidden and path.suffix not in (".pyc", ".pyo"):
            yield inner.as_posix(), path.read_bytes()


def _recorded_files(found: metadata.Distribution) -> Iterator[tuple[str, bytes]]:
    for file in found.files or ():
        place = PurePosixPath(file.as_posix())
        outside = ".." in place.parts or place.is_absolute()  # scripts, which installing makes anew
        if outside or place.parts[0].endswith((".dist-info", ".egg-info")):
            continue
        if place.suffix not in (".pyc", ".pyo"):
            yield place.as_posix(), Path(str(found.locate_file(file))).read_bytes()


def _info_files(found: metadata.Distribution, info: str) -> dict[str, bytes]:
    """The metadata: description, entry points and licenses, without what the installer wrote."""
    texts = {}
    for name in ("METADATA", "entry_points.txt", "top_level.txt"):
        text = found.read_text(name)
        if text is not None:
            texts[f"{info}/{name}"] = text.encode()
    for file in found.files or ():
        parts = PurePosixPath(file.as_posix()).parts
        if len(parts) > 2 and parts[0].endswith(".dist-info") and parts[-1] not in _LEFT_OUT:
            inner = "/".join(parts[1:])
            texts[f"{info}/{inner}"] = Path(str(found.locate_file(file))).read_bytes()
    return texts


def _write(target: Path, files: dict[str, bytes], record: str) -> None:
    lines = []
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            place = f'"{name}"' if "," in name else name
            lines.append(f"{place},sha256={digest},{len(data)}")
            archive.writestr(_entry(name), data)
        text = "\n".join([*lines, f"{record},,"]) + "\n"
        archive.writestr(_entry(record), text)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry

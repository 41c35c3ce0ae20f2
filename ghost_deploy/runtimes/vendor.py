"""Converts a missing vendor package and the exceptions of vendors to our errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ghost_deploy.core.errors import BackendError, DeviceError, GhostDeployError, MissingExtraError
from ghost_deploy.runtimes.base import RuntimeOptions


@contextmanager
def vendor_import(package: str, extra: str) -> Iterator[None]:
    """Convert a failing import of `package` to an error that names the command to install it.

    Args:
        package: name of the vendor's Python package, e.g. `onnxruntime`.
        extra: our pip extra that installs it.

    Raises:
        MissingExtraError: it, or a package that it needs, is not installed.
        BackendError: it is installed but cannot be loaded.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = error.name or package
        if missing.startswith(f"{package}."):
            raise _broken(package, error) from error
        raise MissingExtraError.for_extra(missing.partition(".")[0], extra) from error
    except (ImportError, OSError) as error:
        # OSError: a shared library that the vendor's loader opens through ctypes.
        raise _broken(package, error) from error


@contextmanager
def vendor_errors(what: str, fix: str) -> Iterator[None]:
    """Convert any exception of a vendor to a BackendError; our own errors are not changed.

    Args:
        what: what failed, naming the file.
        fix: the next step for the user.

    Raises:
        BackendError: the vendor raised.
    """
    try:
        yield
    except GhostDeployError:
        raise
    # Vendors derive their exceptions from Exception itself and raise RuntimeError at will.
    except Exception as error:
        raise BackendError(what, got=_first_lines(error), fix=fix) from error


def fallback(options: RuntimeOptions, what: str, fix: str) -> str:
    """Return the note on an allowed fallback.

    Args:
        options: the request.
        what: why it cannot be fulfilled.
        fix: another request, or what to install.

    Raises:
        DeviceError: `options` do not allow a fallback.
    """
    asked = f"asked for {options.device} {options.precision}".rstrip()
    if options.allow_fallback:
        return f"{asked}, fell back: {what}"
    raise DeviceError(f"{asked}: {what}", fix=f"{fix}, or pass --allow-fallback")


def existing_file(path: Path) -> Path:
    """Return `path` if it is a file.

    Raises:
        BackendError: it is not.
    """
    if not path.is_file():
        raise BackendError(
            f"cannot open {path}",
            got="a folder" if path.is_dir() else "no such file",
            expected="a model file",
            fix="Check the path",
        )
    return path


def _broken(package: str, error: Exception) -> BackendError:
    return BackendError(
        f"the Python package {package!r} is installed but cannot be loaded",
        got=_first_lines(error),
        fix=f"Install it again: pip install --force-reinstall {package}",
    )


def _first_lines(error: Exception) -> str:
    """The first informative lines of a vendor's message, at most 300 characters.

    OpenVINO's messages start with lines that only name its own source files.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    informative = [line for line in lines if not line.startswith("Exception from ")]
    text = " ".join((informative or lines)[:3]) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."

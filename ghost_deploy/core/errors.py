"""All errors that ghost-deploy raises on purpose.

    GhostDeployError                 exit code 2
    ├── UsageError                   a wrong option, argument or combination
    ├── InputError                   a file or an array that cannot be used
    │   ├── ImageError               an image that cannot be read
    │   │   └── ImageTooLargeError   more pixels than --max-pixels allows
    │   ├── ShapeError               a tensor of the wrong name, shape or dtype
    │   ├── SpecError                a model description that contradicts itself
    │   ├── BundleError              a bundle that is damaged, foreign or from another schema
    │   │   └── SignatureError       trust is asked for, and it is not signed or was changed
    │   └── CheckpointError          a checkpoint that cannot be used
    │       ├── CorruptCheckpointError   truncated, damaged or not a checkpoint at all
    │       ├── UnsafeCheckpointError    requests code execution, or exceeds a limit
    │       ├── UnknownClassError        names a class without a definition
    │       └── StructureError           the parts do not match any definition of the class
    │           └── AmbiguousClassError  the parts match several definitions of the class
    ├── ExportError                  an export step failed; nothing was written
    ├── BackendError                 a backend failed while it loaded or ran a model
    ├── StoreError                   a disk or a bucket that is full, refuses or does not answer
    ├── BoardError                   a board at the other end of an SSH line cannot be used
    │   └── LineError                it cannot be reached, or the line broke
    ├── GateError                    a measured figure is outside its gate; exit code 1
    └── UnavailableError             not available on this machine; exit code 3
        ├── MissingExtraError        a Python package is not installed
        └── DeviceError              the device or precision obtained is not the requested one

An error states what happened, what was found, what was expected and how to fix it. The fix is a
required argument. Its text holds no control characters, whatever a file, a server or a board sent.
"""

from __future__ import annotations

from typing import Any, ClassVar

from ghost_deploy.core.install_command import install_command
from ghost_deploy.core.printable import printable


class GhostDeployError(Exception):
    """Base of all errors raised on purpose.

    Args:
        what: what happened, a sentence without a final full stop, naming the file or object.
        fix: the next step for the user, a sentence or command.
        got: what was found, if that is not in `what`.
        expected: the valid values.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, what: str, *, fix: str, got: object = None, expected: object = None) -> None:
        self.what = what
        self.fix = fix
        self.got = got
        self.expected = expected
        super().__init__(what)

    def __str__(self) -> str:
        facts = [
            f"{label} {value}"
            for label, value in (("got", self.got), ("expected", self.expected))
            if value is not None
        ]
        text = f"{self.what}: {', '.join(facts)}" if facts else self.what
        return printable(f"{text}. {self.fix}")

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickled from a worker process: an exception is made anew from its `args` alone.
        return _without_arguments, (type(self), self.args), self.__dict__


def _without_arguments(kind: type[GhostDeployError], args: tuple[Any, ...]) -> GhostDeployError:
    """An error as `pickle` makes it, before its attributes are set."""
    error = kind.__new__(kind, *args)
    error.args = args
    return error


class UsageError(GhostDeployError):
    """A wrong option, argument or combination of them."""


class InputError(GhostDeployError):
    """A file or an array that cannot be used."""


class ImageError(InputError):
    """An image that cannot be read or has an unusable shape or dtype."""


class ImageTooLargeError(ImageError):
    """An image with more pixels than the limit allows; it was not decoded."""


class ShapeError(InputError):
    """A tensor of the wrong name, shape or dtype."""


class SpecError(InputError, ValueError):
    """A model description that contradicts itself or its model."""


class BundleError(InputError):
    """A bundle that is damaged, foreign or from another schema."""


class SignatureError(BundleError):
    """A bundle without the signature that is asked for, or changed after it was signed."""


class CheckpointError(InputError):
    """A checkpoint that cannot be used."""


class CorruptCheckpointError(CheckpointError):
    """A file that is truncated, damaged or not a checkpoint at all."""


class UnsafeCheckpointError(CheckpointError):
    """A checkpoint that requests code execution, or exceeds a limit."""


class UnknownClassError(CheckpointError):
    """A checkpoint with classes that have no definition.

    `class_paths` holds their `module.Class` names, sorted.
    """

    def __init__(
        self, what: str, *, fix: str, got: object = None, class_paths: tuple[str, ...] = ()
    ) -> None:
        self.class_paths = class_paths
        super().__init__(what, fix=fix, got=got)


class StructureError(CheckpointError):
    """A class whose children, shapes or attributes match none of its definitions."""


class AmbiguousClassError(StructureError):
    """A class whose parts match several definitions that compute different things.

    `class_paths` holds the `module.Class` names that are not decided, sorted.
    """

    def __init__(
        self, what: str, *, fix: str, got: object = None, class_paths: tuple[str, ...] = ()
    ) -> None:
        self.class_paths = class_paths
        super().__init__(what, fix=fix, got=got)


class ExportError(GhostDeployError):
    """An export step failed; nothing was written."""


class BackendError(GhostDeployError):
    """A backend failed while it loaded or ran a model."""


class StoreError(GhostDeployError):
    """A disk or a bucket that is full, refuses or does not answer; what it holds is whole."""


class BoardError(GhostDeployError):
    """A board at the other end of an SSH line cannot be used."""


class LineError(BoardError):
    """A board cannot be reached, or the line to it broke."""


class UnavailableError(GhostDeployError):
    """Something requested is not available on this machine."""

    exit_code = 3


class MissingExtraError(UnavailableError):
    """A Python package that this function needs is not installed."""

    @classmethod
    def for_extra(cls, package: str, extra: str) -> MissingExtraError:
        """The error for a missing `package` that our pip extra `extra` installs."""
        return cls(
            f"the Python package {package!r} is not installed",
            fix=f"Install it with: {install_command(extra)}",
        )


class DeviceError(UnavailableError):
    """The device, provider or precision obtained is not the requested one."""

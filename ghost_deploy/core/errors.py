"""Every error that ghost-deploy raises on purpose.

    GhostDeployError                 exit code 2
    ├── UsageError                   a wrong option, argument or combination
    ├── InputError                   a file or an array that cannot be used
    │   ├── ImageError               an image that cannot be read
    │   ├── ShapeError               a tensor of the wrong name, shape or dtype
    │   ├── SpecError                a model description that contradicts itself
    │   ├── BundleError              a bundle that is damaged, foreign or from another schema
    │   └── CheckpointError          a checkpoint that cannot be used
    │       ├── CorruptCheckpointError   truncated, damaged or not a checkpoint at all
    │       ├── UnsafeCheckpointError    asks for code to be run, or for absurd resources
    │       ├── UnknownClassError        names a class that nobody has defined here
    │       └── StructureError           a known class name over parts that do not fit it
    ├── ExportError                  an export step failed; nothing was written
    ├── BackendError                 a backend failed while it loaded or ran a model
    ├── GateError                    a measured figure is outside its gate; exit code 1
    └── UnavailableError             not on this machine; exit code 3
        ├── MissingExtraError        a Python package is not installed
        └── DeviceError              the device or precision obtained is not the one asked for

An error says what happened, what it got, what it expected and what to do next. The next step
is a required argument, so that no error can be written without one.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BackendError",
    "BundleError",
    "CheckpointError",
    "CorruptCheckpointError",
    "DeviceError",
    "ExportError",
    "GateError",
    "GhostDeployError",
    "ImageError",
    "InputError",
    "MissingExtraError",
    "ShapeError",
    "SpecError",
    "StructureError",
    "UnavailableError",
    "UnknownClassError",
    "UnsafeCheckpointError",
    "UsageError",
]


class GhostDeployError(Exception):
    """Base of all errors raised on purpose.

    Args:
        what: what happened, one sentence without a final full stop, naming the file or thing.
        fix: the next step for the user, one sentence or command.
        got: what was found, if that is not in `what`.
        expected: what would have been right.
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
        return f"{text}. {self.fix}"


class UsageError(GhostDeployError):
    """A wrong option, argument or combination of them."""


class InputError(GhostDeployError):
    """A file or an array that cannot be used."""


class ImageError(InputError):
    """An image that cannot be read or has an unusable shape or dtype."""


class ShapeError(InputError):
    """A tensor of the wrong name, shape or dtype."""


class SpecError(InputError, ValueError):
    """A model description that contradicts itself or its model."""


class BundleError(InputError):
    """A bundle that is damaged, foreign or from another schema."""


class CheckpointError(InputError):
    """A checkpoint that cannot be used."""


class CorruptCheckpointError(CheckpointError):
    """A file that is truncated, damaged or not a checkpoint at all."""


class UnsafeCheckpointError(CheckpointError):
    """A checkpoint that asks for code to be run, or for absurd resources."""


class UnknownClassError(CheckpointError):
    """A checkpoint that names classes which nobody has defined here.

    `class_paths` holds the offending `module.Class` names, sorted.
    """

    def __init__(
        self,
        what: str,
        *,
        fix: str,
        got: object = None,
        expected: object = None,
        class_paths: tuple[str, ...] = (),
    ) -> None:
        self.class_paths = class_paths
        super().__init__(what, fix=fix, got=got, expected=expected)


class StructureError(CheckpointError):
    """A known class name over children, shapes or attributes that do not fit it."""


class ExportError(GhostDeployError):
    """An export step failed; nothing was written."""


class BackendError(GhostDeployError):
    """A backend failed while it loaded or ran a model."""


class GateError(GhostDeployError):
    """A measured figure is outside its gate."""

    exit_code = 1


class UnavailableError(GhostDeployError):
    """Something asked for is not on this machine."""

    exit_code = 3


class MissingExtraError(UnavailableError):
    """A Python package that this function needs is not installed."""

    @classmethod
    def for_extra(cls, package: str, extra: str) -> MissingExtraError:
        """The usual form: `package` is absent, `pip install "ghost-deploy[extra]"` brings it."""
        return cls(
            f"the Python package {package!r} is not installed",
            fix=f'Install it with: pip install "ghost-deploy[{extra}]"',
        )


class DeviceError(UnavailableError):
    """The device, provider or precision obtained is not the one asked for."""

"""The table of export targets, and of the processors that int8 is made for.

A target that is exported as a float graph is made by the module of this folder that has the name
of its format.
"""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ghost_deploy.core.errors import MissingExtraError, UsageError
from ghost_deploy.core.lookup import unknown_name
from ghost_deploy.runtimes.rockchip import SOCS


@dataclass(frozen=True)
class Target:
    """A format and a precision that can be made.

    Attributes:
        format: what a runtime opens: `onnx`, `openvino`, `ncnn`, `litert`, `rknn`, `tensorrt`.
        precision: of the graph: `fp32`, `fp16`, `int8`.
        packages: Python packages that make it.
        default: whether it is made when no format and no precision is named.
        plain: it is made for one size and one image, without NMS inside.
        cut: it ends in the maps of the head, so that no NMS can follow inside.
    """

    format: str
    precision: str
    packages: tuple[str, ...]
    default: bool = False
    plain: bool = False
    cut: bool = False

    @property
    def id(self) -> str:
        """Short name, as `Artifact.id`."""
        return f"{self.format}-{self.precision}"


_ONNX = ("torch", "onnx", "onnxsim", "onnxruntime")
_OPENVINO = (*_ONNX, "openvino")
_TENSORRT = ("tensorrt", *_ONNX)
_NCNN = (*_ONNX, "ncnn", "pnnx")

TARGETS = (
    Target("onnx", "fp32", _ONNX, default=True),
    Target("onnx", "fp16", _ONNX, default=True),
    Target("onnx", "int8", _ONNX),
    Target("openvino", "fp32", _OPENVINO, default=True),
    Target("openvino", "fp16", _OPENVINO, default=True),
    Target("openvino", "int8", _OPENVINO),
    Target("ncnn", "fp32", _NCNN, cut=True),
    Target("ncnn", "fp16", _NCNN, cut=True),
    Target("ncnn", "int8", _NCNN, cut=True),
    # Their converters may be in other environments.
    Target("litert", "fp32", ("torch",), plain=True),
    Target("rknn", "fp16", _ONNX, plain=True),
    Target("rknn", "int8", _ONNX, plain=True),
    Target("tensorrt", "fp32", _TENSORRT),
    Target("tensorrt", "fp16", _TENSORRT),
    Target("tensorrt", "int8", _TENSORRT),
)
"""All combinations, in the order in which they are made."""

_REFUSED = {
    ("litert", "int8"): "int8 is no faster than fp32 in LiteRT on the processors that were "
    "measured (1.08 of its time), and fails at run time where the decoding is part of the graph",
}
"""Combinations that could be made and are not, with the reason."""


DEVICES = {
    "x86": "all x86-64 processors, also without VNNI; the default on x86",
    "x86-vnni": "x86-64 processors with VNNI alone: int8 weights keep their full range",
    "arm64": "64-bit ARM processors; the default on ARM",
}
"""Processors that int8 artifacts can be made for: `--for NAME`, which also takes `SOCS`."""


def default_device(machine: str | None = None) -> str:
    """The entry of `DEVICES` for this machine.

    Args:
        machine: processor family as `platform.machine()` gives it; this machine's when None.
    """
    arm = (machine or platform.machine()).lower() in ("aarch64", "arm64")
    return "arm64" if arm else "x86"


def check_devices(names: Sequence[str]) -> tuple[str, ...]:
    """The devices to make int8 artifacts for; this machine's where none is named.

    Args:
        names: of `DEVICES`; those of Rockchip's systems on a chip are left out.

    Raises:
        UsageError: a name is not known; the message lists those that are.
    """
    check_known("target", names, set(DEVICES) | set(SOCS))
    return tuple(dict.fromkeys(name for name in names if name in DEVICES)) or (default_device(),)


def check_socs(names: Sequence[str], formats: Sequence[str]) -> tuple[str, ...]:
    """Rockchip's systems on a chip to make RKNN files for.

    Args:
        names: of `--for`.
        formats: that are made.

    Raises:
        UsageError: a name is not known, or RKNN files and such names are not both there.
    """
    check_known("target", names, set(DEVICES) | set(SOCS))
    socs = tuple(dict.fromkeys(name for name in names if name in SOCS))
    if bool(socs) != ("rknn" in formats):
        raise UsageError(
            "RKNN files and the system on a chip that they are for belong together",
            got=f"--for {','.join(socs)} without --rknn" if socs else "--rknn without --for",
            expected="--rknn --for " + " or ".join(SOCS),
            fix="Name both, or neither",
        )
    return socs


def check_converters(formats: Sequence[str], given: Mapping[str, tuple[str, object]]) -> None:
    """Require that options of converters are for a format that is made.

    Args:
        formats: that are made.
        given: the format and the value of each option; a value that is false was not given.

    Raises:
        UsageError: one has no effect.
    """
    for option, (name, value) in given.items():
        if value and name not in formats:
            raise UsageError(
                f"{option} is for {name} files, and none are made",
                got=f"{option} without --{name}",
                fix=f"Add --{name}, or leave it out",
            )


def check_made(formats: Sequence[str], precisions: Collection[str]) -> None:
    """Require that each format is made in one of the precisions, and no refused one is asked."""
    for name in formats:
        for precision in precisions:
            if reason := _REFUSED.get((name, precision)):
                raise UsageError(
                    f"{name} is not made in {precision}: {reason}",
                    fix=f"Export it without --{precision}, beside --onnx; {precision} files of "
                    "other formats are then added: ghost-deploy calibrate BUNDLE --calib FOLDER",
                )
        made = [target.precision for target in TARGETS if target.format == name]
        if not set(made) & set(precisions):
            raise UsageError(
                f"{name} is not made in that precision",
                got=", ".join(sorted(precisions)),
                expected=", ".join(made),
                fix="Name one of these",
            )


def targets_of(formats: Collection[str], precisions: Collection[str]) -> tuple[Target, ...]:
    """The targets of these formats in these precisions, in their order."""
    return tuple(t for t in TARGETS if t.format in formats and t.precision in precisions)


_EXTRAS = {"ncnn": "ncnn", "pycocotools": "validate"}
"""The extras that bring packages, of which `export` is not the one."""


def require_tools(targets: Sequence[Target]) -> None:
    """Check that the packages of all targets are installed, before any work is done.

    What int8 targets need includes the package that judges them by mAP.

    Raises:
        MissingExtraError: one is not; the message has the command that brings it.
    """
    judge = ("pycocotools",) * any(target.precision == "int8" for target in targets)
    needed = (name for target in targets for name in target.packages)
    for package in dict.fromkeys((*needed, *judge)):
        if importlib.util.find_spec(package) is not None:
            continue
        if package == "tensorrt":
            raise MissingExtraError(
                "the Python package 'tensorrt' is not installed here",
                fix="An engine runs only where it is built: export without --trt, carry the bundle "
                "to the device and run there: ghost-deploy build BUNDLE --trt",
            )
        if package == "pnnx":
            raise MissingExtraError(
                "the converter 'pnnx' is not installed",
                fix="Install it with: pip install --no-deps pnnx (85 MB; what it asks for besides "
                "is not needed)",
            )
        raise MissingExtraError.for_extra(package, _EXTRAS.get(package, "export"))


def check_known(what: str, names: Sequence[str], known: set[str]) -> None:
    """Raise UsageError for a name that is not known; the message lists those that are."""
    if isinstance(names, str):  # which is a sequence, too: of its letters
        raise UsageError(
            f"the {what}s are one text",
            got=repr(names),
            expected="a tuple or a list of names",
            fix=f"Write ({names!r},)",
        )
    for name in names:
        if name not in known:
            raise unknown_name(f"there is no {what} {name!r}", name, sorted(known))

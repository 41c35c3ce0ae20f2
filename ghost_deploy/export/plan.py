"""What an export makes: the table of targets, and the plan of one export.

A target that is exported as a float graph is made by the module of this folder that has the name
of its format.
"""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from ghost_deploy.core.errors import MissingExtraError, UsageError
from ghost_deploy.core.lookup import unknown_name
from ghost_deploy.core.own_nms import require_own_nms
from ghost_deploy.core.spec import MAX_SIDE, ModelSpec
from ghost_deploy.export.opset import OPSET, check_opset


@dataclass(frozen=True)
class Target:
    """A format and a precision that can be made.

    Attributes:
        format: what a runtime opens: `onnx`, `openvino`, `tensorrt`.
        precision: of the graph: `fp32`, `fp16`, `int8`.
        packages: Python packages that make it.
        default: whether it is made when no format and no precision is named.
    """

    format: str
    precision: str
    packages: tuple[str, ...]
    default: bool = False

    @property
    def id(self) -> str:
        """Short name, as `Artifact.id`."""
        return f"{self.format}-{self.precision}"


_ONNX = ("torch", "onnx", "onnxsim", "onnxruntime")
_OPENVINO = (*_ONNX, "openvino")
_TENSORRT = ("tensorrt", *_ONNX)

TARGETS = (
    Target("onnx", "fp32", _ONNX, default=True),
    Target("onnx", "fp16", _ONNX, default=True),
    Target("onnx", "int8", _ONNX),
    Target("openvino", "fp32", _OPENVINO, default=True),
    Target("openvino", "fp16", _OPENVINO, default=True),
    Target("openvino", "int8", _OPENVINO),
    Target("tensorrt", "fp32", _TENSORRT),
    Target("tensorrt", "fp16", _TENSORRT),
    Target("tensorrt", "int8", _TENSORRT),
)
"""All combinations, in the order in which they are made."""


DEVICES = {
    "x86": "all x86-64 processors, also without VNNI; the default on x86",
    "x86-vnni": "x86-64 processors with VNNI alone: int8 weights keep their full range",
    "arm64": "64-bit ARM processors; the default on ARM",
}
"""Processors that int8 artifacts can be made for: `--for NAME`."""


def default_device(machine: str | None = None) -> str:
    """The entry of `DEVICES` for this machine.

    Args:
        machine: processor family as `platform.machine()` gives it; this machine's when None.
    """
    arm = (machine or platform.machine()).lower() in ("aarch64", "arm64")
    return "arm64" if arm else "x86"


def check_devices(names: Sequence[str]) -> tuple[str, ...]:
    """The devices to make int8 artifacts for; this machine's where none is named.

    Raises:
        UsageError: a name is not known; the message lists those that are.
    """
    _check_known("target", names, set(DEVICES))
    return tuple(dict.fromkeys(names)) or (default_device(),)


@dataclass(frozen=True)
class ExportPlan:
    """What one export makes; it does not depend on the checkpoint.

    Attributes:
        graphs: float artifacts, in the order in which they are made. Those that int8 artifacts
            and engines are built from are among them.
        int8_formats: formats of the int8 artifacts; empty without int8.
        engines: precisions of the TensorRT engines; empty without `tensorrt`.
        others: the requested formats besides `tensorrt`.
        opset: of the ONNX graphs.
    """

    graphs: tuple[Target, ...]
    int8_formats: tuple[str, ...]
    engines: tuple[str, ...]
    others: tuple[str, ...]
    opset: int = OPSET

    def nms_decoder(self, spec: ModelSpec) -> Literal["", "nms", "efficient-nms"]:
        """The decoder of an export with NMS inside the graph: TensorRT has a plugin for it, all
        others the standard operator. Empty for a head that needs none.

        Raises:
            UsageError: NMS inside the graph does not fit the plan.
        """
        if spec.head.end_to_end:
            return ""
        if not self.engines:
            return "nms"
        if self.others:
            raise UsageError(
                f"NMS inside the graph of {spec.name} is TensorRT's plugin EfficientNMS in an "
                "engine and another operator elsewhere, and a bundle has one description",
                got=", ".join(("tensorrt", *self.others)),
                expected="tensorrt alone, or the others",
                fix="Make two bundles: --trt --nms into one, the other formats into another; or "
                "leave out --nms (ghost-deploy does it on the host)",
            )
        if self.int8_formats:
            raise UsageError(
                "an int8 graph cannot end in TensorRT's NMS plugin",
                got="--int8 with --nms",
                fix="Leave out one of the two",
            )
        return "efficient-nms"


DYNAMIC_BATCH = (1, 16)
"""Batch of a dynamic graph; its sides are half to twice those of the export."""


def plan_export(
    formats: Sequence[str] = (),
    precisions: Sequence[str] = (),
    *,
    calibrated: bool = False,
    opset: int = OPSET,
) -> ExportPlan:
    """Plan the artifacts of an export.

    Args:
        formats: `onnx`, `openvino`, `tensorrt`; ONNX and OpenVINO when none is named.
        precisions: `fp32`, `fp16`, `int8`; fp32 and fp16 when none is named.
        calibrated: calibration images are given.
        opset: of the ONNX graphs.

    Raises:
        UsageError: a format or precision is not known; int8 without calibration images, or these
            without int8; or as `check_opset`.
        MissingExtraError: a package that one of the targets needs is not installed.
    """
    _check_known("format", formats, {target.format for target in TARGETS})
    _check_known("precision", precisions, {target.precision for target in TARGETS})
    default = [target for target in TARGETS if target.default]
    requested = tuple(dict.fromkeys(formats or [target.format for target in default]))
    floats = set(precisions or [target.precision for target in default])
    int8 = "int8" in floats
    if int8 != calibrated:
        raise UsageError(
            "int8 and calibration images belong together",
            got=f"calibration images {'given' if calibrated else 'missing'}, "
            f"precisions {', '.join(precisions)}",
            fix="Name both --int8 and --calib FOLDER, or neither",
        )
    check_opset(opset, formats, int8=int8)
    engines = _targets(["tensorrt"] if "tensorrt" in requested else [], floats)
    formats = list(dict.fromkeys("onnx" if name == "tensorrt" else name for name in requested))
    if int8:  # built from the fp32 ONNX graph and judged beside the fp32 artifacts
        graphs = _targets(["onnx", *formats], floats - {"int8"} | {"fp32"})
    else:
        graphs = _targets(formats, floats)
    require_tools((*engines, *graphs))
    return ExportPlan(
        graphs=graphs,
        int8_formats=tuple(formats) if int8 else (),
        engines=tuple(target.precision for target in engines),
        others=tuple(name for name in requested if name != "tensorrt"),
        opset=opset,
    )


def _targets(formats: Collection[str], precisions: Collection[str]) -> tuple[Target, ...]:
    return tuple(t for t in TARGETS if t.format in formats and t.precision in precisions)


def require_tools(targets: Sequence[Target]) -> None:
    """Check that the packages of all targets are installed, before any work is done.

    Raises:
        MissingExtraError: one is not; the message has the command that brings it.
    """
    for package in dict.fromkeys(name for target in targets for name in target.packages):
        if importlib.util.find_spec(package) is not None:
            continue
        if package == "tensorrt":
            raise MissingExtraError(
                "the Python package 'tensorrt' is not installed here",
                fix="An engine runs only where it is built: export without --trt, carry the bundle "
                "to the device and run there: ghost-deploy build BUNDLE --trt",
            )
        raise MissingExtraError.for_extra(package, "export")


def plan_spec(
    spec: ModelSpec,
    *,
    size_hw: tuple[int, int] | None = None,
    dynamic: bool = False,
    embedded: bool = False,
    agnostic: bool = False,
) -> ModelSpec:
    """The description of an export; `gflops` is still that of the checkpoint's size.

    Args:
        spec: of the checkpoint.
        size_hw: (height, width) of the input in pixels; the checkpoint's when None.
        dynamic: accept `DYNAMIC_BATCH`, and half to twice the size; else one image of that size.
        embedded: the graph takes uint8 pixels and contains the preprocessing.
        agnostic: NMS lets boxes of different classes suppress each other.

    Raises:
        UsageError: a size is not a positive multiple of the stride, or `agnostic` for a head
            without NMS.
    """
    old = spec.input
    size_hw = low = high = size_hw or old.size_hw
    if dynamic:
        low, high = (_scaled(size_hw, factor, old.stride) for factor in (0.5, 2.0))
    for hw in (size_hw, low, high):
        _check_size(hw, old.stride)
    own_input = msgspec.structs.replace(
        old,
        size_hw=size_hw,
        min_hw=low,
        max_hw=high,
        batch=DYNAMIC_BATCH if dynamic else (1, 1),
        name="images",
        layout="nhwc" if embedded else old.layout,
        dtype="uint8" if embedded else old.dtype,
    )
    head = msgspec.structs.replace(spec.head, output="output0")
    thresholds = msgspec.structs.replace(spec.thresholds, agnostic=agnostic)
    require_own_nms(spec, thresholds)
    return msgspec.structs.replace(spec, input=own_input, head=head, thresholds=thresholds)


def _scaled(hw: tuple[int, int], factor: float, stride: int) -> tuple[int, int]:
    """`hw` times `factor`, rounded down to the stride and at least one stride."""
    height, width = (max(stride, int(side * factor) // stride * stride) for side in hw)
    return height, width


def _check_size(hw: tuple[int, int], stride: int) -> None:
    if all(0 < side <= MAX_SIDE and side % stride == 0 for side in hw):
        return
    most = MAX_SIDE // stride * stride
    height, width = (min(max(1, -(-side // stride)) * stride, most) for side in hw)
    raise UsageError(
        f"the image size must be a multiple of the model's stride {stride}, up to {most}",
        got=f"{hw[0]}x{hw[1]}",
        fix=f"The next size that fits is {height}x{width}",
    )


def _check_known(what: str, names: Sequence[str], known: set[str]) -> None:
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

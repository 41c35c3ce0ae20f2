"""The plan of one export: what it makes of the table of targets, and in which shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.own_nms import require_own_nms
from ghost_deploy.core.spec import MAX_SIDE, ModelSpec
from ghost_deploy.export.opset import OPSET, check_opset
from ghost_deploy.export.targets import (
    TARGETS,
    Target,
    check_known,
    check_made,
    require_tools,
    targets_of,
)


@dataclass(frozen=True)
class ExportPlan:
    """What one export makes; it does not depend on the checkpoint.

    Attributes:
        graphs: float artifacts, in the order in which they are made. Those that int8 artifacts
            and engines are built from are among them.
        int8_formats: formats of the int8 artifacts; empty without int8.
        engines: precisions of the TensorRT engines; empty without `tensorrt`.
        rknn: precisions of the RKNN files; empty without `rknn`.
        others: the requested formats besides `tensorrt`.
        opset: of the ONNX graphs.
    """

    graphs: tuple[Target, ...]
    int8_formats: tuple[str, ...]
    engines: tuple[str, ...]
    others: tuple[str, ...]
    opset: int = OPSET
    rknn: tuple[str, ...] = ()

    def require_shape(self, *, dynamic: bool, nms: bool) -> None:
        """Require that all graphs can be made so.

        Args:
            dynamic: of any size.
            nms: with the operator NMS inside.

        Raises:
            UsageError: one cannot.
        """
        cut = [each.format for each in self.graphs if each.cut and nms]
        plain = [each.format for each in self.graphs if each.plain] + ["rknn"] * bool(self.rknn)
        plain = cut or plain
        if plain and (dynamic or nms):
            raise UsageError(
                f"{plain[0]} is made {'without' if cut else 'for one size and without'} NMS inside",
                got="--dynamic" if dynamic else "--nms",
                fix=f"Leave it out, or export {plain[0]} into a bundle of its own",
            )

    def nms_decoder(
        self, spec: ModelSpec, nms: bool = True, dynamic: bool = False
    ) -> Literal["", "nms", "efficient-nms"]:
        """The decoder of an export with NMS inside the graph: TensorRT has a plugin for it, all
        others the standard operator. Empty for a head that needs none, and without `nms`.

        Raises:
            UsageError: NMS inside the graph, or a graph of any size, does not fit the plan.
        """
        wanted = nms and not spec.head.end_to_end
        self.require_shape(dynamic=dynamic, nms=wanted)
        if not wanted:
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
        formats: `onnx`, `openvino`, `ncnn`, `litert`, `rknn`, `tensorrt`; ONNX and OpenVINO when
            none is named.
        precisions: `fp32`, `fp16`, `int8`; fp32 and fp16 when none is named.
        calibrated: calibration images are given.
        opset: of the ONNX graphs.

    Raises:
        UsageError: a format or precision is not known, or a format is made in none of the
            precisions; int8 without calibration images, or these without int8; or as
            `check_opset`.
        MissingExtraError: a package that one of the targets needs is not installed.
    """
    check_known("format", formats, {target.format for target in TARGETS})
    check_known("precision", precisions, {target.precision for target in TARGETS})
    default = [target for target in TARGETS if target.default]
    requested = tuple(dict.fromkeys(formats or [target.format for target in default]))
    floats = set(precisions or [target.precision for target in default])
    int8 = "int8" in floats
    check_made(requested, floats)
    if int8 != calibrated:
        raise UsageError(
            "int8 and calibration images belong together",
            got=f"calibration images {'given' if calibrated else 'missing'}, "
            f"precisions {', '.join(precisions)}",
            fix="Name both --int8 and --calib FOLDER, or neither",
        )
    check_opset(opset, formats, int8=int8)
    engines = targets_of(["tensorrt"] if "tensorrt" in requested else [], floats)
    rknn = targets_of(["rknn"] if "rknn" in requested else [], floats)
    own = [name for name in requested if name != "rknn"]
    formats = list(dict.fromkeys("onnx" if name == "tensorrt" else name for name in own))
    if int8:  # built from the fp32 ONNX graph and judged beside the fp32 artifacts
        graphs = targets_of(["onnx", *formats], floats - {"int8"} | {"fp32"})
    else:
        graphs = targets_of(formats, floats)
    if rknn:  # made of the fp32 ONNX graph, as int8 artifacts are
        others = graphs if formats else ()
        graphs = tuple(dict.fromkeys((*targets_of(["onnx"], {"fp32"}), *others)))
    require_tools((*engines, *rknn, *graphs, *(targets_of(formats, {"int8"}) if int8 else ())))
    return ExportPlan(
        graphs=graphs,
        int8_formats=tuple(formats) if int8 else (),
        engines=tuple(target.precision for target in engines),
        others=tuple(name for name in requested if name != "tensorrt"),
        opset=opset,
        rknn=tuple(target.precision for target in rknn),
    )


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

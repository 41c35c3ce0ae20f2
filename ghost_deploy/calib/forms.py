"""The table of int8 forms: for each, the runtime, the placement, the recipes and the file.

No single file serves all runtimes. TensorRT needs symmetric signed activations and one Q/DQ pair
in front of a convolution, behind the activation function that it fuses; ONNX Runtime on x86
computes in int8 only unsigned activations with a pair on the convolution's own output; OpenVINO
2026.4 computes signed activations incorrectly behind a concatenation and unsigned ones correctly.

A new form is a row of `FORMS`; a new way of making files is a function of `calib.recipes`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from onnx import ModelProto

from ghost_deploy.calib.quantize.conventions import Convention, PlacementOptions
from ghost_deploy.calib.quantize.int8_files import (
    STRONG_FORM,
    BuiltFile,
    strongly_typed_form,
    write_cache_file,
    write_channels_last_file,
    write_onnx_file,
    write_openvino_file,
    write_tensorrt_file,
)
from ghost_deploy.calib.quantize.ncnn_int8 import write_ncnn_file
from ghost_deploy.calib.quantize.qdq import QdqGraph
from ghost_deploy.calib.ranges.histogram import TensorStatistics
from ghost_deploy.calib.ranges.methods import Method
from ghost_deploy.calib.recipes import (
    Recipe,
    openvino_recipes,
    openvino_recipes_of_one_pass,
    qdq_recipes,
    recipes_beside_naive,
    signed_recipes,
)
from ghost_deploy.core.lookup import entry_of
from ghost_deploy.core.spec import ModelSpec

RecipeFunction: TypeAlias = Callable[
    [str, Mapping[str, PlacementOptions], bool], list[list[Recipe]]
]
FileWriter: TypeAlias = Callable[[QdqGraph, Path, ModelSpec], BuiltFile]
SideFileWriter: TypeAlias = Callable[
    [ModelProto, ModelSpec, Mapping[str, TensorStatistics], Method, Path], Path
]


@dataclass(frozen=True, kw_only=True)
class DerivedForm:
    """A form that is converted from the file of another one and judged by itself.

    Attributes:
        name: of the form.
        convert: makes its model from the other's.
    """

    name: str
    convert: Callable[[ModelProto], ModelProto]

    @property
    def path(self) -> str:
        """Name of its file in the bundle."""
        return f"model.int8.{self.name}.onnx"


@dataclass(frozen=True, kw_only=True)
class OtherPlacement:
    """Another placement of a form, for the device to time: no runtime here tells which is faster.

    Attributes:
        name: appended to the name of the form.
        change: the options with this placement.
    """

    name: str
    change: Callable[[PlacementOptions], PlacementOptions]


@dataclass(frozen=True, kw_only=True)
class Int8Form:
    """A row of the table.

    Attributes:
        format: of the artifact.
        path: name of its file, or of its folder, in the bundle.
        runtime: measures the accuracy on this machine. ONNX Runtime computes the Q/DQ arithmetic
            of a TensorRT file as written, only slowly.
        executed: whether that runtime computes the form in int8, so that its time and its share of
            int8 mean something.
        targets: processors that it is made for, of `export.plan.DEVICES`; empty for all.
        convention: what its kernels accept.
        options: the placement that measured best.
        variants: placements that may be faster on another processor or with wider layers.
        recipes: what a search tries.
        quick: what is tried without a search, from the statistics that all forms share.
        write: writes a Q/DQ graph.
        side_files: write further files of the artifact.
        derived: forms that are converted from it.
        placements: others to time on the device; made by the recipe that was chosen.
        notes: for the report.
        left_out: a file that surely loses too much is not kept, see `calib.search.left_out`.
    """

    format: str
    path: str
    runtime: str
    executed: bool = True
    targets: tuple[str, ...] = ()
    convention: Convention
    options: PlacementOptions
    variants: Mapping[str, PlacementOptions] = field(default_factory=dict)
    recipes: RecipeFunction = qdq_recipes
    quick: RecipeFunction = qdq_recipes
    write: FileWriter = write_onnx_file
    side_files: tuple[SideFileWriter, ...] = ()
    derived: tuple[DerivedForm, ...] = ()
    placements: tuple[OtherPlacement, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: bool = False

    @property
    def name(self) -> str:
        """Name of the form, as files and reports hold it."""
        return self.convention.form


# The options measured best on two trained Ghost networks (yolov8n-ghost, yolov8n-ghostnet).

_TENSORRT = Int8Form(
    format="onnx",
    path="model.int8.tensorrt.onnx",
    runtime="ort",
    executed=False,
    convention=Convention(
        form="tensorrt",
        signed=True, symmetric=True, rounds="inputs", int32_bias=False, stored_weights=False,
    ),
    # Float depthwise and first convolutions lose 0.1 and 0.4 points of mAP50-95 at 416, int8 ones
    # 0.2 and 0.6; TensorRT's speed was not measured.
    options=PlacementOptions(first_conv="float", depthwise="float"),
    quick=signed_recipes,
    write=write_tensorrt_file,
    side_files=(write_cache_file,),
    derived=(DerivedForm(name=STRONG_FORM, convert=strongly_typed_form),),
    placements=(
        # TensorRT 8.5 has few int8 kernels for depthwise convolutions, newer ones have more.
        OtherPlacement(
            name="depthwise",
            change=lambda options: replace(options, depthwise="int8", ghost_primary="int8"),
        ),
        OtherPlacement(
            name="primary", change=lambda options: replace(options, ghost_primary="int8")
        ),
    ),
    notes=("judged for accuracy on ONNX Runtime, which computes the Q/DQ arithmetic as written",),
)  # fmt: skip

_OPENVINO = Int8Form(
    format="openvino",
    path="model.int8_openvino_model",
    runtime="openvino",
    targets=("x86",),
    convention=Convention(
        form="openvino",
        signed=False, symmetric=False, rounds="sources", int32_bias=False, stored_weights=True,
        overflow_guard=True,
    ),
    # The depthwise int8 kernels are fast and lose nothing.
    options=PlacementOptions(),
    recipes=openvino_recipes,
    quick=openvino_recipes_of_one_pass,
    write=write_openvino_file,
)  # fmt: skip

_X86_OPTIONS = PlacementOptions(first_conv="float", entry=8, depthwise="deep")
"""ONNX Runtime 1.32, AVX512-VNNI, yolov8n-ghost at 640, two threads: the large maps of few channels
at the entry take as long in int8 as in float, and their conversion from float costs 1 ms of 19; a
depthwise convolution takes four times as long in int8, but in small maps the conversions of a float
one take longer. Shares of the fp32 time in two runs, by the stride until which all is float and the
depthwise convolutions that are: 8 and all 0.70, 8 and the large 0.68, 4 and the large 0.70, 16 and
all but the smallest 0.70, 8 and none 0.69; 2 and all 0.80."""

_ORT_X86 = Int8Form(
    format="onnx",
    path="model.int8.ort-x86.onnx",
    runtime="ort",
    targets=("x86",),
    convention=Convention(
        form="ort-x86",
        signed=False, symmetric=False, rounds="outputs", int32_bias=True, stored_weights=True,
        overflow_guard=True,
    ),
    options=_X86_OPTIONS,
    variants={
        "depthwise float": replace(_X86_OPTIONS, depthwise="float"),
        "entry int8": replace(_X86_OPTIONS, entry=0),
    },
    write=write_channels_last_file,
)  # fmt: skip

_ORT_ARM = Int8Form(
    format="onnx",
    path="model.int8.ort-arm.onnx",
    runtime="ort",
    targets=("arm64",),
    convention=Convention(
        form="ort-arm",
        signed=True, symmetric=False, rounds="outputs", int32_bias=True, stored_weights=True,
    ),
    # Not measured.
    options=PlacementOptions(first_conv="float", depthwise="float"),
    variants={"depthwise int8": PlacementOptions(first_conv="float")},
)  # fmt: skip


_NCNN = Int8Form(
    format="ncnn",
    path="model.int8_ncnn_model",
    runtime="ncnn",
    convention=Convention(
        form="ncnn",
        signed=True, symmetric=True, rounds="inputs", int32_bias=False, stored_weights=False,
        convolutions_only=True,
    ),
    options=PlacementOptions(first_conv="float", depthwise="float"),
    variants={"depthwise int8": PlacementOptions(first_conv="float")},
    recipes=recipes_beside_naive,
    quick=recipes_beside_naive,
    write=write_ncnn_file,
    left_out=True,
)  # fmt: skip


def _for_vnni(form: Int8Form) -> Int8Form:
    """The form without the guard: refused by processors without VNNI."""
    name = f"{form.name}-vnni"
    return replace(
        form,
        path=form.path.replace("int8", f"int8.{name}", 1).replace(f".{form.name}.onnx", ".onnx"),
        targets=("x86-vnni",),
        convention=replace(form.convention, form=name, overflow_guard=False),
    )


_ALL = (_ORT_X86, _for_vnni(_ORT_X86), _ORT_ARM, _TENSORRT, _OPENVINO, _for_vnni(_OPENVINO), _NCNN)

FORMS: Mapping[str, Int8Form] = {form.name: form for form in _ALL}
"""All forms that are built by recipes, by name."""


def int8_form(name: str) -> Int8Form:
    """The row of a form.

    Raises:
        UsageError: there is no such form.
    """
    return entry_of(FORMS, name, "int8 form")


def forms_of(formats: Iterable[str], targets: Collection[str]) -> list[Int8Form]:
    """The forms of artifact formats for target processors.

    Args:
        formats: such as `onnx` and `openvino`.
        targets: names of `export.plan.DEVICES`.
    """
    return [
        form
        for name in formats
        for form in FORMS.values()
        if form.format == name and (not form.targets or not set(form.targets).isdisjoint(targets))
    ]


def recipes_for(form: Int8Form, *, repair: bool = True, search: bool = True) -> list[list[Recipe]]:
    """What is tried for a form: variants that differ in speed, each a list of recipes.

    The recipes of a variant are tried in order until one is accurate enough. A search tries all
    variants, because the fastest depends on the processor; else the next one is tried only where
    none before it is accurate enough.

    Args:
        form: of the table.
        repair: also try to correct biases of our own graphs.
        search: what a search tries; else our own graphs come first, see `Int8Form.quick`.
    """
    recipes = form.recipes if search else form.quick
    return recipes(form.name, {"": form.options, **form.variants}, repair)

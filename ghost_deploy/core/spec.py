"""The description of a model: preprocessing, output format, classes; independent of any backend.

A `ModelSpec` is stored in every artifact, so that pad value, scale and class names need not be
repeated. All types are frozen, reject unknown keys and validate themselves when created.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, TypeVar

import msgspec

from ghost_deploy.core.errors import SpecError
from ghost_deploy.core.head_spec import HeadSpec, SpecStruct
from ghost_deploy.core.thresholds import ChosenThresholds, Thresholds

__all__ = [
    "EMBEDDED_NMS_SCORE",
    "MAX_SIDE",
    "ONE2ONE_ROWS",
    "SCHEMA",
    "ChosenThresholds",
    "HeadSpec",
    "InputSpec",
    "ModelSpec",
    "Thresholds",
    "decode_json",
    "encode_json",
]

SCHEMA = 1
"""Version of the JSON form of `ModelSpec`; readers reject any other."""

MAX_SIDE = 8192
"""Largest side of an input, pixels."""

ONE2ONE_ROWS = 300
"""Most detections of a one2one graph (the original's default)."""

EMBEDDED_NMS_SCORE = 0.01
"""Score threshold of an NMS inside a graph; TensorRT's plugin is slow below 0.007."""

_MAX_CLASSES = 100_000

T = TypeVar("T")


def decode_json(data: bytes | str, kind: type[T], *, where: str) -> T:
    """Parse JSON into `kind`, strictly: unknown keys, wrong types and wrong schemas are errors.

    Args:
        data: the JSON text.
        kind: a msgspec Struct class.
        where: the source of the text, for the error message.

    Raises:
        SpecError: the text is not JSON, or does not match `kind`.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    # RecursionError: nested too deeply.
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SpecError(
            f"{where} is not a valid {kind.__name__}",
            got=str(error),
            fix="It is damaged or was written by another version: export the model again",
        ) from error


def encode_json(value: Any) -> bytes:
    """JSON of a spec type, indented by two spaces, keys in field order, UTF-8."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2)


class InputSpec(SpecStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The preprocessing: from an image to the model's input tensor.

    tensor = (pixel / divisor - mean) / std, after `resize` to `size_hw`, in `color` order. With
    dtype `uint8` the graph computes this itself: its input is the letterboxed image, BGR.

    Attributes:
        name: tensor name in the graph.
        size_hw: (height, width) in pixels; both multiples of `stride`.
        stride: largest stride of the head, pixels.
        color: channel order of the tensor.
        divisor: divisor of uint8 values (255 gives the range 0 to 1).
        mean, std: per channel in `color` order, relative to the divided pixel.
        pad_value: uint8 grey level of the letterbox border.
        resize: resize method; only the letterbox is supported.
        layout: axis order of the tensor: `nhwc` for uint8 and `nchw` for float32.
        dtype: element type of the tensor; `uint8` where the graph contains the preprocessing.
        batch: (smallest, largest) batch that the graph accepts.
        min_hw, max_hw: the range of sizes that the graph accepts; equal to `size_hw` when static.
    """

    size_hw: tuple[int, int]
    stride: int = 32
    name: str = "images"
    color: Literal["rgb", "bgr"] = "rgb"
    divisor: float = 255.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    pad_value: int = 114
    resize: Literal["letterbox"] = "letterbox"
    layout: Literal["nchw", "nhwc"] = "nchw"
    dtype: Literal["float32", "uint8"] = "float32"
    batch: tuple[int, int] = (1, 1)
    min_hw: tuple[int, int] = (0, 0)
    max_hw: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        # (0, 0) stands for "as size_hw"; force_setattr is msgspec's way to finish a frozen value.
        for field in ("min_hw", "max_hw"):
            if getattr(self, field) == (0, 0):
                msgspec.structs.force_setattr(self, field, self.size_hw)
        self._require(1 <= self.stride <= 1024, "stride must be 1 to 1024", self.stride)
        for side in (*self.size_hw, *self.min_hw, *self.max_hw):
            ok = 0 < side <= MAX_SIDE and side % self.stride == 0
            self._require(ok, f"a side must be a multiple of {self.stride} up to {MAX_SIDE}", side)
        ordered = all(
            low <= opt <= high
            for low, opt, high in zip(self.min_hw, self.size_hw, self.max_hw, strict=True)
        )
        self._require(ordered, "min_hw <= size_hw <= max_hw", (self.min_hw, self.max_hw))
        self._require(
            1 <= self.batch[0] <= self.batch[1], "batch is (smallest, largest)", self.batch
        )
        self._require(0 <= self.pad_value <= 255, "pad_value must be 0 to 255", self.pad_value)
        scales = (self.divisor, *self.std)
        self._require(
            all(math.isfinite(v) and v > 0 for v in scales), "divisor and std must be > 0", scales
        )
        self._require(all(map(math.isfinite, self.mean)), "mean must be finite", self.mean)
        pair = (self.layout, self.dtype)
        known = (("nchw", "float32"), ("nhwc", "uint8"))
        self._require(pair in known, "layout and dtype are nchw float32 or nhwc uint8", pair)

    @property
    def dynamic(self) -> bool:
        """Whether the graph accepts more than one batch or size."""
        return self.batch[0] != self.batch[1] or self.min_hw != self.max_hw

    @property
    def embedded(self) -> bool:
        """Whether the graph contains the preprocessing after the letterbox."""
        return self.dtype == "uint8"

    def as_pixels(self) -> InputSpec:
        """The same preprocessing where the graph contains it, see `embedded`."""
        return msgspec.structs.replace(self, layout="nhwc", dtype="uint8")

    def shape(self, batch: int, size_hw: tuple[int, int]) -> tuple[int, int, int, int]:
        """Shape of a tensor of `batch` images of (height, width) pixels, in `layout` order."""
        height, width = size_hw
        return (batch, height, width, 3) if self.embedded else (batch, 3, height, width)

    def image_size(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """(height, width) in pixels of a tensor of shape `shape`."""
        return (shape[1], shape[2]) if self.embedded else (shape[2], shape[3])

    def graph_shape(self) -> tuple[int, int, int, int]:
        """Shape of the graph's input; -1 on an axis that accepts a range."""
        lows = self.shape(self.batch[0], self.min_hw)
        highs = self.shape(self.batch[1], self.max_hw)
        batch, *sides = (a if a == b else -1 for a, b in zip(lows, highs, strict=True))
        return batch, sides[0], sides[1], sides[2]


class ModelSpec(SpecStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The full description of a detector, besides its weights.

    Attributes:
        name: short name, by default the checkpoint's file name.
        family: architecture family, e.g. `yolov8-ghost`.
        class_names: in the order of the class channels; need not be unique.
        parameters: number of weights of the unfused network; 0 when unknown.
        gflops: 1e9 floating point operations (2 per multiply-add) at `input.size_hw`.
        trained_with: framework and version that wrote the checkpoint, or empty.
        source_sha256: of the checkpoint file, or empty.
        chosen: score thresholds that `validate --choose-thresholds` found for this model.
    """

    Json: ClassVar[str] = "ghost_deploy.spec"
    """The metadata key of the JSON form in ONNX and OpenVINO files."""

    name: str
    family: str
    class_names: tuple[str, ...]
    input: InputSpec
    head: HeadSpec
    thresholds: Thresholds = Thresholds()
    parameters: int = 0
    gflops: float = 0.0
    trained_with: str = ""
    source_sha256: str = ""
    chosen: ChosenThresholds | None = None
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        self._require(self.schema == SCHEMA, f"this version reads schema {SCHEMA}", self.schema)
        count = len(self.class_names)
        self._require(1 <= count <= _MAX_CLASSES, f"1 to {_MAX_CLASSES} class names", count)
        aligned = all(self.input.stride % stride == 0 for stride in self.head.strides)
        self._require(aligned, "input.stride must be a multiple of every head stride", self.head)
        found = count if self.chosen is None else len(self.chosen.conf)
        self._require(found == count, "a chosen threshold for each class", found)

    @property
    def num_classes(self) -> int:
        """Number of class channels."""
        return len(self.class_names)

    @property
    def default_thresholds(self) -> Thresholds:
        """The thresholds of detection: `thresholds`, with the scores that were chosen by class."""
        if self.chosen is None:
            return self.thresholds
        return msgspec.structs.replace(self.thresholds, class_conf=self.chosen.conf)

    def output_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each output of the graph, by name; -1 on an axis that varies."""
        if not self.head.maps:
            return {self.head.output: self.output_shape()}
        low, high = self.input.batch
        batch = low if low == high else -1
        least, most = (
            self.head.map_shapes(self.num_classes, size)
            for size in (self.input.min_hw, self.input.max_hw)
        )
        return {
            name: (batch, *(a if a == b else -1 for a, b in zip(shape, most[name], strict=True)))
            for name, shape in least.items()
        }

    def output_shape(self) -> tuple[int, int, int]:
        """Shape of the graph's only output; -1 on an axis that varies."""
        low, high = self.input.batch
        batch = low if low == high else -1
        fewest, most = map(self.head.anchors, (self.input.min_hw, self.input.max_hw))
        if self.head.embedded_nms:
            return batch, self.thresholds.max_det, 6
        if self.head.end_to_end:
            return batch, min(ONE2ONE_ROWS, fewest), 6
        return batch, *self.head.output_shape(self.num_classes, most if fewest == most else -1)

    def to_json(self) -> bytes:
        """The JSON form; the inverse of `from_json`."""
        return encode_json(self)

    @classmethod
    def from_json(cls, data: bytes | str, *, where: str = "the model description") -> ModelSpec:
        """Parse the JSON form.

        Args:
            data: the JSON text.
            where: the source of the text, for the error message.

        Raises:
            SpecError: not JSON, unknown keys, another schema, or a value out of range.
        """
        return decode_json(data, cls, where=where)

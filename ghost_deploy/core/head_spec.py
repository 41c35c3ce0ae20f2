"""The description of a detector's output; `core.spec` describes the whole model."""

from __future__ import annotations

from typing import Literal

import msgspec

from ghost_deploy.core.errors import SpecError


class SpecStruct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the specs; msgspec adds the field's path to the SpecError of `_require`."""

    def _require(self, ok: bool, what: str, got: object) -> None:
        if not ok:
            raise SpecError(f"{type(self).__name__}: {what}", got=got, fix="Correct that field")


class HeadSpec(SpecStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The output format: how boxes are decoded from the output tensor.

    Decoders:
        dfl: `output` is (B, 4 + classes, A): centre x, centre y, width, height in letterboxed
            pixels, then class probabilities. Needs NMS.
        dfl-raw: `output` is (B, 4 * reg_max + classes, A): distribution logits per side (left,
            top, right, bottom, each reg_max bins) and class logits; only candidates above the
            threshold are decoded, on the host. Needs NMS.
        one2one: `output` is (B, K, 6): x1, y1, x2, y2 in letterboxed pixels, score, class.
            Sorted by score, no NMS.
        efficient-nms: `output` is (B, `max_det`, 6), as for one2one. TensorRT's EfficientNMS plugin
            has applied NMS, with `EMBEDDED_NMS_SCORE` and `iou` and `agnostic` of
            `ModelSpec.thresholds`. Unused rows are zero.
        nms: as `efficient-nms`, by the standard operator NonMaxSuppression.
        anchors: `output` is (B, A, 5 + classes), as YOLOv5 exports it: centre x, centre y, width,
            height in letterboxed pixels, objectness, then class probabilities. The score is
            objectness times class probability. Needs NMS.
        anchors-raw: `output` is (B, A, 5 + classes) before the sigmoid: only candidates above the
            threshold are decoded, on the host, from `anchor_sizes`. Needs NMS.

    Attributes:
        strides: pixels per cell of each level, in output order.
        anchor_sizes: of a head with anchors, the (width, height) in pixels of each anchor of each
            level, as many for all levels; else empty. Its output has A in the order of levels,
            anchors, rows, columns.
        reg_max: bins of the box distribution.
        output: name of the output tensor.
        branch: the exported branch of the head.
    """

    decoder: Literal["dfl", "dfl-raw", "one2one", "efficient-nms", "nms", "anchors", "anchors-raw"]
    strides: tuple[int, ...]
    reg_max: int = 16
    output: str = "output0"
    branch: Literal["one2many", "one2one"] = "one2many"
    anchor_sizes: tuple[tuple[tuple[float, float], ...], ...] = ()

    def __post_init__(self) -> None:
        self._require(len(self.strides) > 0, "at least one stride", self.strides)
        self._require(all(0 < s <= 1024 for s in self.strides), "strides 1 to 1024", self.strides)
        self._require(1 <= self.reg_max <= 256, "reg_max must be 1 to 256", self.reg_max)
        fits = (self.decoder == "one2one") <= (self.branch == "one2one")
        self._require(fits, "decoder one2one needs branch one2one", self.branch)
        self._check_anchors()

    def _check_anchors(self) -> None:
        sizes = self.anchor_sizes
        if not sizes:
            self._require(not self.per_row, "a decoder of anchors needs anchor_sizes", sizes)
            return
        own = self.per_row or self.embedded_nms
        self._require(own, "anchor_sizes need a decoder of anchors", self.decoder)
        self._require(len(sizes) == len(self.strides), "anchor_sizes: one entry a level", sizes)
        equal = len({len(level) for level in sizes}) == 1 and len(sizes[0]) > 0
        self._require(equal, "anchor_sizes: as many anchors on each level", sizes)
        positive = all(0 < side <= 65_536 for level in sizes for pair in level for side in pair)
        self._require(positive, "anchor_sizes: sides above 0 and up to 65536", sizes)

    @property
    def end_to_end(self) -> bool:
        """Whether the graph's output is final, without NMS."""
        return self.decoder == "one2one" or self.embedded_nms

    @property
    def embedded_nms(self) -> bool:
        """Whether NMS is part of the graph."""
        return self.decoder in ("efficient-nms", "nms")

    @property
    def plain(self) -> Literal["dfl", "anchors"]:
        """The decoder of this head's output before any NMS inside the graph."""
        return "anchors" if self.anchor_sizes else "dfl"

    @property
    def per_row(self) -> bool:
        """Whether an anchor is a row of the output, with an objectness; else it is a column."""
        return self.decoder in ("anchors", "anchors-raw")

    def anchors(self, size_hw: tuple[int, int]) -> int:
        """Number of anchors for an input of (height, width) pixels."""
        height, width = size_hw
        cells = sum((height // s) * (width // s) for s in self.strides)
        return cells * (len(self.anchor_sizes[0]) if self.anchor_sizes else 1)

    def output_shape(self, classes: int, anchors: int) -> tuple[int, int]:
        """Shape of the output for one image, of a head that is not end-to-end.

        Args:
            classes: their number.
            anchors: their number, or -1.
        """
        if self.per_row:
            return anchors, 5 + classes
        boxes = 4 * self.reg_max if self.decoder == "dfl-raw" else 4
        return boxes + classes, anchors

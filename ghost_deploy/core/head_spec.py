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
    """The output format: how boxes are decoded from the output tensor, or from raw maps.

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
        one2one-raw: as `dfl-raw`, of a one2one branch, in `maps` alone: the best K scores are
            selected on the host as in the graph of `one2one`, then their boxes are decoded. No NMS.

    A graph that was cut before its decoding ends in `maps` (B, C, h, w), one cell for each stride
    of the input; the decoder is `dfl-raw`, `one2one-raw` or `anchors-raw`. A level has

        - of a head with anchors one map, of anchors * (5 + classes) logits, anchor by anchor;
        - else a box map of 4 * reg_max logits, and a class map of class logits;
        - or three maps, as Rockchip's examples read them: the box map, class probabilities, and
          their sum, clipped to 1, of one channel.

    Attributes:
        strides: pixels per cell of each level, in output order.
        anchor_sizes: of a head with anchors, the (width, height) in pixels of each anchor of each
            level, as many for all levels; else empty. Its output has A in the order of levels,
            anchors, rows, columns.
        reg_max: bins of the box distribution.
        output: name of the output tensor, of a graph without `maps`.
        maps: names of the output tensors of each level, in the order of `strides`; empty for a
            graph with a single output.
        branch: the exported branch of the head.
    """

    decoder: Literal[
        "dfl",
        "dfl-raw",
        "one2one",
        "one2one-raw",
        "efficient-nms",
        "nms",
        "anchors",
        "anchors-raw",
    ]
    strides: tuple[int, ...]
    reg_max: int = 16
    output: str = "output0"
    branch: Literal["one2many", "one2one"] = "one2many"
    anchor_sizes: tuple[tuple[tuple[float, float], ...], ...] = ()
    maps: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        self._require(len(self.strides) > 0, "at least one stride", self.strides)
        self._require(all(0 < s <= 1024 for s in self.strides), "strides 1 to 1024", self.strides)
        self._require(1 <= self.reg_max <= 256, "reg_max must be 1 to 256", self.reg_max)
        fits = self.decoder.startswith("one2one") <= (self.branch == "one2one")
        self._require(fits, f"decoder {self.decoder} needs branch one2one", self.branch)
        self._check_anchors()
        self._check_maps()

    def _check_maps(self) -> None:
        maps = self.maps
        if not maps:
            single = self.decoder != "one2one-raw"
            self._require(single, "decoder one2one-raw needs maps", maps)
            return
        raw = self.decoder.endswith("-raw")
        self._require(raw, "maps need a raw decoder", self.decoder)
        self._require(len(maps) == len(self.strides), "maps: one entry a level", maps)
        counts = (1,) if self.per_row else (2, 3)
        fits = len({len(level) for level in maps}) == 1 and len(maps[0]) in counts
        self._require(fits, f"maps: {' or '.join(map(str, counts))} names a level", maps)
        names = [name for level in maps for name in level]
        self._require(all(names) and len(set(names)) == len(names), "maps: unique names", maps)

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
        """Whether no NMS follows on the host."""
        return self.decoder.startswith("one2one") or self.embedded_nms

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

    @property
    def scores_in_maps(self) -> bool:
        """Whether the class maps hold probabilities, as Rockchip's examples read them."""
        return bool(self.maps) and len(self.maps[0]) == 3

    def map_channels(self, classes: int) -> tuple[int, ...]:
        """Channels of each map of a level."""
        if self.per_row:
            return (len(self.anchor_sizes[0]) * (5 + classes),)
        return (4 * self.reg_max, classes, 1)[: len(self.maps[0])]

    def map_shapes(self, classes: int, size_hw: tuple[int, int]) -> dict[str, tuple[int, int, int]]:
        """(channels, height, width) of each map for one image of (height, width) pixels."""
        channels, (height, width) = self.map_channels(classes), size_hw
        return {
            name: (count, height // stride, width // stride)
            for level, stride in zip(self.maps, self.strides, strict=True)
            for name, count in zip(level, channels, strict=True)
        }

    def output_shape(self, classes: int, anchors: int) -> tuple[int, int]:
        """Shape of the output for one image, of a head with one output that is not end-to-end.

        Args:
            classes: their number.
            anchors: their number, or -1.
        """
        if self.per_row:
            return anchors, 5 + classes
        raw = self.decoder in ("dfl-raw", "one2one-raw")
        boxes = 4 * self.reg_max if raw else 4
        return boxes + classes, anchors

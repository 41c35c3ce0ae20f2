"""Accuracy of a detector on labelled images: COCO's mAP by one stated protocol.

Preprocessing and post-processing are those of the detector. The thresholds are those of the
protocol, and all classes of an anchor above the score threshold count (multi-label). NMS is by
class, unless the model's description says `agnostic`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from typing import TypeAlias

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import InputError
from ghost_deploy.core.evidence.accuracy import Accuracy, ClassAccuracy
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.core.spec import EMBEDDED_NMS_SCORE, ModelSpec, Thresholds
from ghost_deploy.detector import Detector
from ghost_deploy.judge.accuracy.average_precision import ClassTable, class_tables
from ghost_deploy.judge.accuracy.matching import Curves, Matches, accumulate, match
from ghost_deploy.judge.accuracy.shared_out import shared_out
from ghost_deploy.judge.datasets.dataset import DataSet, LabelledImage
from ghost_deploy.processing.images import read_image
from ghost_deploy.processing.postprocess import Postprocessor
from ghost_deploy.processing.slices import Slicing, detect_in_slices

_THRESHOLDS = Thresholds(conf=0.001, iou=0.7, max_det=300)
_ANCHORS_IOU = 0.6

OnImage: TypeAlias = Callable[[tuple[int, int], Detections], None]
"""Called for each image with its (height, width) in pixels and the detections."""

Detect: TypeAlias = Callable[[Sequence[NDArray[np.uint8]]], list[Detections]]
"""The detections in each image of a batch, (H, W, 3) uint8 BGR each."""

_AT_50, _AT_75 = 0, 5  # places among the IoU thresholds 0.5, 0.55, ... 0.95


Enough: TypeAlias = Callable[[Sequence[Matches]], bool]
"""Asked after each batch whether the matches of the images so far suffice."""


_Batch: TypeAlias = list[tuple[LabelledImage, tuple[int, int], Detections]]
"""Images with their (height, width) and the detections in them."""


@dataclass(frozen=True, eq=False)
class Measured:
    """An accuracy and the matches behind it, one table a class and one item an image."""

    accuracy: Accuracy
    tables: list[ClassTable]
    matches: Sequence[Matches] = ()


def measure(
    detector: Detector,
    dataset: DataSet,
    progress: Progress | None = None,
    label: str = "",
    on_image: OnImage | None = None,
    rules: ModelSpec | None = None,
    slicing: Slicing | None = None,
    enough: Enough | None = None,
    threads: int = 1,
) -> Measured:
    """Measure the accuracy of `detector`; its own thresholds are not used.

    Args:
        detector: at the size of its spec.
        dataset: with the classes of the detector, see `DataSet.for_model`.
        progress: called before each image.
        label: what is being measured, for `progress`.
        on_image: called with the detections in each image.
        rules: whose NMS decides the rules, see `limits`; by default the detector's.
        slicing: also look into slices of each image.
        enough: ends the measurement early, with the images so far.
        threads: that detect side by side, where the backend can; the result is the same.

    Raises:
        InputError: the classes are not the detector's, or no object is labelled.
        ImageError: an image cannot be read.
        MissingExtraError: pycocotools is not installed.
        BackendError: the backend failed, or gave numbers that are not finite.
    """
    spec = detector.spec
    # A graph of one fixed batch is fed whole batches; memory stays that of one batch.
    with ExitStack() as stack:
        detectors = [detector]
        for _ in range(threads - 1):
            if fork := detector.runtime.fork():
                detectors.append(stack.enter_context(Detector(fork, spec)))
        detect, *others = (validation_detect(each, rules, slicing) for each in detectors)
        return measure_with(
            detect,
            dataset.for_model(spec.class_names),
            protocol_of(spec, rules, slicing),
            others=others,
            step=spec.input.batch[0],
            progress=progress,
            label=label,
            on_image=on_image,
            enough=enough,
        )


def validation_detect(
    detector: Detector, rules: ModelSpec | None = None, slicing: Slicing | None = None
) -> Detect:
    """Detects by the protocol, with `detector`; its own thresholds are not used.

    Args:
        detector, rules, slicing: as in `measure`.
    """
    spec = detector.spec
    postprocess = Postprocessor(spec)
    rules = rules or spec
    thresholds, multi_label = validation_thresholds(rules), not rules.head.embedded_nms

    def detect(images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        feeds, letterboxes = detector.preprocess(images)
        outputs = detector.runtime.run(feeds)
        return postprocess(outputs, letterboxes, thresholds, multi_label=multi_label)

    def detect_sliced(images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        assert slicing is not None
        batch = spec.input.batch[1]
        return [detect_in_slices(detect, each, slicing, thresholds, batch) for each in images]

    return detect_sliced if slicing else detect


def measure_with(
    detect: Detect,
    dataset: DataSet,
    how: str,
    *,
    others: Sequence[Detect] = (),
    step: int = 1,
    progress: Progress | None = None,
    label: str = "",
    on_image: OnImage | None = None,
    enough: Enough | None = None,
) -> Measured:
    """Measure anything that detects.

    Args:
        detect: detections of each of at most `step` images, (H, W, 3) uint8 BGR.
        dataset: with the class ids that `detect` gives.
        how: the protocol, in words.
        others: more of the same, each for a thread of its own.
        step: images at a time.
        progress, label, on_image, enough: see `measure`.

    Raises:
        InputError: no object is labelled.
        ImageError: an image cannot be read.
        MissingExtraError: pycocotools is not installed.
    """
    if not dataset.num_boxes:
        raise InputError(
            f"{dataset.name} has no labelled object: mAP is not defined",
            got=f"{len(dataset.images)} images",
            fix="Use labelled images; --split names another part of a data set",
        )
    report, classes = progress or silent, len(dataset.class_names)
    matches: list[Matches] = []

    def one_batch(detect: Detect, batch: Sequence[LabelledImage]) -> _Batch:
        arrays = [read_image(image.path) for image in batch]
        shapes = [(array.shape[0], array.shape[1]) for array in arrays]
        return list(zip(batch, shapes, detect(arrays), strict=True))

    report(label, 0, len(dataset.images))
    for results in shared_out(_in_steps(dataset.images, step), one_batch, [detect, *others]):
        for image, size_hw, found in results:
            # In this thread: pycocotools prints, and `sys.stdout` belongs to the whole process.
            matches.append(match(image.boxes_px(size_hw), image.labels, found, classes))
            if on_image:
                on_image(size_hw, found)
        if enough and enough(matches):
            break
        if len(matches) < len(dataset.images):
            report(label, len(matches), len(dataset.images))
    return _summary(matches, dataset.class_names, how)


def _in_steps(images: Sequence[LabelledImage], step: int) -> Iterator[Sequence[LabelledImage]]:
    rest = iter(images)
    while batch := list(islice(rest, step)):
        yield batch


def validation_thresholds(spec: ModelSpec) -> Thresholds:
    """Those of the protocol, as far as NMS inside a graph leaves a choice.

    The protocol is that of Ultralytics' validator (8.4.190); of a head with anchors the IoU is that
    of YOLOv5's (v7.0, val.py). NMS is by class or over all, as the model is described.
    """
    own = spec.thresholds
    if spec.head.embedded_nms:
        return replace(_THRESHOLDS, conf=EMBEDDED_NMS_SCORE, iou=own.iou, agnostic=own.agnostic)
    iou = _ANCHORS_IOU if spec.head.anchor_sizes else _THRESHOLDS.iou
    return replace(_THRESHOLDS, iou=iou, agnostic=own.agnostic)


def limits(spec: ModelSpec) -> str:
    """The post-processing of the protocol in words.

    NMS inside a graph has fixed limits and takes the best class of each anchor alone; the reference
    of such a graph is measured by the same rules.
    """
    own = validation_thresholds(spec)
    rules = "end-to-end head" if spec.head.end_to_end else f"IoU {own.iou:g}, multi-label"
    if spec.head.embedded_nms:
        rules = f"IoU {own.iou:g}, best class of an anchor"
    agnostic = ", class-agnostic" if own.agnostic else ""
    return f"conf {own.conf:g}, {rules}{agnostic}, max {own.max_det}"


def protocol_of(
    spec: ModelSpec, rules: ModelSpec | None = None, slicing: Slicing | None = None
) -> str:
    """The protocol in words; arguments as in `measure`."""
    rules = rules or spec
    height, width = spec.input.size_hw
    shape = "square letterbox" if height == width else "letterbox"
    tool = f"pycocotools {version('pycocotools')}"
    how = f"COCO ({tool}): {limits(rules)}, {shape} at {height}x{width}"
    return f"{how}, {slicing}" if slicing else how


def _summary(matches: Sequence[Matches], names: Sequence[str], how: str) -> Measured:
    tables = class_tables(matches, len(names))
    boxes = [int(table.objects.sum()) for table in tables]
    curves = accumulate(matches, len(names))
    there = np.array(boxes) > 0
    precision, recall = curves.precision[:, :, there], curves.recall[:, there]
    accuracy = Accuracy(
        protocol=how,
        images=len(matches),
        boxes=sum(boxes),
        map50_95=float(precision.mean()),
        map50=float(precision[_AT_50].mean()),
        map75=float(precision[_AT_75].mean()),
        recall=float(recall.mean()),
        classes=tuple(_class(name, boxes[k], curves, k) for k, name in enumerate(names)),
    )
    return Measured(accuracy, tables, matches)


def _class(name: str, boxes: int, curves: Curves, k: int) -> ClassAccuracy:
    if not boxes:
        return ClassAccuracy(name=name, boxes=0, ap50_95=None, ap50=None, recall=None)
    return ClassAccuracy(
        name=name,
        boxes=boxes,
        ap50_95=float(curves.precision[:, :, k].mean()),
        ap50=float(curves.precision[_AT_50, :, k].mean()),
        recall=float(curves.recall[:, k].mean()),
        curve=tuple(np.round(curves.precision[_AT_50, :, k], 4).tolist()),
    )

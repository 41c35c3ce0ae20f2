"""Check for silent mistakes: the measured mAP against the one that the training recorded.

A module definition can fit a checkpoint in every shape and still compute something else. Then
every export agrees with the wrong network and passes parity; only the recorded mAP differs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.evidence.accuracy import Recorded
from ghost_deploy.core.progress import Progress
from ghost_deploy.core.spec import InputSpec
from ghost_deploy.judge.accuracy.average_precision import ultralytics_map
from ghost_deploy.judge.accuracy.measure import (
    limits,
    measure_with,
    validation_thresholds,
)
from ghost_deploy.judge.datasets.dataset import DataSet
from ghost_deploy.processing.letterbox import Letterbox
from ghost_deploy.processing.postprocess import Postprocessor
from ghost_deploy.processing.preprocess import pixel_table

if TYPE_CHECKING:
    from ghost_deploy.checkpoints.fork.fork_checkpoint import AnyCheckpoint

Size: TypeAlias = tuple[int, int]

METRIC = "mAP50-95"
"""Under this name a checkpoint's metrics hold what is compared, 0 to 1."""

SAME_PROTOCOL_POINTS = 0.5
"""Largest difference that agrees by the training's own protocol, in points of mAP50-95.

Measured on two trained checkpoints: 0.01 and 0.07, where Ultralytics' own validator, run again,
differs from what it recorded by as much. The rest is for what the protocol leaves open: batches
of mixed image shapes are padded alike, and a training on a GPU validates in half precision.
Wrong definitions of the first of them: SiLU replaced by ReLU 8.2, by GELU 2.9, by Hardswish 1.7
points, which is seen; a batch norm eps of 1e-5 instead of 1e-3 0.3 points, which is not.
"""

OTHER_PROTOCOL_POINTS = 3.0
"""Largest difference where COCO's mAP at a bundle's input takes the place of that protocol.

Measured: 0.3 and 1.4 points on the same checkpoints at the size they were trained at, mostly
because boxes are cut at the edge of the image or not. At another size there is no bound.
"""

_RECT_PAD = 0.5  # strides of border that Ultralytics' validator adds to the rectangle
_LEAST_STRIDE = 32


def compare_recorded(
    metrics: Mapping[str, float],
    measured: float,
    protocol: str,
    *,
    exact: bool,
    sizes: tuple[Size, Size] | None = None,
) -> Recorded | None:
    """Compare the recorded mAP50-95 with one that was measured of the same weights.

    Args:
        metrics: those of the checkpoint.
        measured: mAP50-95, 0 to 1.
        protocol: how it was measured.
        exact: by the protocol of the training, see `measure_as_trained`.
        sizes: (height, width) that it was measured and trained at, where both are known. Figures of
            different sizes are not compared: the sentence says so, whatever `agrees` is.

    Returns:
        None when the checkpoint records none.
    """
    recorded = metrics.get(METRIC)
    if recorded is None:
        return None
    tolerance = SAME_PROTOCOL_POINTS if exact else OTHER_PROTOCOL_POINTS
    apart = 100 * abs(measured - recorded)
    agrees = apart <= tolerance
    verdict = "Agrees with the training" if agrees else "Does not agree with the training"
    same_size = sizes is None or sizes[0] == sizes[1]
    parts = [
        f"{verdict}: {METRIC} recorded {recorded:.3f}, measured {measured:.3f}, "
        f"{apart:.2f} points apart"
    ]
    if sizes and not same_size:
        here, there = (_size_text(size) for size in sizes)
        parts = [
            f"Not comparable with the training: measured at {here}, trained at {there}; {METRIC} "
            f"recorded {recorded:.3f}, measured {measured:.3f}"
        ]
    elif not agrees:
        parts.append(
            "the module definition probably differs from the one that was trained, or this is "
            "another data set, split or input size than the recorded one"
        )
    if not exact:
        differ = "the protocols differ; " if same_size else ""
        parts.append(
            f"{differ}--checkpoint best.pt measures by the training's own protocol and size"
        )
    return Recorded(
        recorded=recorded,
        measured=measured,
        protocol=protocol,
        tolerance=tolerance,
        agrees=agrees,
        sentence="; ".join(parts),
    )


def _size_text(size: Size) -> str:
    """A side, or height x width."""
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"


def measure_as_trained(
    loaded: AnyCheckpoint, dataset: DataSet, progress: Progress | None = None, label: str = ""
) -> tuple[float, str]:
    """Measure the PyTorch module by the protocol of the training's own validation.

    That protocol (Ultralytics 8.4.190) differs from COCO's in the input's border, in leaving
    boxes that reach over the edge of the image uncut, and in the interpolation of precision.

    Args:
        loaded: the checkpoint, at the size it was trained at.
        dataset: with the classes of the checkpoint.
        progress, label: see `measure`.

    Returns:
        mAP50-95, 0 to 1, and the protocol in words.

    Raises:
        As `measure`.
    """
    from ghost_deploy.runtimes.eager import EagerRuntime

    spec = loaded.spec
    side = max(spec.input.size_hw)
    postprocess = Postprocessor(spec)
    runtime = EagerRuntime(loaded.net, spec.input, output=spec.head.output)

    def detect(images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        (image,) = images
        box = training_letterbox((image.shape[0], image.shape[1]), side, spec.input.stride)
        outputs = runtime.run({spec.input.name: _tensor(image, box, spec.input)})
        canvas = Letterbox(box.dst_hw, box.dst_hw, box.dst_hw, (0, 0))
        limit = validation_thresholds(spec)
        (found,) = postprocess(outputs, [canvas], limit, multi_label=True)
        return [_uncut(found, box)]

    how = (
        f"Ultralytics' validator: {limits(spec)}, long side {side} in the smallest rectangle, "
        "boxes not cut at the edge"
    )
    own = dataset.for_model(spec.class_names)
    with runtime:
        measured = measure_with(detect, own, how, progress=progress, label=label)
    return float(ultralytics_map(measured.tables).mean()), how


def training_letterbox(src_hw: tuple[int, int], side: int, stride: int) -> Letterbox:
    """The letterbox of Ultralytics' validator (8.4.190, data/base.py, data/augment.py).

    The long side becomes `side`, the short one is rounded up; the border fills a rectangle of
    the image's own shape, half a stride larger, in multiples of the stride. Its batches share
    the rectangle of their most extreme image; here each image has its own.

    Args:
        src_hw: (height, width) of the image.
        side: the training's input size.
        stride: largest stride of the head; at least 32 is used.
    """
    longest = max(src_hw)
    step = max(stride, _LEAST_STRIDE)
    if longest == side:
        new_hw = src_hw
    else:
        new_hw = _pair(min(math.ceil(length * (side / longest)), side) for length in src_hw)
    dst_hw = _pair(
        math.ceil(length / longest * side / step + _RECT_PAD) * step for length in src_hw
    )
    pad_tl = _pair(round((dst - new) / 2 - 0.1) for dst, new in zip(dst_hw, new_hw, strict=True))
    return Letterbox(src_hw, dst_hw, new_hw, pad_tl)


def _uncut(found: Detections, box: Letterbox) -> Detections:
    """From the letterboxed image to source pixels, where a box may reach over the edge."""
    (top, left), (new_h, new_w), (height, width) = box.pad_tl, box.new_hw, box.src_hw
    pad = np.array((left, top, left, top), np.float32)
    gain = np.array((new_w / width, new_h / height) * 2, np.float32)
    return Detections((found.xyxy - pad) / gain, found.score, found.class_id, found.class_names)


def _pair(values: Iterable[int]) -> tuple[int, int]:
    first, second = values
    return first, second


def _tensor(image: NDArray[np.uint8], box: Letterbox, spec: InputSpec) -> NDArray[np.float32]:
    """(1, 3, h, w) of an image in a letterbox that the shared preprocessor would not choose."""
    pixels = box.apply(image, pad_value=spec.pad_value)
    planes = pixels[..., ::-1] if spec.color == "rgb" else pixels
    table = pixel_table(spec)
    return np.stack([table[channel][planes[..., channel]] for channel in range(3)])[None]

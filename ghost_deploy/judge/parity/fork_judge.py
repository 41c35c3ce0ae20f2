"""Compares our definition of a network with the fork's own code, raw output by raw output.

Parity compares artifacts with our definition; that cannot see a definition that fits the parts of
a checkpoint and computes something else. The fork's code can. Both sides run in float64, so that
what remains is a difference of arithmetic and not of rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import BackendError, UsageError
from ghost_deploy.core.evidence.fork_report import ForkReport
from ghost_deploy.core.evidence.parity import Gate, TensorFigures
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.judge.parity.differences import (
    TensorDiff,
    compare_detections,
    compare_tensors,
)
from ghost_deploy.judge.parity.gate import raw_failures
from ghost_deploy.judge.parity.inputs import InputImage, demo_images, file_images
from ghost_deploy.judge.parity.output_forms import comparable
from ghost_deploy.judge.parity.pytorch_reference import open_reference
from ghost_deploy.judge.parity.tally import Tally

if TYPE_CHECKING:
    from ghost_deploy.checkpoints.fork.fork_checkpoint import ForkCheckpoint
    from ghost_deploy.checkpoints.loading import LoadedCheckpoint

MAX_IMAGES = 8
"""float64 is slow on both sides."""

MAX_SCORE = 1e-4
MAX_BOX_PX = {"float64": 1e-4, "float32": 0.05}
"""float32 differs by its rounding alone where sums are taken in another order."""

Network = Callable[[NDArray[Any]], NDArray[Any]]


def judge_fork(
    loaded: LoadedCheckpoint,
    fork: ForkCheckpoint,
    bundle: Bundle,
    images: Sequence[Path] | None = None,
    progress: Progress = silent,
) -> ForkReport:
    """Compare our definition of a checkpoint with the fork's network.

    Args:
        loaded: our definition; it is not changed.
        fork: the same checkpoint in a process of the fork's code.
        bundle: at the size of its spec.
        images: image files, of which at most `MAX_IMAGES` are taken; default: demo scenes.
        progress: called before each image.

    Raises:
        UsageError: another checkpoint, or no image.
        ImageError: an image cannot be read.
        BackendError: the fork's code fails.
    """
    if fork.source.sha256 != loaded.source.sha256:
        raise UsageError("the fork's code has loaded another checkpoint", fix="Give one for both")
    found = demo_images() if images is None else file_images(images)
    chosen = found[:: -(-len(found) // MAX_IMAGES)]
    size_hw = bundle.spec.input.size_hw
    report = ForkReport(
        role="judge", code=fork.code, status="failed", images=tuple(each.ref for each in chosen)
    )
    arithmetic, figures = "float64", None
    try:
        figures = _compare(loaded, fork, chosen, size_hw, np.float64, progress)
    except BackendError:  # constants of float32 in the fork's code
        arithmetic = "float32"
        figures = _compare(loaded, fork, chosen, size_hw, np.float32, progress)
    limits = Gate(
        precision="fp32",
        min_iou=0.0,
        min_matched=0.0,
        max_score=MAX_SCORE,
        max_raw_score=MAX_SCORE,
        max_raw_box_px=MAX_BOX_PX[arithmetic],
    )
    reasons = raw_failures(limits, figures)
    return msgspec.structs.replace(
        report,
        status="failed" if reasons else "passed",
        arithmetic=arithmetic,
        max_score=MAX_SCORE,
        max_box_px=MAX_BOX_PX[arithmetic],
        figures=figures,
        reasons=reasons,
    )


def _compare(
    loaded: LoadedCheckpoint,
    fork: ForkCheckpoint,
    images: Sequence[InputImage],
    size_hw: tuple[int, int],
    dtype: type[np.floating],
    progress: Progress,
) -> TensorFigures:
    spec, ours = _ours(loaded, fork.spec, dtype)
    nothing = compare_detections(
        Detections.empty(), Detections.empty(), conf=0.5, margin=0.0, min_iou=0.5
    )
    tally = Tally()
    with open_reference(loaded, loaded.spec) as detector:
        for number, image in enumerate(images):
            progress(f"judging {image.name}", number, len(images))
            feeds, _ = detector.preprocess([image.read()], size_hw)
            (tensor,) = (array.astype(dtype) for array in feeds.values())
            theirs = fork.process.run(tensor)
            tally.add(image.name, _difference(theirs, ours(tensor), spec, size_hw), nothing)
    return tally.tensor()


def _difference(
    theirs: NDArray[Any], ours: NDArray[Any], spec: ModelSpec, size_hw: tuple[int, int]
) -> TensorDiff:
    if theirs.shape != ours.shape:
        return TensorDiff(
            problem=f"our output has the shape {ours.shape}, the fork's {theirs.shape}"
        )
    first, second = (comparable(each[0], spec, size_hw) for each in (theirs, ours))
    return compare_tensors(first, second, end_to_end=spec.head.end_to_end)


def _ours(
    loaded: LoadedCheckpoint, theirs: ModelSpec, dtype: type[np.floating]
) -> tuple[ModelSpec, Network]:
    """Our network on the branch that the fork's code gives, and what its output means."""
    import torch

    net, spec = copy.copy(loaded.net), loaded.spec
    if theirs.head.branch != spec.head.branch and theirs.head.branch in net.branches:
        net.branch, spec = theirs.head.branch, theirs
    net = copy.deepcopy(net).to(torch.float64 if dtype is np.float64 else torch.float32)

    def run(tensor: NDArray[Any]) -> NDArray[Any]:
        with torch.inference_mode():
            output: NDArray[Any] = net(torch.from_numpy(tensor)).numpy()
        return output

    return spec, run

"""The network of a tree in the reading that its recorded statistics support, and the verdict."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
from torch import Tensor

from ghost_deploy.checkpoints.norms.choose_reading import CLEAR, Comparison, compare_readings
from ghost_deploy.checkpoints.norms.deviation import Deviation, deviations, misfit
from ghost_deploy.checkpoints.norms.norm_verdict import (
    STEM_LIMIT,
    NormVerdict,
    judge_added_up,
    judge_norms,
    stem_level,
)
from ghost_deploy.checkpoints.norms.witness_images import View, WitnessImages
from ghost_deploy.core.errors import AmbiguousClassError, StructureError
from ghost_deploy.core.evidence.statistics_report import ChoiceRow, StatisticsReport
from ghost_deploy.models.instantiate import build, open_choices, readings
from ghost_deploy.models.network import DetectionNet
from ghost_deploy.models.readings import Choices, Kind, OpenChoice
from ghost_deploy.models.registry import UserClasses
from ghost_deploy.models.tree import ModuleNode

_COMPARED_BATCHES = 1
_ADDED_UP_BATCHES = 2
_SIDES = (640, 416, 320)
_STRIDE = 32
_UNSEEN = (
    "Layers without a batch norm behind them are not seen: the last convolutions of the head and "
    "the decoding of boxes. Recorded metrics tell about those: ghost-deploy validate --checkpoint."
)
_NO_IMAGES = (
    "No images were given, so the arithmetic of its classes was not checked: give --images with "
    "images of the kind that it was trained on."
)
_PLOTS = (
    "Only the plots of the training were found beside the checkpoint: they decide between readings "
    "and are too far from its images for a verdict."
)


@dataclass(frozen=True)
class CheckpointParts:
    """What a network is built from.

    Attributes:
        file: name of the checkpoint.
        node, tensors, extra: see `build`.
        trained_hw: (height, width) of training in pixels; None if it is not recorded.
    """

    file: str
    node: ModuleNode
    tensors: Mapping[str, Tensor]
    extra: UserClasses
    trained_hw: tuple[int, int] | None
    _first: dict[tuple[tuple[Kind, str], ...], DetectionNet] = field(
        default_factory=dict, init=False, repr=False
    )

    def build(self, choices: Choices) -> DetectionNet:
        """The network with these choices; the one that was built first is kept for later."""
        key = tuple(choices.items())
        net = self._first.get(key)
        if net is None:
            net = build(self.node, self.tensors, extra=self.extra, choices=choices)
            if not self._first:
                self._first[key] = net
        return net


def examine(
    parts: CheckpointParts, images: WitnessImages | None
) -> tuple[DetectionNet, StatisticsReport]:
    """Build a network and compare it with its recorded statistics.

    Args:
        parts: of the network.
        images: of the kind that it was trained on; without any, only a reading that class names
            and structure make certain is built.

    Raises:
        AmbiguousClassError: several readings fit, and the images do not tell.
        CheckpointError: see `build`.
    """
    start = time.perf_counter()
    if images is None:
        net = parts.build({})
        verdict = NormVerdict("not judged", _NO_IMAGES, "", ())
        return net, _report(parts.file, net, verdict, start)
    choices = open_choices(parts.node, extra=parts.extra)
    try:
        net = parts.build(_firsts(choices))
    except StructureError:
        choices = readings(parts.node, extra=parts.extra)
        net = parts.build(_firsts(choices))
    view, others = _first_view(parts, net, images)
    compared: dict[Kind, Comparison] = {}
    if choices:
        compared = _compare(parts, choices, images, view)
        net = parts.build({kind: _decided(each, parts.file) for kind, each in compared.items()})
    view, verdict = judge_views(net, view, others)
    if images.source == "training plots":
        verdict = NormVerdict("not judged", _PLOTS, "", verdict.rows)
    report = _report(parts.file, net, verdict, start)
    return net, msgspec.structs.replace(
        report,
        images=images.count,
        source=images.source,
        view=f"{view.size_hw[0]} x {view.size_hw[1]} pixels",
        choices=tuple(_row(net, each) for each in compared.values() if math.isfinite(each.margin)),
    )


def _first_view(
    parts: CheckpointParts, net: DetectionNet, images: WitnessImages
) -> tuple[View, Iterator[View]]:
    """The images at the size of training, and the other views that training may have used.

    Where the size is not recorded, the usual one that fits best.
    """
    stride = max(_STRIDE, *net.strides)
    if parts.trained_hw is not None:
        views = images.views(parts.trained_hw, stride)
        return next(views), views
    usual = [next(images.views((side, side), stride)) for side in _SIDES]
    best = min(usual, key=lambda view: misfit(deviations(net, view.batches[:1])))
    return best, iter(())


def _firsts(choices: Sequence[OpenChoice]) -> dict[Kind, str]:
    """The reading with the first option of each kind."""
    return {choice.kind: choice.options[0] for choice in choices}


def _compare(
    parts: CheckpointParts,
    choices: Sequence[OpenChoice],
    images: WitnessImages,
    view: View,
) -> dict[Kind, Comparison]:
    """The options of each kind, compared on the first images."""
    batches = view.batches[:_COMPARED_BATCHES]
    first = parts.build(_firsts(choices))
    level = stem_level(first, deviations(first, batches))

    def measure(reading: Choices) -> list[Deviation] | None:
        try:
            return deviations(parts.build(reading), batches)
        except StructureError:  # its layers do not match each other
            return None

    return compare_readings(
        choices,
        measure,
        overrule=images.source == "images" and level <= STEM_LIMIT,
    )


def _decided(found: Comparison, file: str) -> str:
    """The option to use.

    Raises:
        AmbiguousClassError: the statistics do not tell, and no option is certain.
    """
    if found.decided:
        return found.best
    if found.choice.certain:
        return found.choice.options[0]
    raise AmbiguousClassError(
        f"{file}: two readings fit {found.choice.kind.class_path}, and its statistics do not tell "
        "them apart on these images",
        got=f"{', or '.join(found.choice.origins)}; the deviation of the second best is "
        f"{found.margin:.2f} times that of the best, {CLEAR:g} times would tell",
        fix="Give --images with images of the kind that it was trained on",
        class_paths=(found.choice.kind.class_path,),
    )


def judge_views(
    net: DetectionNet, view: View, others: Iterable[View] = ()
) -> tuple[View, NormVerdict]:
    """The verdict at the size that fits best; others are tried only where the first disagrees."""
    found = deviations(net, view.batches)
    verdict = judge_norms(net, found)
    for other in others if found else ():
        if verdict.verdict == "agrees":
            break
        again = deviations(net, other.batches)
        if misfit(again) < misfit(found):
            view, found, verdict = other, again, judge_norms(net, again)
    if verdict.verdict == "agrees":
        verdict = _added_up(net, view, verdict)
    return view, verdict


def _added_up(net: DetectionNet, view: View, verdict: NormVerdict) -> NormVerdict:
    """The verdict where deviations add up, on the first images."""
    images = np.concatenate(view.batches[:_ADDED_UP_BATCHES])
    if len(images) < 2:
        return verdict
    one, other = np.array_split(images, 2)
    return judge_added_up(
        net,
        verdict,
        (deviations(net, [one], each_alone=False), deviations(net, [other], each_alone=False)),
    )


def _row(net: DetectionNet, found: Comparison) -> ChoiceRow:
    choice = found.choice
    (used,) = (each.used for each in net.open_choices if each.kind == choice.kind)
    origins = dict(zip(choice.options, choice.origins, strict=True))
    return ChoiceRow(
        class_path=choice.kind.class_path,
        modules=len(choice.modules),
        used=origins[used],
        others=tuple(origin for option, origin in origins.items() if option != used),
        decided_by="images" if found.decided else "class name",
        margin=round(found.margin, 3),
    )


def _report(file: str, net: DetectionNet, verdict: NormVerdict, start: float) -> StatisticsReport:
    """The report of a verdict; the choices are those that class names decided."""
    return StatisticsReport(
        checkpoint=file,
        verdict=verdict.verdict,
        sentence=verdict.sentence,
        departs=verdict.departs,
        norms=verdict.rows,
        choices=tuple(
            ChoiceRow(
                class_path=choice.kind.class_path,
                modules=len(choice.modules),
                used=choice.used_origin,
                others=tuple(each for each in choice.origins if each != choice.used_origin),
                decided_by="class name",
            )
            for choice in net.open_choices
        ),
        unseen=_UNSEEN,
        seconds=round(time.perf_counter() - start, 3),
    )

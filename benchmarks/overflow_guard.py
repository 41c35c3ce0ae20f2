"""What int8 loses with the overflow guard, without it, and with NNCF's own two guards.

    python -m benchmarks.overflow_guard CHECKPOINT --calib IMAGES --data data.yaml [--imgsz 416]
    python -m benchmarks.overflow_guard embedded

Every file comes from one float export and one set of calibration images, and is judged on the
processor that runs this. The loss of mAP50-95 is a paired difference over the labelled images, with
its bootstrap interval. `same` is the share of detections, at the thresholds of the model, that int8
and float have in common: one class, IoU of at least 0.9, one to one. Without VNNI the files without
a guard find nothing; they are measured all the same.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import onnx

from benchmarks.interleave import machine
from ghost_deploy.calib.forms import int8_form
from ghost_deploy.calib.images.collection import collect_images
from ghost_deploy.calib.quantize.int8_files import file_info
from ghost_deploy.calib.quantize.nncf import quantize_openvino
from ghost_deploy.calib.quantize.openvino_overflow import guard_weights
from ghost_deploy.calib.quantize.qdq import QdqGraph
from ghost_deploy.calib.ranges.collect import collect_statistics
from ghost_deploy.calib.recipes import Recipe
from ghost_deploy.calib.search.int8_builder import Int8Builder
from ghost_deploy.checkpoints.loading import load_checkpoint
from ghost_deploy.core.detections import Detections
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.demo.embedded import MODEL_FILE
from ghost_deploy.demo.scene_files import LABELS, write_scenes
from ghost_deploy.detector import Detector
from ghost_deploy.export.openvino import write_openvino
from ghost_deploy.export.plan import plan_spec
from ghost_deploy.export.trace_onnx import onnx_from_net
from ghost_deploy.judge.accuracy.average_precision import coco_map
from ghost_deploy.judge.accuracy.bootstrap import Resampler
from ghost_deploy.judge.accuracy.measure import Measured, measure
from ghost_deploy.judge.datasets.dataset import DataSet
from ghost_deploy.judge.datasets.open_dataset import open_dataset
from ghost_deploy.processing.boxes import iou_matrix
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.dot_product import read_dot_product
from ghost_deploy.runtimes.openvino import open_model as open_openvino
from ghost_deploy.runtimes.ort import open_model as open_ort

SAME_IOU = 0.9
CALIBRATION_SEEDS, LABELLED_SEEDS = range(64), range(1000, 1087)
"""Scenes of the embedded model; it was trained on others."""


@dataclass
class Judged:
    """The accuracy of a file, and its detections in each image."""

    measured: Measured
    found: list[Detections] = field(default_factory=list)


@dataclass(frozen=True)
class Guarded:
    """A file and how many output channels of dense convolutions its guard changed, of how many."""

    name: str
    path: Path
    touched: tuple[int, int] | None = None


def judge(path: Path, spec: ModelSpec, data: DataSet) -> Judged:
    """Measure a file; an unguarded one on a processor without VNNI too."""
    opener = open_openvino if path.suffix == ".xml" else open_ort
    found: list[Detections] = []
    with Detector(opener(path, RuntimeOptions(hint="throughput", any_form=True)), spec) as detector:
        result = measure(
            detector,
            data,
            on_image=lambda _, each: found.append(each[each.score >= spec.thresholds.conf]),
        )
    return Judged(result, found)


def same_share(reference: Judged, candidate: Judged) -> float:
    """Share of detections that two models have in common, of the larger number of both."""
    pairs = list(zip(reference.found, candidate.found, strict=True))
    same = sum(_same(a, b) for a, b in pairs)
    return same / max(sum(len(a) for a, _ in pairs), sum(len(b) for _, b in pairs), 1)


def _same(a: Detections, b: Detections) -> int:
    if not (len(a) and len(b)):
        return 0
    iou = iou_matrix(a.xyxy, b.xyxy) * (a.class_id[:, None] == b.class_id[None])
    count = 0
    for row in range(len(a)):  # best first
        best = int(iou[row].argmax())
        if iou[row, best] >= SAME_IOU:
            iou[:, best] = 0
            count += 1
    return count


def qdq_files(builder: Int8Builder, form: str) -> Iterator[Guarded]:
    """Our own graphs by minimum and maximum: with the guard, and without."""
    guarded, free = (
        builder.build(Recipe("minmax", name, int8_form(name).options))
        for name in (form, f"{form}-vnni")
    )
    assert guarded.graph is not None
    assert free.graph is not None
    yield Guarded(
        f"{form} minmax, guard", guarded.path, _touched(builder, guarded.graph, free.graph)
    )
    yield Guarded(f"{form} minmax, none", free.path)


def _touched(builder: Int8Builder, guarded: QdqGraph, free: QdqGraph) -> tuple[int, int]:
    dense = {
        node.name
        for node in builder.model.graph.node
        if node.op_type == "Conv"
        and next((a.i for a in node.attribute if a.name == "group"), 1) == 1
    }
    pairs = [(s, free.weight_scales[n]) for n, s in guarded.weight_scales.items() if n in dense]
    return sum(int((a > b).sum()) for a, b in pairs), sum(len(a) for a, _ in pairs)


def nncf_files(builder: Int8Builder) -> Iterator[Guarded]:
    """NNCF's graph with our guard, with none, and with NNCF's own two."""
    touched: list[tuple[int, int]] = []

    @cache
    def quantized(fix: str) -> Any:
        return quantize_openvino(
            float_model(), builder.calibration, builder.spec.input, overflow_fix=fix
        )

    @cache
    def float_model() -> Any:
        import openvino

        return openvino.convert_model(builder.source)

    def make(model: Any, fix: str, guard: bool) -> Any:
        result = quantized(fix).clone()
        if guard:
            touched.append(guard_weights(result, model))
        return result

    for name, fix, guard in (
        ("guard", "DISABLE", True),
        ("none", "DISABLE", False),
        ("FIRST_LAYER", "FIRST_LAYER", False),
        ("ENABLE", "ENABLE", False),
    ):
        form = "openvino-vnni" if name == "none" else "openvino"
        xml, *_ = write_openvino(
            builder.source,
            builder.new_folder() / "model_openvino_model",
            builder.spec,
            "int8",
            info=file_info(int8_form(form).convention),
            transform=partial(make, fix=fix, guard=guard),
        )
        yield Guarded(f"openvino nncf, {name}", xml, touched[0] if guard else None)


FILES: dict[str, Callable[[Int8Builder], Iterator[Guarded]]] = {
    "ort-x86": partial(qdq_files, form="ort-x86"),
    "openvino": partial(qdq_files, form="openvino"),
    "nncf": nncf_files,
}


def show(builder: Int8Builder, data: DataSet, kinds: Iterable[str]) -> None:
    """Print a line for each file of some kinds of `FILES`, as soon as it is measured."""
    folder = builder.new_folder() / "float_openvino_model"
    ir, *_ = write_openvino(builder.source, folder, builder.spec, "fp32")
    floats = {path.suffix: judge(path, builder.spec, data) for path in (builder.source, ir)}
    sampler = Resampler(len(data.images))
    for suffix, each in floats.items():
        print(f"fp32 {suffix}: mAP50-95 {100 * each.measured.accuracy.map50_95:.2f}", flush=True)
    for kind in kinds:
        for file in FILES[kind](builder):
            _line(file, floats[file.path.suffix], judge(file.path, builder.spec, data), sampler)


def _line(file: Guarded, reference: Judged, own: Judged, sampler: Resampler) -> None:
    lost = 100 * (reference.measured.accuracy.map50_95 - own.measured.accuracy.map50_95)
    maps = [coco_map(sampler.classes(each.measured.tables)) for each in (reference, own)]
    interval = Resampler.interval(maps[1], maps[0])  # of what is lost
    share = f"{file.touched[0] / file.touched[1]:.1%} of {file.touched[1]}" if file.touched else "-"
    print(
        f"{file.name:28s} lost {lost:+6.2f} ({interval.low:+.2f} to {interval.high:+.2f})  "
        f"same {same_share(reference, own):6.1%}  channels touched {share}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="a checkpoint, or `embedded`")
    parser.add_argument("--calib", help="folder of images; scenes for the embedded model")
    parser.add_argument("--data", help="labelled images; scenes for the embedded model")
    parser.add_argument("--imgsz", type=int)
    parser.add_argument("--count", type=int, default=64, help="calibration images")
    parser.add_argument("--files", nargs="+", choices=[*FILES], default=[*FILES])
    arguments = parser.parse_args()
    own = arguments.checkpoint == "embedded"
    loaded = load_checkpoint(MODEL_FILE if own else Path(arguments.checkpoint))
    size = (arguments.imgsz, arguments.imgsz) if arguments.imgsz else None
    spec = plan_spec(loaded.spec, size_hw=size)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        if own:
            write_scenes(scratch / "calibration", CALIBRATION_SEEDS)
            write_scenes(scratch / "labelled", LABELLED_SEEDS)
        calib = scratch / "calibration" / "images" if own else arguments.calib
        labelled = scratch / "labelled" / LABELS if own else arguments.data
        source = scratch / "model.onnx"
        onnx.save(onnx_from_net(loaded.net, spec, "fp32"), source)
        images = collect_images(calib, count=arguments.count)
        tensors = collect_statistics(source, images, spec.input).tensors
        builder = Int8Builder(source, onnx.load(source), spec, images, tensors, scratch)
        data = open_dataset(labelled).for_model(spec.class_names)
        print(machine())
        print(f"int8 dot product: {read_dot_product().sentence}")
        print(
            f"{spec.name}, {spec.input.size_hw}, {len(images)} images of calibration, "
            f"{len(data.images)} labelled"
        )
        show(builder, data, arguments.files)


if __name__ == "__main__":
    main()

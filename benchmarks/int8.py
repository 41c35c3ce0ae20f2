"""What each int8 form of a checkpoint loses and gains, beside the naive setting.

    python -m benchmarks.int8 CHECKPOINT --calib IMAGES --data data.yaml [--imgsz 416]

Every graph comes from one float export and one set of statistics. Accuracy is that of
`ghost_deploy.judge`, on ONNX Runtime's CPU kernels for all forms and on OpenVINO for the one
made for it. Times are of one call, all graphs of a runtime taking turns in one process, as ratios
to the float graph on the same runtime; a graph is timed only on the runtime it was made for. The
share of multiply-adds in int8 is read from what the runtime executed.

With --methods or --placements, methods of choosing ranges or placements are compared instead.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from onnx import ModelProto

from benchmarks.graphs import openvino_task, ort_task
from benchmarks.interleave import interleave, machine, ratio
from ghost_deploy.calib.executed import executed
from ghost_deploy.calib.forms import int8_form
from ghost_deploy.calib.images.collection import collect_images
from ghost_deploy.calib.quantize.channels_last import to_channels_last
from ghost_deploy.calib.quantize.conventions import NAIVE, PlacementOptions
from ghost_deploy.calib.quantize.qdq import DEFAULT_METHOD, quantize
from ghost_deploy.calib.ranges.collect import collect_statistics
from ghost_deploy.calib.ranges.histogram import TensorStatistics
from ghost_deploy.calib.ranges.methods import METHODS, Method
from ghost_deploy.checkpoints.loading import load_checkpoint
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.detector import Detector
from ghost_deploy.export.openvino import write_openvino
from ghost_deploy.export.plan import plan_spec
from ghost_deploy.export.trace_onnx import onnx_from_net
from ghost_deploy.judge.accuracy.measure import measure
from ghost_deploy.judge.datasets.dataset import DataSet
from ghost_deploy.judge.datasets.open_dataset import open_dataset
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.openvino import open_model as open_openvino
from ghost_deploy.runtimes.ort import open_model as open_ort

FORMS: tuple[str, ...] = ("tensorrt", "openvino", "ort-x86")


@dataclass(frozen=True)
class Row:
    """A setting to measure."""

    form: str
    label: str
    options: PlacementOptions
    method: Method = DEFAULT_METHOD


def forms() -> Iterator[Row]:
    for form in FORMS:
        yield Row(form, "default", int8_form(form).options)
        yield Row(form, "naive", NAIVE, "minmax")


def methods() -> Iterator[Row]:
    for form in FORMS:
        for method in METHODS:
            yield Row(form, method, int8_form(form).options, method)


def placements() -> Iterator[Row]:
    """One choice of the defaults changed at a time."""
    changes: Mapping[str, dict[str, str | int]] = {
        "entry int8": {"entry": 0},
        "entry to stride 4 float": {"entry": 4},
        "entry to stride 16 float": {"entry": 16},
        "depthwise float": {"depthwise": "float"},
        "depthwise int8": {"depthwise": "int8"},
        "depthwise int8 in small maps": {"depthwise": "deep"},
        "first float": {"first_conv": "float"},
        "first int8": {"first_conv": "int8"},
        "ghost apart": {"ghost_concat": "apart"},
        "all apart": {"ghost_concat": "apart", "concat": "apart"},
        "head int8": {"head": "int8"},
        "SiLU float": {"silu": "float"},
    }
    for form in FORMS:
        default = int8_form(form).options
        for label, change in changes.items():
            changed = replace(default, **change)  # type: ignore[arg-type] # the keys are fields
            if changed != default and not (form != "ort-x86" and label == "SiLU float"):
                yield Row(form, label, changed)
        yield Row(form, "one scale for all channels", replace(default, per_channel=False))


class Bench:
    """The float graph, the labelled images, and the files made from the graph."""

    def __init__(self, model: ModelProto, spec: ModelSpec, data: DataSet, folder: Path) -> None:
        self.model, self.spec, self.folder = model, spec, folder
        self.data = data.for_model(spec.class_names)

    def file(self, name: str, model: ModelProto) -> Path:
        path = self.folder / f"{name.replace(' ', '-')}.onnx"
        path.write_bytes(model.SerializeToString(deterministic=True))
        return path

    def converted(self, path: Path) -> Path:
        return write_openvino(path, path.with_suffix(""), self.spec, "fp32")[0]

    def points(self, path: Path) -> float:
        """mAP50-95 in points."""
        opener = open_openvino if path.suffix == ".xml" else open_ort
        options = RuntimeOptions(hint="throughput", any_form=True)
        with Detector(opener(path, options), self.spec) as detector:
            return 100 * measure(detector, self.data).accuracy.map50_95


def show(bench: Bench, rows: list[Row], tensors: Mapping[str, TensorStatistics]) -> dict[str, Path]:
    """Print the accuracy of every row; returns the files to time, by label."""
    file = bench.file("float", bench.model)
    full = bench.points(file)
    print(f"fp32: mAP50-95 {full:.2f}", flush=True)
    timed = {"ort fp32": file, "openvino fp32": bench.converted(file)}
    for row in rows:
        convention = int8_form(row.form).convention
        graph = quantize(bench.model, tensors, convention, row.options, method=row.method)
        name = f"{row.form} {row.label}"
        model = to_channels_last(graph.model) if row.form == "ort-x86" else graph.model
        path = bench.file(name, model)
        lost = bench.points(path) - full
        more = f"planned {graph.macs_planned:.1%}, requantized {graph.placement.requantized}"
        if row.form == "openvino":
            path = bench.converted(path)
            more += f", on OpenVINO {bench.points(path) - full:+.2f}"
        if row.form != "tensorrt":
            share = executed(path, bench.spec.input.size_hw).share
            timed[name] = path
            more += f", executed {share:.1%}"
        print(f"{name:40s} {lost:+6.2f}  {more}", flush=True)
    return timed


def time(files: Mapping[str, Path], shape: tuple[int, ...], threads: int, rounds: int) -> None:
    for suffix, task in ((".onnx", ort_task), (".xml", openvino_task)):
        chosen = {name: path for name, path in files.items() if path.suffix == suffix}
        samples = interleave(
            {name: task(path, threads, shape) for name, path in chosen.items()}, rounds=rounds
        )
        first = next(iter(samples.values()))
        for name, values in samples.items():
            median = statistics.median(values)
            print(f"{threads} threads {median:8.2f} ms  {ratio(values, first)}  {name}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--calib", required=True, help="folder of images")
    parser.add_argument("--data", required=True, help="labelled images to judge by")
    parser.add_argument("--imgsz", type=int)
    parser.add_argument("--count", type=int, default=300, help="calibration images")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=60, help="0 times nothing")
    parser.add_argument("--cache", type=Path, help="folder that keeps the statistics")
    parser.add_argument("--methods", action="store_true")
    parser.add_argument("--placements", action="store_true")
    arguments = parser.parse_args()
    loaded = load_checkpoint(arguments.checkpoint)
    size = (arguments.imgsz, arguments.imgsz) if arguments.imgsz else None
    spec = plan_spec(loaded.spec, size_hw=size)
    model = onnx_from_net(loaded.net, spec, "fp32")
    images = collect_images(arguments.calib, count=arguments.count)
    found = collect_statistics(model, images, spec.input, cache_dir=arguments.cache)
    rows = list(forms())
    if arguments.methods or arguments.placements:
        rows = [*(methods() if arguments.methods else ())]
        rows += placements() if arguments.placements else ()
    print(machine())
    print(f"{spec.name}, {spec.input.size_hw}, {len(images)} images of calibration")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(model, spec, open_dataset(arguments.data), Path(folder))
        files = show(bench, rows, found.tensors)
        for threads in arguments.threads if arguments.rounds else ():
            time(files, (1, 3, *spec.input.size_hw), threads, arguments.rounds)


if __name__ == "__main__":
    main()

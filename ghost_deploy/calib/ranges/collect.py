"""Statistics of every tensor of a model on the calibration images, collected once for all methods.

Memory: images are processed one by one. The tensors are split into passes over the images, so that
the tensors of a pass for one image fit into a budget; a small detector needs one pass. ONNX
Runtime's buffers and 64 KiB of histogram for each tensor are added. The number of images does not
matter. Measured on yolov8n-ghost at 640 (333 tensors, 198 MB an image): a peak of 583 MB for the
process after 500 images in one pass, and of 390 MB with a budget of 64 MiB.

Cache: finished statistics are kept as `<key>.statistics`, unfinished ones as
`<key>.part.statistics` every `SNAPSHOT` images, from which an interrupted run continues. A file
that is damaged or of another key is replaced, with a note.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto

from ghost_deploy.calib.graph.index import index_float
from ghost_deploy.calib.graph.intermediates import Intermediates
from ghost_deploy.calib.graph.structure import find_structure
from ghost_deploy.calib.images.collection import CalibrationSet, preprocessing_fingerprint
from ghost_deploy.calib.ranges.histogram import TensorStatistics, merge
from ghost_deploy.calib.ranges.one_ahead import one_ahead
from ghost_deploy.calib.ranges.statistics_file import Statistics, StatisticsKey
from ghost_deploy.core.errors import InputError, UsageError
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.core.spec import InputSpec
from ghost_deploy.export.onnx_index import OnnxIndex
from ghost_deploy.runtimes.cpu_cores import available_cores

COLLECTOR = 2
"""Version of the collected statistics; increment it when their meaning changes."""

SNAPSHOT = 25
"""Images between two snapshots."""

_MIB = 1 << 20

_MOVED = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity"})
"""Operators whose result holds exactly the values of their first input."""


@dataclass(frozen=True)
class _Task:
    """The tensors to collect, pass by pass, and what the result depends on.

    `copies` are not collected: their statistics follow from those of the tensors they hold. The
    same goes for `sigmoids` among them, the factor of each SiLU: no scale is taken from theirs.
    """

    graph: OnnxIndex
    passes: tuple[tuple[str, ...], ...]
    copies: Mapping[str, tuple[str, ...]]
    sigmoids: Collection[str]
    calibration: CalibrationSet
    input_spec: InputSpec
    threads: int
    key: StatisticsKey

    @property
    def steps(self) -> int:
        """Total number of runs of the model."""
        return len(self.passes) * len(self.calibration)

    @property
    def part_key(self) -> StatisticsKey:
        """Key of unfinished statistics, which also depend on the order of images and passes."""
        order = [source.digest for source in self.calibration.sources]
        return msgspec.structs.replace(self.key, images=_hash(order), tensors=_hash(self.passes))


def collect_statistics(
    model: ModelProto | Path,
    calibration: CalibrationSet,
    input_spec: InputSpec,
    *,
    threads: int = 0,
    cache_dir: Path | None = None,
    memory_mib: int = 1024,
    progress: Progress = silent,
) -> Statistics:
    """Run the float model on every image and collect the statistics of all float32 tensors.

    The result does not depend on the order of the images, the passes or interruptions.

    Args:
        model: a float ONNX model with one input, at most 2 GiB, or its file.
        calibration: the images.
        input_spec: of the model.
        threads: of ONNX Runtime; 0 for its default.
        cache_dir: keeps statistics and snapshots; None keeps none.
        memory_mib: memory for the tensors of one image, in MiB; the number of passes follows.
        progress: receives each run of the model.

    Raises:
        UsageError: no float32 tensor, no image, or memory below 1 MiB.
        InputError: an image is unreadable or has changed; a value is not finite.
        BackendError: ONNX Runtime cannot run the model.
        ExportError: the cache cannot be written.
    """
    if isinstance(model, Path):
        model = _load(model)
    graph = index_float(model)
    names = graph.activations()
    if not names or not len(calibration) or memory_mib < 1:
        raise UsageError(
            "there is nothing to collect",
            got=f"{len(names)} tensors, {len(calibration)} images, {memory_mib} MiB",
            expected="a graph with float32 tensors, images, and a budget of at least 1 MiB",
            fix="Name the fp32 model, and a folder of images",
        )
    key = _key(model, calibration, input_spec, names)
    sigmoids = _sigmoids(graph)
    copies = _copies(graph, names, sigmoids)
    passes = _passes(graph, [name for name in names if name not in copies], memory_mib * _MIB)
    task = _Task(graph, passes, copies, sigmoids, calibration, input_spec, threads, key)
    if cache_dir is None:
        return _collect(task, {}, 0, None, (), progress)
    file = cache_dir / f"{key.digest[:16]}.statistics"
    part = cache_dir / f"{key.digest[:16]}.part.statistics"
    cached, notes = _cached(file, key)
    if cached is not None:
        return cached
    begun, more = _cached(part, task.part_key)
    have, done = ({}, 0) if begun is None else (dict(begun.tensors), begun.images)
    result = _collect(task, have, done, part, notes + more, progress)
    result.save(file)
    part.unlink(missing_ok=True)
    return result


def _key(
    model: ModelProto, calibration: CalibrationSet, input_spec: InputSpec, tensors: Sequence[str]
) -> StatisticsKey:
    digest = hashlib.sha256(model.graph.SerializeToString(deterministic=True))
    for opset in model.opset_import:
        digest.update(f"{opset.domain}:{opset.version}".encode())
    return StatisticsKey(
        model=digest.hexdigest(),
        images=calibration.fingerprint,
        preprocessing=preprocessing_fingerprint(input_spec),
        tensors=_hash(tensors),
        collector=COLLECTOR,
    )


def _load(path: Path) -> ModelProto:
    try:
        return onnx.load(path)
    # onnx raises what protobuf raises, which has no public base class.
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as an ONNX model", got=str(error), fix="Check the path"
        ) from error


def _passes(graph: OnnxIndex, names: Sequence[str], budget: int) -> tuple[tuple[str, ...], ...]:
    """The tensors in groups that fit into `budget` bytes, or hold one that does not."""
    sizes = [4 * math.prod(graph.shapes[name]) for name in names if name in graph.shapes]
    unknown = max(sizes, default=budget)  # as large as the largest known
    passes: list[list[str]] = []
    room = 0
    for name in names:
        shape = graph.shapes.get(name)
        size = unknown if shape is None else 4 * math.prod(shape)
        if not passes or size > room:
            passes.append([])
            room = budget
        passes[-1].append(name)
        room -= size
    return tuple(map(tuple, passes))


def _cached(file: Path, key: StatisticsKey) -> tuple[Statistics | None, tuple[str, ...]]:
    """The statistics of a file, or a note why they cannot be used; neither without a file."""
    if not file.exists():
        return None, ()
    try:
        return Statistics.load(file, expected=key), ()
    except InputError as error:
        return None, (f"{error.what} ({error.got}): they are collected again",)


def _collect(
    task: _Task,
    have: dict[str, TensorStatistics],
    done: int,
    part: Path | None,
    notes: tuple[str, ...],
    progress: Progress,
) -> Statistics:
    """Continue after `done` steps with `have`, and leave snapshots in `part`."""
    images = len(task.calibration)
    for number, names in enumerate(task.passes):
        start = max(0, done - number * images)
        if start >= images:
            continue
        # While the values of one image are counted, the model runs on the next.
        ahead = one_ahead(_values(task, names, start))
        for index, values in enumerate(ahead, start + 1):
            have |= _added(have, values, task.calibration.sources[index - 1].name)
            step = number * images + index
            if part is not None and index % SNAPSHOT == 0 and step < task.steps:
                Statistics(task.part_key, have, step).save(part)
            progress("collecting ranges", step, task.steps)
    for name, sources in task.copies.items():
        parts = [have[source] for source in sources if source in have]
        if parts and name in task.sigmoids:
            have[name] = parts[0].through_sigmoid()
        elif parts:
            have[name] = functools.reduce(merge, parts)
    # A tensor that was empty on every image has no statistics.
    ordered = {name: have[name] for name in task.graph.activations() if name in have}
    return Statistics(task.key, ordered, images, notes)


def _values(
    task: _Task, names: Sequence[str], start: int
) -> Iterable[Mapping[str, NDArray[np.float32]]]:
    """The tensors of one pass, image by image from number `start`."""
    inputs = [name for name in names if name in task.graph.inputs]
    inner = [name for name in names if name not in inputs]
    inner_values = Intermediates(task.graph.model, inner, threads=task.threads) if inner else None
    rows = task.input_spec.batch[0]
    rest = CalibrationSet(task.calibration.sources[start:])
    for batch in rest.batches(task.input_spec):
        # A graph with a fixed batch gets the image several times: no distribution changes.
        feed = np.repeat(batch, rows, axis=0) if rows > 1 else batch
        values = inner_values.of_batch(feed) if inner_values is not None else {}
        yield values | dict.fromkeys(inputs, feed)


def _added(
    have: Mapping[str, TensorStatistics], values: Mapping[str, NDArray[np.float32]], image: str
) -> dict[str, TensorStatistics]:
    """The statistics of tensors with one image more; tensors are counted side by side."""

    def one(name: str) -> tuple[str, TensorStatistics]:
        value = np.ascontiguousarray(values[name])
        try:
            known = have.get(name)
            return name, TensorStatistics.of(value) if known is None else known.extended(value)
        except ValueError as error:
            raise InputError(
                f"the tensor {name} has no usable value on the image {image}",
                got=str(error),
                expected="finite float32 values",
                fix="Check the fp32 model on that image; it overflows there",
            ) from error

    # The largest first, so that the threads end together.
    filled = [name for name, value in values.items() if value.size]
    filled.sort(key=lambda name: values[name].size, reverse=True)
    return dict(_pool().map(one, filled))


@functools.cache
def _pool() -> ThreadPoolExecutor:
    """Threads that count; NumPy and OpenCV release the interpreter's lock meanwhile."""
    return ThreadPoolExecutor(available_cores(), "calibration")


def _sigmoids(graph: OnnxIndex) -> frozenset[str]:
    """The outputs of the sigmoids that are a factor of a SiLU."""
    found = (graph.node[name] for name in find_structure(graph).silus)
    return frozenset(node.output[0] for node in found if node.op_type == "Sigmoid")


def _copies(
    graph: OnnxIndex, names: Collection[str], sigmoids: Collection[str]
) -> dict[str, tuple[str, ...]]:
    """Tensors whose statistics follow from those of others, by name, in execution order."""
    found: dict[str, tuple[str, ...]] = {}
    for node in graph.nodes:
        moved = node.op_type in _MOVED or node.output[0] in sigmoids
        if moved or node.op_type == "Concat":
            sources = tuple(node.input[:1] if moved else node.input)
            if set(sources) <= set(names):
                found |= {name: sources for name in node.output if name in names}
    return found


def _hash(names: Sequence[object]) -> str:
    return hashlib.sha256(msgspec.json.encode(names)).hexdigest()

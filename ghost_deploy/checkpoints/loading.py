"""Loading a checkpoint: the network, its description and its source."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from ghost_deploy.checkpoints.allowed_calls import check_calls
from ghost_deploy.checkpoints.archive import Archive, open_archive
from ghost_deploy.checkpoints.checkpoint_info import CheckpointInfo, class_names_of, structure_notes
from ghost_deploy.checkpoints.file_types import ZIP_MAGIC, is_safetensors, read_file, reject_foreign
from ghost_deploy.checkpoints.native import read_native
from ghost_deploy.checkpoints.norms.examine import CheckpointParts, examine
from ghost_deploy.checkpoints.norms.witness_images import WitnessImages
from ghost_deploy.checkpoints.pickle_reader import read_pickle
from ghost_deploy.checkpoints.plain_values import PlainReader
from ghost_deploy.checkpoints.tensors import TensorTable
from ghost_deploy.checkpoints.tree_reader import TreeReader
from ghost_deploy.checkpoints.ultralytics import check_task, find_network, read_info
from ghost_deploy.checkpoints.user_modules import UserModules, load_user_modules
from ghost_deploy.core.bundle import Source, file_name
from ghost_deploy.core.errors import StructureError, UsageError
from ghost_deploy.core.evidence.statistics_report import StatisticsReport
from ghost_deploy.core.spec import MAX_SIDE, HeadSpec, InputSpec, ModelSpec, Thresholds
from ghost_deploy.models.anchor_head import AnchorDetect
from ghost_deploy.models.flops import count_parameters, gflops
from ghost_deploy.models.head import Detect
from ghost_deploy.models.head_base import Branch
from ghost_deploy.models.network import DetectionNet

_DEFAULT_SIDE = 640
# A network may downsample more than the strides of its head; Ultralytics too makes all inputs a
# multiple of at least this.
SMALLEST_STRIDE = 32


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A loaded checkpoint.

    Attributes:
        net: float32, in eval mode, without gradients.
        spec: the description of the model.
        source: the origin of the weights.
        statistics: the verdict of recorded statistics on the network.
    """

    net: DetectionNet
    spec: ModelSpec
    source: Source
    statistics: StatisticsReport


def load_checkpoint(
    path: str | os.PathLike[str],
    *,
    modules: Sequence[Path] = (),
    size_hw: tuple[int, int] | None = None,
    branch: Branch | None = None,
    class_names: Sequence[str] = (),
    images: WitnessImages | None = None,
) -> LoadedCheckpoint:
    """Load an Ultralytics `.pt` or our own `.safetensors`; no code of the file is executed.

    Args:
        path: of the checkpoint.
        modules: Python files with further module definitions. They are executed.
        size_hw: (height, width) of the input in pixels; default: the size used in training,
            rounded up to a multiple of the stride.
        branch: branch of the head to use; default: as recorded in a file of ours, one2many for
            an Ultralytics file that has it.
        class_names: instead of those of the file, which may be lost; one for each class.
        images: of the kind that it was trained on. Recorded statistics then choose between
            readings and judge the network.

    Raises:
        AmbiguousClassError: the parts fit several definitions, and nothing decides.
        CheckpointError: and its subclasses, see `ghost_deploy.core.errors`.
        UsageError: `size_hw` is not a multiple of the stride, the head has no such `branch`, or
            a file of `modules` fails.
    """
    user = load_user_modules(modules)
    loaded = load_data(file_name(path), read_file(path), user, tuple(class_names), images)
    if branch is not None:
        loaded = on_branch(loaded, branch)
    return loaded if size_hw is None else _resized(loaded, size_hw)


def load_data(
    name: str,
    data: bytes,
    user: UserModules,
    class_names: tuple[str, ...] = (),
    images: WitnessImages | None = None,
) -> LoadedCheckpoint:
    """Load a checkpoint whose content is `data`; see `load_checkpoint`."""
    if data.startswith(ZIP_MAGIC):
        return _load_ultralytics(open_archive(name, data), user, class_names, images)
    if not is_safetensors(data):
        reject_foreign(name, data)
    return _load_native(name, data, user, class_names, images)


def _load_ultralytics(
    archive: Archive,
    user: UserModules,
    class_names: tuple[str, ...],
    images: WitnessImages | None,
) -> LoadedCheckpoint:
    where = archive.name
    pickle = read_pickle(archive.pickle, where)
    check_calls(pickle.calls, where)
    found = find_network(pickle.root, where)
    check_task(found, where)
    plain = PlainReader(where)
    facts = read_info(found, where, plain, class_names)
    tensors = TensorTable(archive)
    tree = TreeReader(where, tensors, plain).read(found.record)
    parts = CheckpointParts(where, tree, tensors, user.classes, facts.image_size_hw)
    net, statistics = examine(parts, images)
    _check_count(len(facts.class_names), net, where)
    branch = (_branch_note(net),) if net.head.has_one2one else ()
    notes = (*facts.warnings, *structure_notes(tree), *net.notes, *branch)
    spec = _spec(net, facts, archive)
    return LoadedCheckpoint(
        net=net,
        spec=spec,
        source=Source(
            file=where,
            sha256=archive.sha256,
            trained_with=facts.trained_with,
            trained_at=facts.trained_at,
            metrics=dict(facts.metrics),
            class_paths=net.origins,
            modules=dict(user.files),
            warnings=notes,
            trained_hw=facts.image_size_hw and spec.input.size_hw,
        ),
        statistics=statistics,
    )


def _load_native(
    name: str,
    data: bytes,
    user: UserModules,
    class_names: tuple[str, ...],
    images: WitnessImages | None,
) -> LoadedCheckpoint:
    native = read_native(name, data)
    class_names = class_names_of(class_names or native.spec.class_names, name)
    size_hw = native.spec.input.size_hw
    parts = CheckpointParts(name, native.tree, native.tensors, user.classes, size_hw)
    net, statistics = examine(parts, images)
    _check_count(len(class_names), net, name)
    if native.spec.head.branch in net.branches:
        net.branch = native.spec.head.branch
    head = head_spec(net)
    if head != native.spec.head:
        raise StructureError(
            f"{name} describes another head than it has",
            got=head,
            expected=native.spec.head,
            fix="Convert the original checkpoint again",
        )
    digest = hashlib.sha256(data).hexdigest()
    old = native.source
    # A file written by our trainer was not converted.
    converted = (f"converted from {old.file}, sha256 {old.sha256[:16]}...",) if old.sha256 else ()
    source = msgspec.structs.replace(
        old,
        file=name,
        sha256=digest,
        modules={**old.modules, **user.files},
        warnings=(*old.warnings, *converted),
        trained_hw=old.trained_hw or native.spec.input.size_hw,
    )
    spec = msgspec.structs.replace(
        native.spec,
        class_names=class_names,
        source_sha256=digest,
        gflops=gflops(net, native.spec.input.size_hw),
    )
    return LoadedCheckpoint(net, spec, source, statistics)


def _check_count(names: int, net: DetectionNet, where: str) -> None:
    if names != net.nc:
        raise StructureError(
            f"{where} has {names} class names",
            expected=f"{net.nc}, one for each class channel of its head",
            fix="Name them all while exporting: --names data.yaml; or set model.names where it was "
            "trained, and save the model again",
        )


def _branch_note(net: DetectionNet) -> str:
    if net.branches == ("one2one",):
        return "the head has only its one2one branch, which needs no NMS: the file was saved fused"
    return "the head has two branches: " + (
        "one2many with NMS is used, as Ultralytics does since 8.4.142"
        if net.branch == "one2many"
        else "one2one without NMS is used, as requested"
    )


def on_branch(loaded: LoadedCheckpoint, branch: Branch) -> LoadedCheckpoint:
    """Return a checkpoint with another branch of its head in use.

    Raises:
        UsageError: the head has no such branch.
    """
    net = loaded.net
    if branch == net.branch:
        return loaded
    if branch not in net.branches:
        raise UsageError(
            f"the head of {loaded.source.file} has no {branch} branch",
            got=", ".join(net.branches),
            fix="Leave the branch out; a one2one branch is there only after training a v10 head",
        )
    before = _branch_note(net)
    net.branch = branch
    notes = (note for note in loaded.source.warnings if note != before)
    return replace(
        loaded,
        spec=msgspec.structs.replace(loaded.spec, head=head_spec(net)),
        source=msgspec.structs.replace(loaded.source, warnings=(*notes, _branch_note(net))),
    )


def head_spec(net: DetectionNet) -> HeadSpec:
    """Return the output format of the branch that the network uses."""
    head = net.head
    return HeadSpec(
        decoder=head.decoder if net.branch == "one2many" else "one2one",
        strides=net.strides,
        reg_max=head.reg_max if isinstance(head, Detect) else 1,
        branch=net.branch,
        anchor_sizes=head.anchor_sizes if isinstance(head, AnchorDetect) else (),
    )


def default_thresholds(head: HeadSpec) -> Thresholds:
    """The thresholds of the repository that a head comes from, for detection.

    0.25 and IoU 0.45 for a head with anchors (ultralytics/yolov5 v7.0, detect.py), else 0.25 and
    IoU 0.7.
    """
    return Thresholds(iou=0.45) if head.anchor_sizes else Thresholds()


def _spec(net: DetectionNet, facts: CheckpointInfo, archive: Archive) -> ModelSpec:
    head = head_spec(net)
    stride = max(SMALLEST_STRIDE, *head.strides)
    wanted = facts.image_size_hw or (_DEFAULT_SIDE, _DEFAULT_SIDE)
    height, width = (min(-(-side // stride) * stride, MAX_SIDE) for side in wanted)
    return ModelSpec(
        name=Path(archive.name).stem,
        family=facts.family,
        class_names=facts.class_names,
        input=InputSpec(size_hw=(height, width), stride=stride),
        head=head,
        thresholds=default_thresholds(head),
        parameters=count_parameters(net),
        gflops=gflops(net, (height, width)),
        trained_with=facts.trained_with,
        source_sha256=archive.sha256,
    )


def _resized(loaded: LoadedCheckpoint, size_hw: tuple[int, int]) -> LoadedCheckpoint:
    stride = loaded.spec.input.stride
    if any(not 0 < side <= MAX_SIDE or side % stride for side in size_hw):
        raise UsageError(
            "the input size does not fit the network",
            got=f"{size_hw[0]} x {size_hw[1]}",
            expected=f"multiples of {stride} up to {MAX_SIDE}",
            fix="Choose another --imgsz",
        )
    spec = msgspec.structs.replace(
        loaded.spec,
        input=InputSpec(size_hw=size_hw, stride=stride),
        gflops=gflops(loaded.net, size_hw),
    )
    return replace(loaded, spec=spec)

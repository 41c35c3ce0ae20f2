"""A checkpoint whose network only a fork's own code can build."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import msgspec
import torch
from torch import Tensor, nn
from typing_extensions import Self

from ghost_deploy.checkpoints.allowed_calls import check_calls
from ghost_deploy.checkpoints.archive import Archive, open_archive
from ghost_deploy.checkpoints.checkpoint_info import CheckpointInfo, class_names_of
from ghost_deploy.checkpoints.file_types import ZIP_MAGIC, read_file, reject_foreign
from ghost_deploy.checkpoints.fork.child_settings import printable
from ghost_deploy.checkpoints.fork.fork_folder import ForkFolder
from ghost_deploy.checkpoints.fork.fork_process import ForkProcess
from ghost_deploy.checkpoints.fork.messages import LoadReply, LoadRequest
from ghost_deploy.checkpoints.loading import SMALLEST_STRIDE, LoadedCheckpoint
from ghost_deploy.checkpoints.pickle_reader import read_pickle
from ghost_deploy.checkpoints.plain_values import PlainReader
from ghost_deploy.checkpoints.ultralytics import check_task, find_network, read_info
from ghost_deploy.core.bundle import Source, file_name
from ghost_deploy.core.closing import Closing
from ghost_deploy.core.errors import CheckpointError, StructureError, UnknownClassError
from ghost_deploy.core.evidence.fork_report import ForkCode
from ghost_deploy.core.spec import MAX_SIDE, HeadSpec, InputSpec, ModelSpec, Thresholds

_DEFAULT_SIDE = 640
_MAX_STRIDES = 8
_DECODERS = {"v8": "dfl", "one2one": "one2one", "v5": "anchors"}


class ForkNet(nn.Module):
    """The fork's network in its process, as a module: images (B, 3, H, W) to the raw output.

    Computes in the type of its input, float32 or float64.
    """

    def __init__(self, process: ForkProcess) -> None:
        super().__init__()
        self._process = process

    def forward(self, images: Tensor) -> Tensor:
        """The raw output, three axes, of the type of `images`."""
        return torch.from_numpy(self._process.run(images.numpy()))

    def __deepcopy__(self, _: object) -> Self:
        return self


@dataclass(frozen=True)
class ForkCheckpoint(Closing):
    """A checkpoint that is loaded in a process of the fork's code.

    Attributes:
        net: gives the raw output.
        spec, source: as of a `LoadedCheckpoint`.
        process: where it is loaded; closing ends it.
        code: what was executed, and how.
    """

    net: ForkNet
    spec: ModelSpec
    source: Source
    process: ForkProcess
    code: ForkCode

    def close(self) -> None:
        """End the process."""
        self.process.close()


AnyCheckpoint: TypeAlias = LoadedCheckpoint | ForkCheckpoint


def open_fork_checkpoint(
    path: str | os.PathLike[str],
    fork: ForkFolder,
    *,
    confined: bool = True,
) -> ForkCheckpoint:
    """Load a checkpoint with a fork's own code, in a process of its own.

    Class names, image size and versions are read here, without executing anything.

    Args:
        path: of a `.pt` file.
        fork: the code; the user trusts it.
        confined: as in `ForkProcess`.

    Raises:
        CheckpointError: it is no checkpoint of a detector, or the code cannot load it.
        UnavailableError: the code cannot be confined here.
    """
    name, data = file_name(path), read_file(path)
    if not data.startswith(ZIP_MAGIC):
        reject_foreign(name, data)
        raise CheckpointError(
            f"{name} has no use for a fork's code", fix="Leave --fork out for this file"
        )
    archive = open_archive(name, data)
    facts = _read_facts(archive, confined=confined)
    request = LoadRequest(
        classes=len(facts.class_names), size_hw=_size(facts, 1), imports=fork.imports
    )
    process = ForkProcess(fork, confined=confined)
    try:
        reply = process.load(data, request)
        spec = _spec(archive, facts, reply)
        return ForkCheckpoint(
            net=ForkNet(process),
            spec=spec,
            source=_source(archive, facts, reply),
            process=process,
            code=_code(reply, process),
        )
    except BaseException:
        process.close()
        raise


def _read_facts(archive: Archive, *, confined: bool) -> CheckpointInfo:
    where = archive.name
    pickle = read_pickle(archive.pickle, where)
    if not confined:  # without walls the file itself must ask for nothing
        check_calls(pickle.calls, where)
    found = find_network(pickle.root, where)
    with contextlib.suppress(UnknownClassError):  # of another repository, which the fork may be
        check_task(found, where)
    try:
        return read_info(found, where, PlainReader(where))
    except StructureError:  # no class names there; the network has some
        return CheckpointInfo(family="", class_names=())


def _size(facts: CheckpointInfo, stride: int) -> tuple[int, int]:
    wanted = facts.image_size_hw or (_DEFAULT_SIDE, _DEFAULT_SIDE)
    height, width = (min(-(-side // stride) * stride, MAX_SIDE) for side in wanted)
    return height, width


def _spec(archive: Archive, facts: CheckpointInfo, reply: LoadReply) -> ModelSpec:
    """The description; what the child says is checked against its output."""
    names = facts.class_names or class_names_of(list(reply.names), archive.name)
    strides = reply.strides
    if not 0 < len(strides) <= _MAX_STRIDES or any(not 0 < s <= 1024 for s in strides):
        raise StructureError(
            f"the network of {archive.name} records no usable strides",
            got=strides,
            fix="Its head must have the attribute stride, pixels per cell of each level",
        )
    stride = max(SMALLEST_STRIDE, *strides)
    size_hw = _size(facts, stride)
    spec = ModelSpec(
        name=Path(archive.name).stem,
        family=facts.family or printable(reply.class_path).rpartition(".")[2][:64],
        class_names=names,
        input=InputSpec(size_hw=size_hw, stride=stride),
        head=_head(reply, archive.name),
        parameters=max(0, reply.parameters),
        thresholds=Thresholds(iou=0.45) if reply.form == "v5" else Thresholds(),
        trained_with=facts.trained_with,
        source_sha256=archive.sha256,
    )
    if (reply.size_hw, reply.output) != (size_hw, spec.output_shape()):
        raise StructureError(
            f"the output of the fork's network does not fit the description of {archive.name}",
            got=f"{reply.output} at {reply.size_hw}",
            expected=f"{spec.output_shape()} at {size_hw}",
            fix="Its class names, its strides and its head contradict each other",
        )
    return spec


def _head(reply: LoadReply, where: str) -> HeadSpec:
    head = {
        "decoder": _DECODERS.get(reply.form, reply.form),
        "strides": reply.strides,
        "branch": "one2one" if reply.form == "one2one" else "one2many",
        **({"anchor_sizes": reply.anchor_sizes} if reply.form == "v5" else {}),
    }
    try:
        return msgspec.convert(head, HeadSpec)
    except msgspec.ValidationError as error:
        raise StructureError(
            f"the output of the fork's network of {where} is of no supported form",
            got=f"{reply.form!r:.40} {reply.output}: {error}",
            expected=", ".join(_DECODERS),
            fix="Only detectors with these outputs can be deployed",
        ) from error


def _source(archive: Archive, facts: CheckpointInfo, reply: LoadReply) -> Source:
    return Source(
        file=archive.name,
        sha256=archive.sha256,
        trained_with=facts.trained_with,
        trained_at=facts.trained_at,
        metrics=dict(facts.metrics),
        class_paths={printable(reply.class_path)[:200]: "the fork's own code"},
        trained_hw=facts.image_size_hw,
        warnings=facts.warnings,
    )


def _code(reply: LoadReply, process: ForkProcess) -> ForkCode:
    fork = process.fork
    return ForkCode(
        folder=file_name(fork.path.resolve()),
        digest=fork.digest,
        files=fork.hashes_of(reply.files),
        confined=process.confined,
        class_path=printable(reply.class_path)[:200],
        versions={printable(k)[:40]: printable(v)[:64] for k, v in reply.versions.items()},
        absent=tuple(printable(name)[:64] for name in reply.absent),
    )

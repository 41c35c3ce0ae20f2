"""The program of the confined child: loads a checkpoint with a fork's code, runs and exports it."""

from __future__ import annotations

import copy
import platform
import sys
import traceback
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ghost_deploy.checkpoints.fork.absent import AbsentPackageError
from ghost_deploy.checkpoints.fork.fork_loading import ForkLoader
from ghost_deploy.checkpoints.fork.messages import (
    ArrayReply,
    FailureReply,
    ForkReply,
    ForkRequest,
    GraphReply,
    LoadReply,
    LoadRequest,
    RunRequest,
    TraceRequest,
    read_request,
    write_message,
)
from ghost_deploy.checkpoints.fork.raw_output import (
    ForkError,
    RawOutput,
    anchor_sizes_of,
    names_of,
    set_attributes,
    strides_of,
)
from ghost_deploy.checkpoints.loading import SMALLEST_STRIDE
from ghost_deploy.core.errors import GhostDeployError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.export.rewrite import Pixels
from ghost_deploy.export.trace import trace

_VERSIONS = ("torch", "ultralytics", "numpy", "timm", "einops", "mmcv", "torchvision")


def main(requests: int, replies: int, folders: Sequence[str]) -> None:
    """Answer requests until the parent closes its end.

    Args:
        requests, replies: descriptors to read from and to write to.
        folders: of the fork, in front of the import path from now on.
    """
    server = _Server(folders)
    sys.path[:0] = folders
    while (message := read_request(requests)) is not None:
        request, data = message
        try:
            reply, result = server.answer(request, data)
        # The fork's code may raise anything, and may call sys.exit.
        except (Exception, SystemExit) as error:
            reply, result = _failure(request, error, server.folders), b""
        write_message(replies, reply, result)


class _Server:
    """One loaded network."""

    def __init__(self, folders: Sequence[str]) -> None:
        self.folders = tuple(folders)
        self._raw: RawOutput | None = None
        self._exact: nn.Module | None = None

    def answer(self, request: ForkRequest, data: bytes) -> tuple[ForkReply, bytes]:
        if isinstance(request, LoadRequest):
            return self._load(request, data), b""
        if self._raw is None:
            raise ForkError("no checkpoint was loaded")
        if isinstance(request, RunRequest):
            return self._run(self._raw, request, data)
        return GraphReply(), self._trace(self._raw, request)

    def _load(self, request: LoadRequest, data: bytes) -> LoadReply:
        loader = ForkLoader(self.folders, request.imports)
        net = loader.load(data)
        names, strides = names_of(net), strides_of(net)
        step = max(SMALLEST_STRIDE, *strides)
        height, width = (-(-side // step) * step for side in request.size_hw)
        anchors = sum((height // stride) * (width // stride) for stride in strides)
        raw = RawOutput(net, request.classes or len(names), anchors).eval()
        with torch.inference_mode():
            output = raw.find(torch.zeros(1, 3, height, width))
        self._raw = raw
        return LoadReply(
            class_path=f"{type(net).__module__}.{type(net).__qualname__}",
            names=names,
            strides=strides,
            parameters=sum(weights.numel() for weights in net.parameters()),
            size_hw=(height, width),
            output=(output.shape[0], output.shape[1], output.shape[2]),
            form=raw.form,
            anchor_sizes=anchor_sizes_of(net),
            files=loader.files(),
            absent=tuple(sorted(loader.stand_ins.packages)),
            versions=_versions(),
        )

    def _run(self, raw: RawOutput, request: RunRequest, data: bytes) -> tuple[ArrayReply, bytes]:
        image = np.frombuffer(bytearray(data), request.dtype).reshape(request.shape)
        net: nn.Module = raw
        if request.dtype == "float64":
            self._exact = net = self._exact or copy.deepcopy(raw).double()
        with torch.inference_mode():
            output = net(torch.from_numpy(image)).to(getattr(torch, request.dtype))
        array = np.ascontiguousarray(output.numpy())
        return ArrayReply(shape=array.shape, dtype=request.dtype), array.tobytes()

    def _trace(self, raw: RawOutput, request: TraceRequest) -> bytes:
        spec = ModelSpec.from_json(request.spec)
        graph = _Graph(copy.deepcopy(raw), spec).eval()
        set_attributes(graph.net, {"dynamic": spec.input.dynamic})
        return trace(graph, spec, strict=False)


class _Graph(nn.Module):
    """From the input that a spec describes to the raw output, float32."""

    def __init__(self, net: RawOutput, spec: ModelSpec) -> None:
        super().__init__()
        self.net = net
        self.pixels = Pixels(spec.input) if spec.input.embedded else None

    def forward(self, images: Tensor) -> Tensor:
        image = images if self.pixels is None else self.pixels(images)
        output: Tensor = self.net(image)
        return output


def _versions() -> dict[str, str]:
    found: dict[str, str] = {"python": platform.python_version()}
    for name in _VERSIONS:
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            found[name] = str(version)[:64]
    return found


def _failure(request: ForkRequest, error: BaseException, folders: Sequence[str]) -> FailureReply:
    step = {LoadRequest: "load", RunRequest: "run"}.get(type(request), "export")
    absent = _absent_of(error)
    if absent:
        fix = f"Install it in the environment that runs this: pip install {absent}"
        return FailureReply(step=step, what=f"the network uses the package {absent!r}", fix=fix)
    if isinstance(error, ImportError) and error.name:
        package = error.name.partition(".")[0]
        fix = f"Install {package} in the environment that runs this, or give the folder with it"
        return FailureReply(step=step, what=f"cannot import {error.name}: {error}", fix=fix)
    if isinstance(error, GhostDeployError):
        what = f"{error.what}: {error.got}" if error.got else error.what
        return FailureReply(step=step, what=what)
    if isinstance(error, ForkError):
        return FailureReply(step=step, what=str(error), fix=error.fix)
    where = _where(error, folders)
    return FailureReply(step=step, what=f"{type(error).__name__}: {str(error)[:1000]}{where}")


def _absent_of(error: BaseException | None) -> str:
    while error is not None:
        if isinstance(error, AbsentPackageError):
            return error.package
        error = error.__cause__ or error.__context__
    return ""


def _where(error: BaseException, folders: Sequence[str]) -> str:
    """The place in the fork's files."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if any(f.filename.startswith(each) for each in folders)]
    if not own:
        return ""
    return f" ({own[-1].filename}, line {own[-1].lineno}, in {own[-1].name})"

"""NCNN networks from our own fp32 ONNX, cut before its decoding."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from ghost_deploy.core.bundle import Artifact, sha256_of
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.export.cut_graph import CutGraph, cut_graph
from ghost_deploy.export.ncnn_net import NcnnNet
from ghost_deploy.export.pnnx import convert, require_same_maps
from ghost_deploy.runtimes.ncnn_description import NcnnDescription

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ghost_deploy.export.artifacts import ExportSession
    from ghost_deploy.export.targets import Target

FOLDER = "model.{}_ncnn_model"
"""Name of the folder of an artifact, by its precision."""


def make_artifact(session: ExportSession, target: Target) -> Artifact:
    """Write the NCNN artifact of an export; raises as `convert` and `write_ncnn`."""
    session.progress(f"NCNN {target.precision}", 0, 0)
    source = session.onnx_file("fp32")
    cut, net = session.once("ncnn", lambda folder: converted(source, session.spec, folder))
    folder = session.writer.folder / FOLDER.format(target.precision)
    path, *others = write_ncnn(net, folder, cut.spec, half=target.precision == "fp16")
    require_same_maps(cut, path, cut.spec, target.precision)
    return session.add(target, path, sha256_of(source), others, own=cut.spec)


def converted(source: Path, spec: ModelSpec, folder: Path) -> tuple[CutGraph, NcnnNet]:
    """The cut graph of an fp32 ONNX file and its network in float32.

    Args:
        source: the file.
        spec: its description.
        folder: an empty one for temporary files.

    Raises:
        MissingExtraError, ExportError, UsageError: as `convert` and `cut_graph`.
    """
    cut = cut_graph(onnx.load(source), spec)
    return cut, convert(cut, folder)


def write_ncnn(
    net: NcnnNet,
    folder: Path,
    spec: ModelSpec,
    *,
    half: bool = False,
    info: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write a network with its description into a new folder.

    Args:
        net: to write.
        folder: made here.
        spec: of the network.
        half: store float weights in float16.
        info: further metadata.

    Returns:
        The `.param` file that a runtime opens, then the other files.

    Raises:
        OSError: the disk refuses.
    """
    folder.mkdir()
    param = folder / "model.param"
    weights = net.write(param, half=half)
    return [param, weights, NcnnDescription.of(spec, info).write(param)]

"""NCNN networks from cut graphs, by pnnx: its program, called in a folder of its own with a copy.

The program needs nothing besides itself; the Python package around it asks for torch.
"""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import numpy as np
import onnx

from ghost_deploy.core.errors import ExportError, MissingExtraError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.export.cut_comparison import decoded_difference, run_graph
from ghost_deploy.export.cut_graph import CutGraph
from ghost_deploy.export.ncnn_net import NcnnNet
from ghost_deploy.export.simplify import TOLERANCE
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.table import open_file

INSTALL = "pip install --no-deps pnnx"
"""Its dependencies are torch, of which the program needs nothing."""

_TIME_LIMIT_S = 1800
_NAME = "graph"


def convert(cut: CutGraph, folder: Path) -> NcnnNet:
    """The NCNN network of a cut graph in float32, its tensors named as in the graph.

    Args:
        cut: the graph.
        folder: an empty one for the program's files.

    Raises:
        MissingExtraError: pnnx is not installed.
        ExportError: it cannot convert the graph.
    """
    source = folder / f"{_NAME}.onnx"
    onnx.save(cut.model, source)
    spec = cut.spec
    sides = ",".join(map(str, spec.input.graph_shape()))
    command = [str(_program()), source.name, f"inputshape=[{sides}]f32", "fp16=0"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, timeout=_TIME_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _failed(str(error)) from error
    param, weights = folder / f"{_NAME}.ncnn.param", folder / f"{_NAME}.ncnn.bin"
    # It also returns 0 without having written anything.
    if done.returncode or not (param.is_file() and weights.is_file()):
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise _failed(f"it returned {done.returncode}: {' '.join(said[-3:])}")
    net = NcnnNet.read(param, weights)
    outputs = [value.name for value in cut.model.graph.output]
    net.rename({"in0": spec.input.name, **{f"out{n}": name for n, name in enumerate(outputs)}})
    return net


def require_same_maps(cut: CutGraph, param: Path, spec: ModelSpec, precision: str) -> None:
    """Load a network and compare what its maps decode to with that of the cut graph.

    Args:
        cut: what it was converted from.
        param: of the network, described and with its weights.
        spec: of the network.
        precision: `fp32` or `fp16`.

    Raises:
        ExportError: it does not load, or differs by more than the rounding of the precision.
    """
    pixels = np.random.default_rng(0).random(spec.input.graph_shape(), dtype=np.float32)
    try:
        with open_file("ncnn", param, RuntimeOptions(precision=precision)) as runtime:
            found = runtime.run({spec.input.name: pixels})
    except Exception as error:
        raise _failed(f"the result does not run: {error}") from error
    worst = decoded_difference(run_graph(cut.model, pixels), found, spec)
    if not worst <= TOLERANCE[precision]:
        raise _failed(f"the decoded maps differ by {worst:.2g} of their range")


def _program() -> Path:
    spec = importlib.util.find_spec("pnnx")
    if spec is None or spec.origin is None:
        raise MissingExtraError(
            "the converter 'pnnx' is not installed", fix=f"Install it with: {INSTALL}"
        )
    return Path(spec.origin).with_name("pnnx")


def _failed(got: str) -> ExportError:
    return ExportError(
        "pnnx could not convert the graph to NCNN",
        got=got,
        fix="Leave out --ncnn, or report this with the checkpoint's architecture",
    )

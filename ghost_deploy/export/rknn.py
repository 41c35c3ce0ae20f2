"""RKNN files for the NPUs of Rockchip, made and simulated by rknn-toolkit2.

A file is cut before the decoding of its head, in float too: computed in float16 on the NPU the
decoding alone costs more than the rest of the network, see docs/howto/rockchip.md. It takes the
letterboxed image as uint8 pixels; mean and deviation are the toolkit's, the order of the channels
is that of the weights of the first convolution.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from ghost_deploy.core.closing import Closing
from ghost_deploy.core.errors import ExportError
from ghost_deploy.core.progress import Progress
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.export.converter_process import Converter, ConverterProcess
from ghost_deploy.export.cut_graph import Layout, cut_graph
from ghost_deploy.export.onnx_index import OnnxIndex
from ghost_deploy.runtimes.rockchip import Simulation

BUILD_LIMIT_S, RUN_LIMIT_S = 1800.0, 300.0
"""Seconds that a build and a simulated run may take; a small network takes 20 and 0.5."""

_DEFAULT_PLACE = "ghost-deploy/rknn/bin/python"


def rknn_converter() -> Converter:
    """rknn-toolkit2."""
    return Converter(
        name="rknn-toolkit2",
        package="rknn",
        steps="rknn_steps.py",
        variable="GHOST_DEPLOY_RKNN_PYTHON",
        option="--rknn-python",
        fix="Make an environment of its own for it (1.5 GB) with tools/rknn_env.sh, where it is "
        "found by itself; the Python of another is named by --rknn-python PATH or "
        "$GHOST_DEPLOY_RKNN_PYTHON",
        default=_default_python(),
    )


def _default_python() -> Path:
    """Where `tools/rknn_env.sh` puts it unless told otherwise."""
    home = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return Path(home) / _DEFAULT_PLACE


@dataclass(frozen=True)
class RknnSource:
    """A network that is ready for the toolkit.

    Attributes:
        model: fp32 ONNX, cut; takes BGR channels, (1, 3, H, W).
        spec: of the file that is made of it: uint8 (1, H, W, 3) pixels in.
        mean, std: of a pixel, by channel in the order of the file.
    """

    model: ModelProto
    spec: ModelSpec
    mean: tuple[float, ...]
    std: tuple[float, ...]


def rknn_source(whole: Path, spec: ModelSpec, layout: Layout = "rockchip") -> RknnSource:
    """Cut our fp32 ONNX file for the toolkit.

    Args:
        whole: the file; it is only read.
        spec: of the bundle.
        layout: of the outputs.

    Raises:
        UsageError, ExportError: as `cut_graph`.
    """
    cut = cut_graph(onnx.load(whole), spec, layout)
    old = cut.spec.input
    if old.color == "rgb":
        _swap_channels(cut.model)
    step = -1 if old.color == "rgb" else 1
    own_input = msgspec.structs.replace(old, layout="nhwc", dtype="uint8")
    return RknnSource(
        cut.model,
        msgspec.structs.replace(cut.spec, input=own_input),
        mean=tuple(value * old.divisor for value in list(old.mean)[::step]),
        std=tuple(value * old.divisor for value in list(old.std)[::step]),
    )


def _swap_channels(model: ModelProto) -> None:
    """Let the first convolution take BGR in place of RGB."""
    index = OnnxIndex(model)
    (name,) = index.inputs
    for node in index.readers(name):
        found = [each for each in model.graph.initializer if each.name in node.input[1:2]]
        if node.op_type != "Conv" or len(found) != 1 or len(index.readers(found[0].name)) != 1:
            raise ExportError(
                "the order of the color channels cannot be folded into the first convolution",
                got=f"{node.op_type} reads the image",
                fix="Report this with the checkpoint's architecture",
            )
        weight = numpy_helper.to_array(found[0])
        swapped = np.ascontiguousarray(weight[:, ::-1])
        found[0].CopyFrom(numpy_helper.from_array(swapped, found[0].name))


class RknnNetwork(Closing):
    """A network that the toolkit has built, and simulates until it is closed.

    Args:
        source: the network.
        target: a name of `SOCS`.
        out: file to write.
        python: interpreter that has the toolkit.
        folder: scratch folder of the process.
        progress: called at each step.
        calibration: images for int8, each (1, H, W, 3) uint8 as the network takes them; None for
            float.
        algorithm: of the quantization: `normal`, `kl_divergence` or `mmse`.
        without_rules: rules of the toolkit that failed on this graph before.

    Attributes:
        version: of the toolkit.
        without_rules: the toolkit's rules of fusion that failed on the graph and were left out.

    Raises:
        ExportError: the toolkit failed, or its file is not what it says.
    """

    def __init__(
        self,
        source: RknnSource,
        target: str,
        out: Path,
        python: str,
        folder: Path,
        progress: Progress,
        calibration: Iterable[NDArray[np.uint8]] | None = None,
        algorithm: str = "normal",
        without_rules: Sequence[str] = (),
    ) -> None:
        self._folder = folder
        copy, file = folder / "network.onnx", folder / "made.rknn"
        copy.write_bytes(source.model.SerializeToString(deterministic=True))
        dataset = "" if calibration is None else str(_write_dataset(folder, calibration))
        what = f"RKNN {'fp16' if calibration is None else 'int8'} for {target}"
        with ExitStack() as stack:
            self._process = ConverterProcess(rknn_converter(), python, folder)
            stack.callback(self._process.close)
            made: dict[str, Any] = self._process.ask(
                "build",
                BUILD_LIMIT_S,
                lambda text: progress(f"{what}: {text}", 0, 0),
                onnx_file=str(copy),
                out=str(file),
                target=target,
                mean=source.mean,
                std=source.std,
                dataset=dataset,
                algorithm=algorithm,
                without=list(without_rules),
            )
            self.version: str = made["version"]
            self.without_rules: tuple[str, ...] = tuple(made["without"])
            content = file.read_bytes() if file.is_file() else b""
            if content[:4] != b"RKNN":
                raise ExportError(
                    "rknn-toolkit2 wrote no RKNN file",
                    got=f"{len(content)} bytes",
                    fix="Make its environment again with tools/rknn_env.sh",
                )
            out.write_bytes(content)
            stack.pop_all()

    @property
    def simulation(self) -> Simulation:
        """What runs the network while this is open."""
        return Simulation(self._simulate, f"{self.version} simulator")

    def close(self) -> None:
        """End the toolkit's process."""
        self._process.close()

    def _simulate(self, pixels: NDArray[Any]) -> list[NDArray[Any]]:
        place = self._folder / "pixels.npy"
        np.save(place, pixels)
        files: list[str] = self._process.ask(
            "simulate",
            RUN_LIMIT_S,
            lambda _: None,
            pixels=str(place),
            folder=str(self._folder),
        )
        return [np.load(file, allow_pickle=False) for file in files]


def _write_dataset(folder: Path, images: Iterable[NDArray[np.uint8]]) -> Path:
    """The calibration list of the toolkit, which reads arrays as NCHW."""
    files = []
    for number, image in enumerate(images):
        files.append(folder / f"calibration{number}.npy")
        np.save(files[-1], np.ascontiguousarray(image.transpose(0, 3, 1, 2)))
    place = folder / "calibration.txt"
    place.write_text("".join(f"{file}\n" for file in files), encoding="utf-8")
    return place

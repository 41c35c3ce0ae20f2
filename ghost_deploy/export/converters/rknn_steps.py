"""The steps of rknn-toolkit2; loaded by `converter_main` in the interpreter that has it.

The toolkit's simulator runs a network only in the process that built it, so that one process
builds, writes the file and simulates it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import metadata
from typing import Any

_built: list[Any] = []
"""The network of this process, once it is built."""


def build(
    say: Callable[[str], None],
    *,
    onnx_file: str,
    out: str,
    target: str,
    mean: list[float],
    std: list[float],
    dataset: str,
    algorithm: str = "normal",
) -> dict[str, str]:
    """Convert an ONNX file and open it in the simulator.

    Args:
        say: takes what is being done.
        onnx_file: float32, NCHW, one image; a copy, which the toolkit may change.
        out: file to write.
        target: the system on a chip, e.g. `rk3588`.
        mean, std: (pixel - mean) / std makes the network's input, by channel.
        dataset: text file with the paths of `.npy` files for int8, (1, H, W, 3) uint8; empty for
            float.
        algorithm: of the quantization.

    Returns:
        Versions of the packages.
    """
    say("importing rknn-toolkit2")
    from rknn.api import RKNN

    rknn = RKNN(verbose=False)
    _built[:] = [rknn]
    _ok(
        "config",
        rknn.config(
            mean_values=[[float(value) for value in mean]],
            std_values=[[float(value) for value in std]],
            target_platform=target,
            quantized_algorithm=algorithm,
        ),
    )
    _ok("load_onnx", rknn.load_onnx(model=onnx_file))
    say(f"quantizing and building for {target}" if dataset else f"building for {target}")
    if dataset:
        _ok("build", rknn.build(do_quantization=True, dataset=dataset))
    else:
        _ok("build", rknn.build(do_quantization=False))
    _ok("export_rknn", rknn.export_rknn(out))
    if not os.path.isfile(out) or os.path.getsize(out) == 0:
        raise RuntimeError("export_rknn wrote nothing")
    say("starting the simulator")
    _ok("init_runtime", rknn.init_runtime())
    return {"rknn-toolkit2": metadata.version("rknn-toolkit2")}


def simulate(say: Callable[[str], None], *, pixels: str, folder: str) -> list[str]:
    """Run the network on one image.

    Args:
        say: not called.
        pixels: `.npy` file, (1, H, W, 3) uint8.
        folder: where the outputs are written.

    Returns:
        A `.npy` file for each output of the ONNX file, in its order.
    """
    import numpy as np

    outputs = _built[0].inference(inputs=[np.load(pixels)], data_format=["nhwc"])
    if outputs is None:
        raise RuntimeError("the simulator gave no outputs")
    files = []
    for index, output in enumerate(outputs):
        files.append(os.path.join(folder, f"output{index}.npy"))
        np.save(files[-1], output)
    return files


def _ok(call: str, code: int) -> None:
    """The toolkit reports errors by numbers, most of them; it has printed why."""
    if code != 0:
        raise RuntimeError(f"{call} returned {code}")


STEPS = {"build": build, "simulate": simulate}

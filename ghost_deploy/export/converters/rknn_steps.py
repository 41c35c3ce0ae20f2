"""The steps of rknn-toolkit2; loaded by `converter_main` in the interpreter that has it.

The toolkit's simulator runs a network only in the process that built it, so that one process
builds, writes the file and simulates it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any

_built: list[Any] = []
"""The network of this process, once it is built."""

_MOST_RULES = 8
"""Rules that are left out at most."""


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
    without: Sequence[str] = (),
) -> dict[str, Any]:
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
        without: rules of fusion that failed on this graph before.

    Returns:
        `version` of the toolkit, and `without`: the rules that failed on this graph and were left
        out.
    """
    say("importing rknn-toolkit2")
    from rknn.api import RKNN

    settings: dict[str, Any] = {
        "mean_values": [[float(value) for value in mean]],
        "std_values": [[float(value) for value in std]],
        "target_platform": target,
        "quantized_algorithm": algorithm,
    }
    say(f"quantizing and building for {target}" if dataset else f"building for {target}")
    with open(onnx_file, "rb") as file:
        network = file.read()
    left_out = list(without)
    while True:
        try:
            rknn = RKNN(verbose=False)
            _build(rknn, onnx_file, network, dataset, {**settings, **_left_out(left_out)})
            break
        # Its loggers end with SystemExit in places.
        except (Exception, SystemExit) as error:
            rule = _failed_rule(str(error))
            if not rule or rule in left_out or len(left_out) == _MOST_RULES:
                raise
            left_out.append(rule)
            say(f"building without its rule {rule}, which fails on this graph")
    _built[:] = [rknn]
    _ok("export_rknn", rknn.export_rknn(out))
    if not os.path.isfile(out) or os.path.getsize(out) == 0:
        raise RuntimeError("export_rknn wrote nothing")
    say("starting the simulator")
    _ok("init_runtime", rknn.init_runtime())
    return {"version": metadata.version("rknn-toolkit2"), "without": left_out}


def _build(
    rknn: Any, onnx_file: str, network: bytes, dataset: str, settings: Mapping[str, Any]
) -> None:
    with open(onnx_file, "wb") as file:  # again: the toolkit changes what it is given
        file.write(network)
    _ok("config", rknn.config(**settings))
    _ok("load_onnx", rknn.load_onnx(model=onnx_file))
    if dataset:
        _ok("build", rknn.build(do_quantization=True, dataset=dataset))
    else:
        _ok("build", rknn.build(do_quantization=False))


def _left_out(rules: list[str]) -> dict[str, list[str]]:
    return {"disable_rules": rules} if rules else {}


def _failed_rule(text: str) -> str:
    """The rule of fusion that raised, by the name of its function in the traceback; empty if none.

    2.5.0 fails in `fuse_exmatmul_add_mul_exsoftmax13_exmatmul_to_sdpa` on attention without a mask
    (YOLO11's C2PSA).
    """
    found = re.findall(r"rknn\.api\.rules\.\w+\._p_(\w+)", text)
    return found[-1] if found else ""


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

"""How long two or more model files take on the same runtime, relative to the first.

    python -m benchmarks.graphs THEIRS.onnx OURS.onnx

Every file must take the same input. ONNX Runtime's sessions would disturb each other through
their spinning threads, so spinning is off for all of them.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.interleave import interleave, machine, ratio


def ort_task(path: Path, threads: int, shape: tuple[int, ...]) -> Callable[[], Any]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: np.random.default_rng(0).random(shape, np.float32)}
    return partial(session.run, None, feed)


def openvino_task(path: Path, threads: int, shape: tuple[int, ...]) -> Callable[[], Any]:
    import openvino as ov

    config = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads:
        config["INFERENCE_NUM_THREADS"] = str(threads)
    request = ov.Core().compile_model(str(path), "CPU", config).create_infer_request()
    feed = np.random.default_rng(0).random(shape, np.float32)
    return partial(request.infer, [feed], share_inputs=True, share_outputs=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--imgsz", type=int, default=640)
    arguments = parser.parse_args()
    shape = (1, 3, arguments.imgsz, arguments.imgsz)
    tasks = {
        f"{index} {path}": (openvino_task if path.suffix == ".xml" else ort_task)(
            path, arguments.threads, shape
        )
        for index, path in enumerate(arguments.files)
    }
    samples = interleave(tasks, rounds=arguments.rounds)
    first = next(iter(samples.values()))
    print(machine())
    for name, values in samples.items():
        print(f"{statistics.median(values):8.2f} ms  {ratio(values, first)}  {name}")


if __name__ == "__main__":
    main()

"""A strict `rknn.api` in an interpreter of its own: signatures and return values of 2.5.0.

Its simulator is ONNX Runtime. As the real one it returns 0 for networks that find nothing, prints
on standard output, simulates only what this process has built, and changes files that it is given.
Its files run on `fake_rknnlite`: the ONNX file is behind the first line.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ghost_deploy.runtimes.rockchip import SOCS

_API = """
import json

import numpy as np

class RKNN:
    def __init__(self, verbose=False, verbose_file=None):
        self._settings = self._model = self._built = self._session = None
        print("I rknn-toolkit2 version: 2.5.0")

    def config(self, mean_values=None, std_values=None, quantized_dtype="w8a8",
               quantized_algorithm="normal", quantized_method="channel",
               target_platform=None, disable_rules=None):
        for values in (mean_values, std_values):
            if not all(type(v) is float for row in values for v in row):
                raise ValueError(f"The mean_values {values} is invalid format!")
        self._npu = NPUS[target_platform]
        self._rules = disable_rules or []
        assert quantized_algorithm in ("normal", "kl_divergence", "mmse")
        self._settings = [np.float32(v[0]) for v in (mean_values, std_values)]
        return 0

    def load_onnx(self, model, inputs=None, input_size_list=None, input_initial_val=None,
                  outputs=None):
        if self._settings is None:
            return -1
        self._model = open(model, "rb").read()
        open(model, "wb").write(b"overwritten")
        return 0

    def build(self, do_quantization=True, dataset=None, rknn_batch_size=None, auto_hybrid=False):
        import onnxruntime
        for rule in RULES if FAULT == "rules" else ():
            if rule not in self._rules:
                raise ValueError(f"Traceback (most recent call last):\\n  File \\"rknn/api/rules/"
                    f"matmul.py\\", line 1539, in rknn.api.rules.matmul._p_{rule}\\nIndexError: x")
        if FAULT == "build":
            raise ValueError("in rknn.api.rules.matmul._p_stubborn")
        if do_quantization:
            files = open(dataset).read().split()
            shapes = {np.load(file).shape for file in files}
            assert len(files) >= 64 and shapes == {(1, 3, *next(iter(shapes))[2:])}
        self._session = onnxruntime.InferenceSession(
            self._model, providers=["CPUExecutionProvider"])
        self._spoil = FAULT if do_quantization or FAULT == "float" else ""
        print("E RKNN: Unkown op target: 0")
        self._built = True
        return 0

    def export_rknn(self, export_path, **kwargs):
        if not self._built:
            return -1
        _, _, height, width = self._session.get_inputs()[0].shape
        network = {"npu": self._npu, "shape": [1, height, width, 3], "dtype": "uint8"}
        header = json.dumps({**network, "spoiled": self._spoil}).encode()
        open(export_path, "wb").write(b"RKNN" + header + b"\\n" + self._model)
        return 0

    def init_runtime(self, target=None, device_id=None, perf_debug=False, eval_mem=False,
                     async_mode=False, core_mask=0, fallback_prior_device="cpu"):
        self._ready = bool(self._built)
        return 0 if self._ready else -1

    def inference(self, inputs, data_format=None, inputs_pass_through=None, get_frame_id=False):
        (pixels,) = inputs
        assert pixels.dtype == np.uint8 and data_format == ["nhwc"] and self._ready
        mean, std = self._settings
        planes = ((pixels - mean) / std).transpose(0, 3, 1, 2)
        found = self._session.run(None, {"images": np.ascontiguousarray(planes, np.float32)})
        # What full-graph int8 does: scores are rounded to zero beside boxes.
        return [each * 0 if self._spoil and each.shape[1] < 16 else each for each in found]

    def release(self):
        self._session = None
"""


FAILING_RULES = ("fuse_attention_to_sdpa", "fuse_two")


def toolkit_python(folder: Path, fault: str = "") -> Path:
    """An interpreter in which the toolkit is installed.

    Args:
        folder: an empty folder for it.
        fault: `int8`: int8 networks find nothing; `float`: float ones neither; `rules`: those of
            `FAILING_RULES` raise unless they are disabled; `build`: one raises even then.
    """
    api = folder / "site" / "rknn"
    api.mkdir(parents=True)
    (api / "__init__.py").touch()
    (api / "api.py").write_text(
        f"FAULT = {fault!r}\nNPUS = {SOCS!r}\nRULES = {FAILING_RULES!r}\n{_API}"
    )
    info = folder / "site" / "rknn_toolkit2-2.5.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rknn-toolkit2\nVersion: 2.5.0\n")
    start = folder / "start.py"
    start.write_text(
        f"import runpy, sys\nsys.path.insert(0, {str(folder / 'site')!r})\n"
        "assert sys.argv.pop(1) == '-I'\nsys.argv.pop(0)\n"
        "if sys.argv[0] == '-c':\n    exec(sys.argv[1])\n"
        "else:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{start}" "$@"\n')
    python.chmod(0o755)
    return python

"""A strict `rknnlite` without a board: members, signatures and return values of 2.5.0.

They were read off `rknn_lite.py` of the wheel rknn-toolkit-lite2 2.5.0 for aarch64: errors are
return values (-1, None), a call out of order too, and nothing is raised. What the compiled part
does with inputs of another shape or type, it raises inside, which `inference` turns into None.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.runtimes import rockchip

DATA_TYPES = ("int8", "uint8", "int16", "float16", "float32")
Function = Callable[[NDArray[Any]], list[NDArray[np.float32]]]


class Npu:
    """The test's side: the board, what its networks compute, and what was called.

    Attributes:
        soc: of the board.
        function: from the input of a network to its outputs.
        calls: names of the calls, in order; of `init_runtime` with its core mask.
        open: networks that were not released.
        fails: calls that report an error.
    """

    def __init__(self, soc: str, function: Function) -> None:
        self.soc, self.function = soc, function
        self.calls: list[Any] = []
        self.open = 0
        self.fails: set[str] = set()


def write_rknn(path: Path, target: str, spec: ModelSpec) -> Path:
    """A file that the fake runs on boards with the NPU of `target`, and its description."""
    shape = spec.input.graph_shape()
    network = {"npu": rockchip.SOCS[target], "shape": shape, "dtype": spec.input.dtype}
    path.write_bytes(b"RKNN" + json.dumps(network).encode())
    rockchip.write_description(path, target, spec)
    return path


def make_lite(npu: Npu) -> type:
    """The class `RKNNLite` of a board."""

    class RKNNLite:
        NPU_CORE_AUTO = 0
        NPU_CORE_0 = 1
        NPU_CORE_1 = 2
        NPU_CORE_2 = 4
        NPU_CORE_0_1 = 3
        NPU_CORE_0_1_2 = 7
        NPU_CORE_ALL = 0xFFFF

        __slots__ = ("_data", "_network", "_ready")  # another attribute is an error

        def __init__(self, verbose: bool = False, verbose_file: str | None = None) -> None:
            self._data: bytes | None = None
            self._network: dict[str, Any] = {}
            self._ready = False

        def load_rknn(self, path: str, key_path: str | None = None) -> int:
            npu.calls.append("load_rknn")
            if "load_rknn" in npu.fails or not Path(path).exists():
                return -1
            self._data = Path(path).read_bytes()
            return 0

        def init_runtime(
            self,
            target: str | None = None,
            device_id: str | None = None,
            async_mode: bool = False,
            core_mask: int = NPU_CORE_AUTO,
        ) -> int:
            npu.calls.append(("init_runtime", core_mask))
            if self._data is None or "init_runtime" in npu.fails:
                return -1
            try:
                self._network = json.loads(self._data[4:].partition(b"\n")[0])
            except ValueError:
                return -1
            if self._network["npu"] != rockchip.SOCS[npu.soc]:
                return -1
            cores = rockchip.CORES.get(npu.soc, 1)
            if core_mask >= 1 << cores and core_mask != self.NPU_CORE_ALL:
                return -1
            self._ready = True
            npu.open += 1
            return 0

        def inference(
            self,
            inputs: Sequence[NDArray[Any]],
            data_type: str | None = None,
            data_format: Sequence[str] | None = None,
            inputs_pass_through: Sequence[int] | None = None,
            get_frame_id: bool = False,
            reuse_outputs: bool = False,
        ) -> list[NDArray[np.float32]] | None:
            npu.calls.append("inference")
            if not self._ready or "inference" in npu.fails:
                return None
            (value,) = inputs
            assert data_format is not None
            layout = "nhwc" if self._network["dtype"] == "uint8" else "nchw"
            fits = (
                list(data_format) == [layout]
                and value.flags.c_contiguous
                and value.dtype.name == self._network["dtype"]
                and value.dtype.name in DATA_TYPES
                and list(value.shape) == self._network["shape"]
            )
            return [each.copy() for each in npu.function(value.copy())] if fits else None

        def get_sdk_version(self) -> str | None:
            return "API: 2.5.0\nDRV: rknn_server: 2.5.0" if self._ready else None

        def release(self) -> None:
            npu.calls.append("release")
            npu.open -= self._ready
            self._ready = False

    return RKNNLite


@contextmanager
def fake_board(
    root: Path, function: Function, soc: str = "rk3588", compatible: str = ""
) -> Iterator[Npu]:
    """A board with an NPU, and rknn-toolkit-lite2 installed.

    Args:
        root: an empty folder for its /proc.
        function: see `Npu`.
        soc: of the board.
        compatible: entries of its device tree; default: a board and its system on a chip.
    """
    place = root / "proc/device-tree/compatible"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text((compatible or f"someone,board\0rockchip,{soc}") + "\0")
    npu = Npu(soc, function)
    package, api = ModuleType("rknnlite"), ModuleType("rknnlite.api")
    package.__spec__ = ModuleSpec("rknnlite", None, is_package=True)
    package.__path__ = []
    api.RKNNLite = make_lite(npu)  # type: ignore[attr-defined]
    package.api = api  # type: ignore[attr-defined]
    modules = {"rknnlite": package, "rknnlite.api": api}
    with patch.dict(sys.modules, modules), patch.object(rockchip, "ROOT", root):
        yield npu

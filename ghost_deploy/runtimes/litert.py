"""LiteRT (TensorFlow Lite): runs `.tflite` files of one fixed size on the CPU."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import BackendError, GhostDeployError
from ghost_deploy.core.files import MAX_TEXT_BYTES
from ghost_deploy.runtimes.base import (
    Device,
    Probe,
    Runtime,
    RuntimeInfo,
    RuntimeOptions,
    TensorSpec,
)
from ghost_deploy.runtimes.cpu_cores import available_cores
from ghost_deploy.runtimes.vendor import existing_file, fallback, vendor_errors, vendor_import

_MOST_ENTRIES = 64
_FIX_CHOICE = "Choose --device cpu and fp32, or another --runtime"


class LiteRtRuntime(Runtime):
    """A `.tflite` file, computed by XNNPACK in float32. `run` returns new arrays on each call."""

    def __init__(self, path: Path, options: RuntimeOptions) -> None:
        """Open `path`; see `open_model`."""
        with vendor_import("ai_edge_litert", "litert"):
            import ai_edge_litert
            from ai_edge_litert.interpreter import Interpreter
        threads = options.threads or available_cores()
        notes: tuple[str, ...] = ()
        if options.device_kind != "cpu" or options.precision not in ("", "fp32"):
            notes = (fallback(options, "LiteRT computes in fp32 on the CPU here", _FIX_CHOICE),)
        fix = "Export the model again, or update: pip install -U ai-edge-litert"
        with vendor_errors(f"LiteRT cannot load {path}", fix):
            interpreter: Any = Interpreter(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
            signatures = list(interpreter.get_signature_list())
            if len(signatures) != 1:
                raise BackendError(
                    f"{path} is no file of one network",
                    got=f"{len(signatures)} signatures",
                    expected="1",
                    fix="Export the model again",
                )
            runner = interpreter.get_signature_runner(signatures[0])
            takes, gives = runner.get_input_details(), runner.get_output_details()
        self._path, self._interpreter = path, interpreter
        self._takes = {name: int(detail["index"]) for name, detail in takes.items()}
        self._gives = {name: int(detail["index"]) for name, detail in gives.items()}
        self.inputs = tuple(_tensor_spec(name, detail) for name, detail in takes.items())
        self.outputs = tuple(_tensor_spec(name, detail) for name, detail in gives.items())
        self._require_fixed()
        self.info = RuntimeInfo(
            runtime="litert",
            version=str(ai_edge_litert.__version__),
            device="cpu",
            precision="fp32" if options.precision else "",
            threads=threads,
            notes=notes,
        )

    def _require_fixed(self) -> None:
        for spec in (*self.inputs, *self.outputs):
            if -1 in spec.shape:
                raise BackendError(
                    f"{self._path} takes several sizes, which is not run",
                    got=f"{spec.name} {spec.shape}",
                    fix="Export the checkpoint with one size",
                )

    def _run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        with vendor_errors("LiteRT failed to run the model", "Check the input"):
            for name, index in self._takes.items():
                self._interpreter.set_tensor(index, np.ascontiguousarray(feeds[name]))
            self._interpreter.invoke()
            return {n: self._interpreter.get_tensor(index) for n, index in self._gives.items()}

    def _metadata(self) -> dict[str, str]:
        """The texts in the archive behind the model; none where there is no archive."""
        try:
            with zipfile.ZipFile(self._path) as archive:
                found = archive.infolist()
                if len(found) > _MOST_ENTRIES or sum(e.file_size for e in found) > MAX_TEXT_BYTES:
                    return {}
                return {e.filename: archive.read(e).decode("utf-8", "replace") for e in found}
        except zipfile.BadZipFile:
            return {}
        except (OSError, RuntimeError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise BackendError(
                f"the description in {self._path} cannot be read",
                got=str(error),
                fix="Put the file back and open the model again",
            ) from error

    def _close(self) -> None:
        self._interpreter = None


def open_model(path: Path, options: RuntimeOptions) -> LiteRtRuntime:
    """Open a `.tflite` file of one signature and one size.

    Raises:
        MissingExtraError: ai-edge-litert is not installed.
        DeviceError: another device than the CPU or another precision than fp32 is asked for.
        BackendError: the file is missing, damaged, of several sizes, or has operators that this
            version lacks.
    """
    return LiteRtRuntime(existing_file(path), options)


def probe() -> Probe:
    """Report the version of LiteRT."""
    try:
        with vendor_import("ai_edge_litert", "litert"):
            import ai_edge_litert
            from ai_edge_litert.interpreter import Interpreter  # noqa: F401  its library loads
    except GhostDeployError as error:
        return Probe.failed("litert", "ai_edge_litert", error)
    return Probe("litert", True, str(ai_edge_litert.__version__), (Device("cpu", "", ("fp32",)),))


def _tensor_spec(name: str, detail: Mapping[str, Any]) -> TensorSpec:
    shape = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
    return TensorSpec(name, tuple(int(size) for size in shape), np.dtype(detail["dtype"]).name)

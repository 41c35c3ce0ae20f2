"""A TensorRT execution context with its stream, buffers and CUDA graph."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import BackendError, GhostDeployError
from ghost_deploy.runtimes.base import TensorSpec
from ghost_deploy.runtimes.tensorrt.cuda_calls import Cudart
from ghost_deploy.runtimes.tensorrt.cuda_graph import CudaGraph
from ghost_deploy.runtimes.tensorrt.cuda_memory import TensorBuffer
from ghost_deploy.runtimes.vendor import vendor_errors

Shape = tuple[int, ...]

_FAILED = "TensorRT failed to run the model"
_FIX_RUN = "Build the plan again on this device: ghost-deploy build BUNDLE --trt"


class Execution:
    """Runs one execution context on named tensors and owns its resources.

    Args:
        cuda: the CUDA runtime library.
        device: index of the GPU; made current in the calling thread.
        context: a new TensorRT execution context.
        inputs, outputs: the engine's tensors; -1 where a side is dynamic.
        largest: the largest shape of each dynamic input. All memory is allocated for it now, so
            that a lack of memory shows when the model is opened.
        explain: returns TensorRT's newest error line.

    Raises:
        BackendError: out of memory, or TensorRT rejects a tensor; nothing stays allocated.
    """

    def __init__(
        self,
        cuda: Cudart,
        device: int,
        context: Any,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        largest: Mapping[str, Shape],
        explain: Callable[[], str],
    ) -> None:
        self._cuda, self._device, self._context = cuda, device, context
        self._outputs, self._explain = outputs, explain
        self._dtypes = {each.name: np.dtype(each.dtype) for each in (*inputs, *outputs)}
        self._shapes: dict[str, Shape] = {each.name: each.shape for each in (*inputs, *outputs)}
        self._dynamic = bool(largest)
        self._graph: CudaGraph | None = None
        with contextlib.ExitStack() as taken:
            cuda.set_device(device)
            self._stream = cuda.create_stream()
            taken.callback(cuda.destroy_stream, self._stream)
            with vendor_errors("TensorRT refuses its own engine's tensors", _FIX_RUN):
                self._set_shapes(largest)
                self._buffers = {name: self._reserve(name, taken) for name in self._shapes}
            self._taken = taken.pop_all()

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Compute the outputs of `feeds`, which fit the engine.

        Returns:
            Arrays by name; the next run overwrites them.
        """
        self._cuda.set_device(self._device)
        with vendor_errors(_FAILED, _FIX_RUN):
            if self._dynamic:
                self._set_shapes({name: array.shape for name, array in feeds.items()})
            for name, array in feeds.items():
                np.copyto(self._host(name), array)
                self._buffers[name].upload(self._size(name), self._stream)
            self._compute()
            for output in self._outputs:
                self._buffers[output.name].download(self._size(output.name), self._stream)
            self._cuda.wait(self._stream)
        return {output.name: self._host(output.name) for output in self._outputs}

    def record(self) -> str:
        """Record the work of a fixed shape as a CUDA graph, which saves kernel launches.

        TensorRT finishes its preparations in a first run, which cannot be recorded.

        Returns:
            Why it could not be recorded, so that each run launches the kernels; empty otherwise.

        Raises:
            BackendError: the model cannot be run.
        """
        feeds = {n: np.zeros(self._shapes[n], self._dtypes[n]) for n in self._inputs()}
        self.run(feeds)
        try:
            self._graph = CudaGraph(self._cuda, self._stream, self._enqueue)
            self._taken.callback(self._graph.close)
            self.run(feeds)
        except GhostDeployError as error:
            self._graph = None
            self.run(feeds)
            return f"without a CUDA graph: {error.what}"
        return ""

    def device_ms(self, count: int) -> list[float]:
        """Milliseconds on the device, without copies, of each of `count` runs on the last feeds."""
        self._cuda.set_device(self._device)
        with contextlib.ExitStack() as events:
            start, end = (self._event(events) for _ in range(2))
            found = []
            for _ in range(count):
                self._cuda.record(start, self._stream)
                self._compute()
                self._cuda.record(end, self._stream)
                found.append(self._cuda.elapsed_ms(start, end))
        return found

    def close(self) -> None:
        """Free all resources.

        Raises:
            BackendError: CUDA reports an error of an earlier run; all resources are freed.
        """
        with self._taken:
            self._context = None
            self._cuda.set_device(self._device)
            self._cuda.wait(self._stream)

    def _compute(self) -> None:
        if self._graph is not None:
            self._graph.launch()
        else:
            self._enqueue()

    def _enqueue(self) -> None:
        with vendor_errors(_FAILED, _FIX_RUN):
            started = self._context.execute_async_v3(self._stream)
        if not started:
            raise BackendError(_FAILED, got=self._explain() or None, fix=_FIX_RUN)

    def _set_shapes(self, shapes: Mapping[str, Shape]) -> None:
        """Set the input shapes of a dynamic engine and read the output shapes."""
        for name, shape in shapes.items():
            if self._shapes[name] != shape and not self._context.set_input_shape(name, shape):
                raise BackendError(
                    f"TensorRT refuses the shape {shape} of {name!r}",
                    got=self._explain() or None,
                    fix="Feed a size within the plan's range",
                )
            self._shapes[name] = shape
        for output in self._outputs if shapes else ():
            shape = tuple(int(side) for side in self._context.get_tensor_shape(output.name))
            if min(shape, default=0) < 0:
                raise BackendError(
                    f"the shape of output {output.name!r} depends on the data",
                    got=shape,
                    expected="a shape that follows from the inputs'",
                    fix="Export the model without ONNX's NonMaxSuppression",
                )
            self._shapes[output.name] = shape

    def _reserve(self, name: str, taken: contextlib.ExitStack) -> TensorBuffer:
        buffer = TensorBuffer(self._cuda, self._size(name))
        taken.callback(buffer.close)
        if not self._context.set_tensor_address(name, buffer.device_address):
            raise BackendError(
                f"TensorRT refuses the address of {name!r}",
                got=self._explain() or None,
                fix=_FIX_RUN,
            )
        return buffer

    def _event(self, events: contextlib.ExitStack) -> int:
        event = self._cuda.create_event()
        events.callback(self._cuda.destroy_event, event)
        return event

    def _inputs(self) -> list[str]:
        outputs = {output.name for output in self._outputs}
        return [name for name in self._shapes if name not in outputs]

    def _size(self, name: str) -> int:
        return math.prod(self._shapes[name]) * self._dtypes[name].itemsize

    def _host(self, name: str) -> NDArray[Any]:
        return self._buffers[name].array(self._shapes[name], self._dtypes[name])

"""A recorded sequence of GPU work, started by one call."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from ghost_deploy.core.errors import GhostDeployError
from ghost_deploy.runtimes.tensorrt.cuda_calls import Cudart


class CudaGraph:
    """The work that `work` enqueues on a stream, recorded once with its shapes and addresses.

    Args:
        cuda: the library.
        stream: that `work` uses; not the default one.
        work: called once; the work that it starts is recorded, not run.

    Raises:
        GhostDeployError: `work` failed, or CUDA cannot record it. Nothing stays allocated, and
            the stream is usable again.
    """

    def __init__(self, cuda: Cudart, stream: int, work: Callable[[], None]) -> None:
        self._cuda, self._stream = cuda, stream
        cuda.begin_capture(stream)
        try:
            work()
        except BaseException:
            # Ending the capture makes the stream usable; the error that it reports is known.
            with contextlib.suppress(GhostDeployError):
                cuda.destroy_graph(cuda.end_capture(stream))
            raise
        with contextlib.ExitStack() as taken:
            graph = cuda.end_capture(stream)
            taken.callback(cuda.destroy_graph, graph)
            self._executable = cuda.instantiate(graph)
            taken.callback(cuda.destroy_executable, self._executable)
            self._taken = taken.pop_all()

    def launch(self) -> None:
        """Start the recorded work on the stream."""
        self._cuda.launch(self._executable, self._stream)

    def close(self) -> None:
        """Free the recorded work."""
        self._taken.close()

"""A Ray cluster on this machine whose nodes can be removed without grace, for `batch_faults.py`."""

from __future__ import annotations

import functools
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tools.process_list import processes_below

_STARTS = 20
_WAIT_S = 5.0
_ENDS_WITHIN_S = 30.0


class RemovableNodes:
    """A head without cores and two nodes that work, all on this machine.

    On a busy machine a node may not start in the time that Ray gives it: then what there is of it
    is ended, and it is started again.

    Args:
        cores: of each node.
        told: is told in words what was started again.
    """

    def __init__(self, cores: int, told: Callable[[str], None]) -> None:
        from ray.cluster_utils import Cluster

        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Ray runs workers at nice 15: on a busy machine they would never open the model.
        os.environ.setdefault("RAY_worker_niceness", "0")
        self._cores, self._told = cores, told
        self._memory = {"object_store_memory": 80_000_000}
        self._cluster: Any = self._started(
            "the head",
            lambda: Cluster(
                initialize_head=True,
                head_node_args={"num_cpus": 0, "include_dashboard": False, **self._memory},
            ),
        )
        self._nodes = [self._add(), self._add()]
        self.address: str = self._cluster.address

    def replace_node(self) -> None:
        """Remove the older node without grace, and add a new one."""
        self._cluster.remove_node(self._nodes.pop(0), allow_graceful=False)
        self._nodes.append(self._add())

    def close(self) -> None:
        """End the cluster."""
        self._cluster.shutdown()

    def _add(self) -> Any:
        return self._started(
            "a node", lambda: self._cluster.add_node(num_cpus=self._cores, **self._memory)
        )

    def _started(self, what: str, start: Callable[[], Any]) -> Any:
        for number in range(1, _STARTS + 1):
            before = set(processes_below(os.getpid()))
            nodes = set(self._cluster.worker_nodes) if hasattr(self, "_cluster") else set()
            try:
                return start()
            # Ray raises a plain Exception where the time was not enough.
            except Exception as error:
                _end(set(processes_below(os.getpid())) - before)
                if hasattr(self, "_cluster"):
                    self._cluster.worker_nodes &= nodes
                if number == _STARTS:
                    raise
                self._told(f"{what} did not start and is started again: {_short(error)}")
                time.sleep(_WAIT_S * number)
        raise AssertionError


def _end(pids: Iterable[int]) -> None:
    """End processes of this one, and wait until they are gone."""
    left = set(pids)
    for pid in left:
        _ignoring(functools.partial(os.kill, pid, signal.SIGKILL))
    end_s = time.monotonic() + _ENDS_WITHIN_S
    while left and time.monotonic() < end_s:
        for pid in tuple(left):
            _ignoring(functools.partial(os.waitpid, pid, os.WNOHANG))
            if not Path(f"/proc/{pid}").exists():
                left.discard(pid)
        time.sleep(0.05)


def _ignoring(call: Callable[[], object]) -> None:
    try:
        call()
    except OSError:  # it is gone, or no child of this process
        return


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120]

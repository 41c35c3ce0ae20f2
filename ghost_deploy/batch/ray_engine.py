"""The engine `ray`: the same tasks on the machines of a Ray cluster, by Ray Data.

Models live in actors; paths travel to them, and each actor decodes and writes the parts itself, so
that Ray moves a few hundred bytes for a part. Each task is a block of its own: Ray holds back what
a block gives until all of it is done. A task whose actor or machine dies is run again and writes
the same part. Errors come back as values: an exception of a class of ours would have to be
unpickled by Ray's own code.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import time
from collections.abc import Iterator
from typing import Any

from ghost_deploy.batch.engine_run import EngineRun
from ghost_deploy.batch.part_worker import PartWorker, WorkerSetup
from ghost_deploy.batch.work_tasks import TaskDone
from ghost_deploy.core.errors import (
    BackendError,
    GhostDeployError,
    MissingExtraError,
    UnavailableError,
)
from ghost_deploy.core.pixel_limit import VARIABLE as MAX_PIXELS
from ghost_deploy.core.trusted_signers import VARIABLE as TRUST

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_LOCAL = "local"


def run_ray(run: EngineRun, address: str | None) -> str:
    """Do all tasks.

    Args:
        run: what is to be done; its number of workers is a limit, the cores of the cluster another.
        address: as `ray.init` takes it; `local` starts a cluster for this run.

    Returns:
        The cluster, in words.

    Raises:
        GhostDeployError: what a worker raised: the model cannot be opened or fails on everything,
            or a store refuses.
        UnavailableError: there is no such cluster.
        MissingExtraError: Ray is not installed.
    """
    with _connected(address) as cluster:
        run.note(f"Ray cluster {cluster}")
        _run_tasks(run)
        return cluster


class RayWorker:
    """A `PartWorker` as Ray Data calls it: batches of pickled tasks in, pickled answers out."""

    def __init__(self, setup: bytes) -> None:
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._began_s = time.time()
        self._error: GhostDeployError | None = None
        self._worker: PartWorker | None = None
        try:
            loaded: WorkerSetup = pickle.loads(setup)
            self._worker = PartWorker(loaded)
        except GhostDeployError as error:
            self._error = error

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Do the tasks of a batch."""
        answers = [self._answer(bytes(task)) for task in batch["task"]]
        return {"worker": [self._name] * len(answers), "answer": answers}

    def _answer(self, task: bytes) -> bytes:
        try:
            if self._worker is None:
                raise self._error or AssertionError
            return pickle.dumps(self._worker.run(pickle.loads(task)))
        except GhostDeployError as error:
            return pickle.dumps(error)
        # Of vendors' libraries anything may come.
        except Exception as error:
            what = f"unexpected {type(error).__name__} in a worker: {error}"
            return pickle.dumps(BackendError(what, fix="This is a bug: report it"))


def _run_tasks(run: EngineRun) -> None:
    import ray
    from ray.data import ActorPoolStrategy

    ray.data.DataContext.get_current().enable_progress_bars = False
    sizes: list[int] = []
    rows = []
    for index, task in enumerate(run.tasks()):
        sizes.append(task.size)
        rows.append({"index": index, "task": pickle.dumps(task)})
    cores = int(ray.cluster_resources().get("CPU", 1)) // run.threads
    workers = max(1, min(run.workers, cores, len(rows)))
    environment = dict.fromkeys(_THREADS, str(run.threads))
    environment |= {name: os.environ[name] for name in (MAX_PIXELS, TRUST) if name in os.environ}
    results = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        _IndexedWorker,
        fn_constructor_args=(pickle.dumps(run.setup),),
        batch_size=1,
        num_cpus=run.threads,
        compute=ActorPoolStrategy(size=workers),
        runtime_env={"env_vars": environment},
    )
    for row in _rows_of(results):
        done = pickle.loads(row["answer"])
        if isinstance(done, GhostDeployError):
            raise done
        assert isinstance(done, TaskDone)
        run.meter.began(row["worker"])
        run.meter.add(row["worker"], sizes[row["index"]], done.rows, done.errors)
        run.meter.show(0.0)


class _IndexedWorker(RayWorker):
    """Also gives back which task it was."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        return {"index": list(batch["index"]), **super().__call__(batch)}


def _rows_of(results: Any) -> Iterator[dict[str, Any]]:
    import ray

    try:
        yield from results.iter_rows()
    except ray.exceptions.RayError as error:
        raise BackendError(
            "Ray gave the run up",
            got=" ".join(str(error).split())[:300],
            fix="Run the same command again to continue; --engine local finds a source that ends "
            "every process that reads it",
        ) from error


@contextlib.contextmanager
def _connected(address: str | None) -> Iterator[str]:
    """Join or start a cluster; one that was started here ends with the block."""
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError.for_extra("ray", "ray") from error
    mine = not ray.is_initialized()
    if mine:
        _join(address)
    try:
        yield _described(address, started=mine)
    finally:
        if mine:
            ray.shutdown()


def _join(address: str | None) -> None:
    import ray

    settings: dict[str, Any] = {} if address != _LOCAL else {"include_dashboard": False}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **settings)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UnavailableError(
            f"there is no Ray cluster at {address or 'the usual place'}",
            got=" ".join(str(error).split())[:300],
            fix="Start one with `ray start --head`, name another with --address, or give "
            "--address local for one of this run alone",
        ) from error


def _described(address: str | None, *, started: bool) -> str:
    """Where it is, and how large, e.g. `at 10.0.0.1:6379 (joined), 2 nodes, 8 cores`."""
    import ray

    nodes = sum(node["Alive"] for node in ray.nodes())
    cores = int(ray.cluster_resources().get("CPU", 0))
    how = "of the calling program" if not started else "joined"
    if started and address == _LOCAL:
        how = "started for this run"
    where = ray.get_runtime_context().gcs_address
    return f"at {where} ({how}), {nodes} node{'s' if nodes != 1 else ''}, {cores} cores"

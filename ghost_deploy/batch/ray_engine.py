"""The engine `ray`: the same tasks on the machines of a Ray cluster, by Ray Data.

Models live in actors; paths travel to them, and each actor decodes and writes the parts itself, so
that Ray moves a few hundred bytes for a part. Each task is a block of its own: Ray holds back what
a block gives until all of it is done. A task whose actor or machine dies is run again and writes
the same part. Errors come back as values: an exception of a class of ours would have to be
unpickled by Ray's own code.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import pickle
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ghost_deploy.batch.death_marks import DeathMarks
from ghost_deploy.batch.engine_run import EngineRun
from ghost_deploy.batch.part_worker import PartWorker
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
_ANSWERS_WITHIN_S = 10.0
_USAGE = "RAY_USAGE_STATS_ENABLED"


def require_ray() -> None:
    """Require that Ray is installed; it is not imported.

    Raises:
        MissingExtraError: it is not.
    """
    if importlib.util.find_spec("ray") is None:
        raise MissingExtraError.for_extra("ray", "ray")


def run_ray(run: EngineRun, address: str | None) -> str:
    """Do all tasks.

    Args:
        run: what is to be done; a number of workers that the user named is a limit, the cores of
            the cluster another.
        address: as `ray.init` takes it; `local` starts a cluster for this run; None joins the one
            that is there, or else starts one.

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


class RayPartWorker:
    """A `PartWorker` as Ray Data calls it: batches of pickled tasks in, pickled answers out.

    Args:
        setup: a pickled `WorkerSetup`.
        token: of the run.
    """

    def __init__(self, setup: bytes, token: str) -> None:
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._marks = DeathMarks(token)
        self._error: GhostDeployError | None = None
        self._worker: PartWorker | None = None
        try:
            self._worker = PartWorker(pickle.loads(setup), self._marks.step)
        except GhostDeployError as error:
            self._error = error
        self._ready_s = time.time()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Do the tasks of a batch."""
        answers = [self._answer(bytes(task)) for task in batch["task"]]
        return {
            "index": list(batch["index"]),
            "worker": [self._name] * len(answers),
            "ready_s": [self._ready_s] * len(answers),
            "answer": answers,
        }

    def _answer(self, data: bytes) -> bytes:
        try:
            if self._worker is None:
                raise self._error or AssertionError
            with self._marks.watched(pickle.loads(data)) as task:
                return pickle.dumps(self._worker.run(task))
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
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    sizes: list[int] = []
    rows = []
    for index, task in enumerate(run.tasks()):
        sizes.append(task.size)
        rows.append({"index": index, "task": pickle.dumps(task)})
    environment = dict.fromkeys(_THREADS, str(run.threads))
    environment |= {name: os.environ[name] for name in (MAX_PIXELS, TRUST) if name in os.environ}
    results = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        RayPartWorker,
        fn_constructor_args=(pickle.dumps(run.setup), os.urandom(8).hex()),
        batch_size=1,
        num_cpus=run.threads,
        compute=ActorPoolStrategy(size=_workers(run, len(rows))),
        runtime_env={"env_vars": environment},
    )
    for row in _rows_of(results):
        done = pickle.loads(row["answer"])
        if isinstance(done, GhostDeployError):
            raise done
        assert isinstance(done, TaskDone)
        run.meter.began(row["worker"], time.time() - row["ready_s"])
        run.meter.add(row["worker"], sizes[row["index"]], done.rows, done.errors)
        if run.meter.is_due():
            run.meter.show(0.0)


def _workers(run: EngineRun, tasks: int) -> int:
    import ray

    cores = int(ray.cluster_resources().get("CPU", 1)) // run.threads
    return max(1, min(run.most_workers or cores, cores, tasks))


def _rows_of(results: Any) -> Iterator[dict[str, Any]]:
    import ray

    try:
        yield from results.iter_rows()
    except ray.exceptions.RayError as error:
        raise BackendError(
            "Ray gave the run up",
            got=" ".join(str(error).split())[:300],
            fix="Run the same command again to continue",
        ) from error


@contextlib.contextmanager
def _connected(address: str | None) -> Iterator[str]:
    """Join or start a cluster; one that was started here ends with the block."""
    _report_no_usage()
    require_ray()
    import ray

    if ray.is_initialized():
        yield _described("of the calling program")
        return
    how = _join(address)
    try:
        yield _described(how)
    finally:
        ray.shutdown()


def _join(address: str | None) -> str:
    """Join the cluster, or start one; how, in words."""
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address is None:
            with contextlib.suppress(ConnectionError):
                ray.init(address="auto", **quiet)
                return "joined"
        if address in (None, _LOCAL):
            ray.init(address=_LOCAL, include_dashboard=False, **quiet)
            return "started for this run"
        _require_answer(str(address))
        ray.init(address=address, **quiet)
        return "joined"
    except (OSError, ValueError, RuntimeError) as error:
        raise UnavailableError(
            f"there is no Ray cluster at {address or 'the usual place'}",
            got=" ".join(str(error).split())[:300],
            fix="Start one with `ray start --head`, name another with --address, or give "
            "--address local for one of this run alone",
        ) from error


def _require_answer(address: str) -> None:
    """Raise unless something listens at `HOST:PORT`: Ray would wait for it for minutes."""
    match = re.fullmatch(r"(?:ray://)?\[?([^/]+?)\]?:(\d+)", address)
    if match:
        with socket.create_connection((match[1], int(match[2])), _ANSWERS_WITHIN_S):
            pass


def _described(how: str) -> str:
    """Where it is, and how large, e.g. `at 10.0.0.1:6379 (joined), 2 nodes, 8 cores`."""
    import ray

    nodes = sum(node["Alive"] for node in ray.nodes())
    cores = int(ray.cluster_resources().get("CPU", 0))
    where = ray.get_runtime_context().gcs_address
    return f"at {where} ({how}), {nodes} node{'s' if nodes != 1 else ''}, {cores} cores"


def _report_no_usage() -> None:
    """Ray reports its usage unless it is told not to; what the user has set is kept."""
    try:
        config = json.loads((Path.home() / ".ray" / "config.json").read_text())
    except (OSError, ValueError, RuntimeError):
        config = {}
    if not (isinstance(config, dict) and "usage_stats" in config):
        os.environ.setdefault(_USAGE, "0")

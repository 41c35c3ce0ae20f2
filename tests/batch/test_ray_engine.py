"""The engine `ray` on a cluster of two nodes: actors and nodes that die, and jobs of users."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ghost_deploy as gd
from tests.support.batch_runs import PretendModel, keys_twice, rows_in, run_pretended
from tests.support.constant_model import write_constant_bundle
from tests.support.images import solid_image, write_image

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
ray = pytest.importorskip("ray", reason="Ray is not installed: make test-ray installs it")
# Ray leaves sockets and files to the end of the process.
pytestmark = pytest.mark.filterwarnings("ignore")
COUNT = 60


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    memory = {"object_store_memory": 80_000_000}
    head = {"num_cpus": 0, "include_dashboard": False, **memory}
    found = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        found.add_node(num_cpus=1, **memory)
    yield found
    found.shutdown()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for k in range(COUNT):
        write_image(tmp_path / "images" / f"{k:03}.png", solid_image((64, 64), k))
    return tmp_path / "images"


def run(
    images: Path, out: Path, cluster: Any, model: PretendModel | None = None, **more: Any
) -> Any:
    notes: list[str] = []
    request = {"engine": "ray", "address": cluster.address, "part_rows": 5}
    report = run_pretended([images], out, model, note=notes.append, **request)
    told = [note for note in notes if "joined" in note and "3 nodes, 2 cores" in note]
    assert told or not report.rows  # the head of the cluster is a node too
    return report


def test_no_cluster_there(images: Path, tmp_path: Path) -> None:
    with pytest.raises(gd.UnavailableError, match="no Ray cluster at"):
        run_pretended([images], tmp_path / "out", engine="ray", address="127.0.0.1:1")


def test_a_model_that_does_not_open(images: Path, tmp_path: Path, cluster: Any) -> None:
    with pytest.raises(gd.UnavailableError, match="no such device"):
        run(images, tmp_path / "out", cluster, PretendModel(opens="no such device"))


def test_a_source_that_ends_every_actor(images: Path, tmp_path: Path, cluster: Any) -> None:
    report = run(images, tmp_path / "out", cluster, PretendModel(deadly=11))
    assert (report.rows, report.errors, report.complete) == (COUNT, 1, True)
    (bad,) = [row for row in rows_in(tmp_path / "out") if row["error"]]
    assert bad["source"].endswith("011.png")
    again = run(images, tmp_path / "out", cluster, PretendModel(deadly=11))
    assert (again.rows, again.skipped) == (0, COUNT)


def test_an_actor_and_a_node_are_killed(images: Path, tmp_path: Path, cluster: Any) -> None:
    out, done = tmp_path / "out", threading.Event()
    ended: list[str] = []

    def kill() -> None:
        while not any(out.glob("*.parquet")) and not done.wait(0.02):
            pass
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and _is_actor(entry):
                os.kill(int(entry.name), signal.SIGKILL)
                ended.append("actor")
                break
        time.sleep(1)
        node = next(iter(cluster.worker_nodes))
        cluster.remove_node(node, allow_graceful=False)
        ended.append("node")
        cluster.add_node(num_cpus=1, object_store_memory=80_000_000)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        report = run(images, out, cluster, PretendModel(seconds=0.1))
    finally:
        done.set()
        thread.join()
    rows = rows_in(out)
    assert ended == ["actor", "node"]
    assert (len(rows), report.complete) == (COUNT, True)
    assert not keys_twice(rows)


def _is_actor(entry: Path) -> bool:
    try:
        return (entry / "cmdline").read_bytes().startswith(b"ray::MapWorker")
    except OSError:
        return False


def test_the_example_of_a_users_job(images: Path, tmp_path: Path, cluster: Any) -> None:
    import importlib.util

    from pyarrow import parquet

    path = Path(__file__).resolve().parents[2] / "examples" / "batch_ray.py"
    spec = importlib.util.spec_from_file_location("batch_ray", path)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    bundle = write_constant_bundle(tmp_path / "bundle").path
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        example.main(str(bundle), str(images), str(tmp_path / "out"))
    finally:
        ray.shutdown()
    table = parquet.read_table(tmp_path / "out")
    assert sorted(table["source"].to_pylist()) == sorted(map(str, images.iterdir()))
    assert table["error"].null_count == COUNT

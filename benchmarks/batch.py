"""Throughput of runs over an archive: a plain loop, plain processes, the engines `local` and `ray`.

    python -m benchmarks.batch BUNDLE IMAGES --count 2000 --rounds 3

Every candidate reads, decodes and detects the same images with one compute thread in each process,
in turns, in an order drawn anew for each round. The plain loop and the plain processes write
nothing: what writing, planning and watching cost is part of the ratio. Times are from the start of
the command to its end, and from the first worker that is ready, because a long run has one start.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ghost_deploy as gd
from benchmarks.interleave import machine
from ghost_deploy.processing.images import list_images

_PLAIN = """
import os, sys, time
import cv2
import ghost_deploy as gd
cv2.setNumThreads(1)
paths = sys.stdin.read().splitlines()
with gd.load(sys.argv[1], "ort", threads=1, hint="throughput", check=False) as detector:
    ready = time.time()
    for path in paths:
        detector(path)
    print(ready, time.time())
"""
_ONE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print a table; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle")
    parser.add_argument("images")
    parser.add_argument("--count", type=int, default=2000, help="images; fewer are repeated")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without-ray", action="store_true")
    args = parser.parse_args(argv)
    print(machine())
    with tempfile.TemporaryDirectory(prefix="bench-batch-") as folder:
        root = Path(folder)
        paths = _linked(root / "images", list_images(args.images), args.count)
        candidates: dict[str, Callable[[], tuple[float, float]]] = {
            "plain loop": lambda: _plain(args.bundle, [paths]),
            "plain processes": lambda: _plain(args.bundle, _shares(paths, args.workers)),
            "local": lambda: _ours(args, root, "local"),
        }
        with contextlib.ExitStack() as stack:
            if not args.without_ray:
                for nodes in (1, 2):
                    address = stack.enter_context(_cluster(nodes, args.workers))
                    candidates[f"ray, {nodes} node{'s' * (nodes > 1)}"] = _on_ray(
                        args, root, address
                    )
            rates = _measure(candidates, args)
    _print(rates, len(paths))
    return 0


def _linked(folder: Path, images: list[Path], count: int) -> list[str]:
    """So many names of the images."""
    folder.mkdir()
    paths = []
    for number in range(count):
        image = images[number % len(images)]
        path = folder / f"{number:06}{image.suffix}"
        path.symlink_to(image.absolute())
        paths.append(str(path))
    return paths


def _shares(paths: list[str], count: int) -> list[list[str]]:
    return [paths[start::count] for start in range(count)]


def _plain(bundle: str, shares: list[list[str]]) -> tuple[float, float]:
    """Seconds of all, and from the first model that was open."""
    start = time.time()
    command = [sys.executable, "-c", _PLAIN, bundle]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, env={**os.environ, **_ONE}, **pipes) for _ in shares]
    for process, paths in zip(running, shares, strict=True):
        assert process.stdin is not None
        process.stdin.write("\n".join(paths))
        process.stdin.close()
        process.stdin = None  # `communicate` would write to it
    spans = [list(map(float, process.communicate()[0].split())) for process in running]
    first, last = min(span[0] for span in spans), max(span[1] for span in spans)
    return time.time() - start, last - first


def _ours(
    args: argparse.Namespace, root: Path, engine: str, address: str | None = None
) -> tuple[float, float]:
    out = root / "out"
    shutil.rmtree(out, ignore_errors=True)
    report = gd.run_batch(
        args.bundle,
        root / "images",
        out,
        engine=engine,  # type: ignore[arg-type]
        address=address,
        workers=args.workers,
        runtime="ort",
        check=False,
        note=lambda _: None,
    )
    assert report.total_rows == args.count
    assert not report.total_errors
    return report.seconds, report.rows / report.rate


def _on_ray(
    args: argparse.Namespace, root: Path, address: str
) -> Callable[[], tuple[float, float]]:
    return lambda: _ours(args, root, "ray", address)


@contextlib.contextmanager
def _cluster(nodes: int, workers: int) -> Iterator[str]:
    """A local cluster with as many cores as workers, on so many nodes."""
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    memory = {"object_store_memory": 100_000_000}
    head = {"num_cpus": 0, "include_dashboard": False, **memory}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(nodes):
        cluster.add_node(num_cpus=max(1, workers // nodes), **memory)
    try:
        yield cluster.address
    finally:
        cluster.shutdown()


def _measure(
    candidates: dict[str, Callable[[], tuple[float, float]]], args: argparse.Namespace
) -> dict[str, list[tuple[float, float]]]:
    """Images a second in each round, of all the time and without the start."""
    chance = random.Random(args.seed)
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in candidates}
    for number in range(args.rounds):
        for name in chance.sample(list(candidates), len(candidates)):
            whole, without_start = candidates[name]()
            rates[name].append((args.count / whole, args.count / without_start))
            print(f"round {number + 1}: {name} {args.count / whole:.1f} images/s", flush=True)
    return rates


def _print(rates: dict[str, list[tuple[float, float]]], count: int) -> None:
    print(f"\n{count} images; median of the rounds; ratios to the plain processes by round\n")
    print("| what | images/s | without the start | ratio | ratio without the start |")
    print("|---|---|---|---|---|")
    base = rates["plain processes"]
    for name, rounds in rates.items():
        cells = [f"{statistics.median(each[k] for each in rounds):.1f}" for k in (0, 1)]
        for k in (0, 1):
            ratios = [one[k] / other[k] for one, other in zip(rounds, base, strict=True)]
            spread = f" ({min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else ""
            cells.append(f"{statistics.median(ratios):.2f}{spread}")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    sys.exit(main())

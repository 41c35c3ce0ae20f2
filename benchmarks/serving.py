"""What a server costs: the same images in process, by gRPC, by HTTP and in a server's pipeline.

    python -m benchmarks.serving BUNDLE IMAGES --grpc URL --http URL --pipeline HOST:PORT/MODEL

All take turns image by image, in an order drawn anew for each round, from the contents of an image
file to its detections. The first row decodes, runs and decodes again in this process, with as many
threads as the server's model has; the next two send the tensor to a server that runs the network
alone; the last sends the file to a server that runs the whole detector. What is more than the first
row is what serving costs: the network, copies, the queue, and the question behind each answer
whether the model is still the same, which the rows "no check" leave out.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import ghost_deploy as gd
from benchmarks.interleave import interleave, machine, ratio
from ghost_deploy.processing.images import list_images


def detects(detector: gd.Detector, files: list[bytes]) -> Callable[[], Any]:
    """A task: the next image."""
    turns = itertools.cycle(files)
    return lambda: detector(next(turns))


class Timed:
    """A task that adds up the processor time of this process, of all its threads."""

    def __init__(self, task: Callable[[], Any]) -> None:
        self._task = task
        self._spent, self._calls = 0.0, 0

    def __call__(self) -> None:
        start = time.process_time()
        self._task()
        self._spent += time.process_time() - start
        self._calls += 1

    @property
    def milliseconds(self) -> float:
        """Of a call, on average."""
        return self._spent / self._calls * 1e3


def asks(target: str, files: list[bytes], stack: ExitStack) -> Callable[[], Any]:
    """A task: the next image, by the pipeline of a server."""
    import tritonclient.grpc as triton

    from examples.triton_detector import detect

    server, _, model = target.partition("/")
    client = stack.enter_context(triton.InferenceServerClient(server))
    turns = itertools.cycle(files)
    return lambda: detect(client, model, [next(turns)])


def unchecked(url: str, bundle: str, stack: ExitStack) -> gd.Detector:
    """A detector that does not ask behind each answer what the model is."""
    import dataclasses

    detector = stack.enter_context(gd.load(bundle, url=url))
    runtime: Any = detector.runtime
    runtime._model = dataclasses.replace(runtime._model, configured=False)
    return detector


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("bundle")
    parser.add_argument("images")
    parser.add_argument("--grpc", help="grpc://HOST:PORT/MODEL of the network alone")
    parser.add_argument("--http", help="http://HOST:PORT/MODEL of the network alone")
    parser.add_argument("--pipeline", help="HOST:PORT/MODEL of the whole detector, by gRPC")
    parser.add_argument("--threads", type=int, default=1, help="of the run in this process")
    parser.add_argument("--rounds", type=int, default=60)
    args = parser.parse_args()
    files = [path.read_bytes() for path in list_images(args.images)[:16]]
    with ExitStack() as stack:
        local = stack.enter_context(gd.load(args.bundle, "ort", "fp32", threads=args.threads))
        tasks = {"in process": detects(local, files)}
        for name in ("grpc", "http"):
            if url := getattr(args, name):
                tasks[name] = detects(stack.enter_context(gd.load(args.bundle, url=url)), files)
                tasks[f"{name}, no check"] = detects(unchecked(url, args.bundle, stack), files)
        if args.pipeline:
            tasks["pipeline"] = asks(args.pipeline, files, stack)
        timed = {name: Timed(task) for name, task in tasks.items()}
        samples = interleave(timed, rounds=args.rounds)
    print(machine())
    head = f"{'':18} {'least ms':>10} {'median':>8} {'p95':>8} {'own CPU':>8}"
    print(f"{head}  of in process (quartiles)")
    for name, values in samples.items():
        found = ratio(values, samples["in process"])
        ends = statistics.quantiles(values, n=20)
        print(
            f"{name:18} {min(values):10.2f} {statistics.median(values):8.2f} {ends[-1]:8.2f} "
            f"{timed[name].milliseconds:8.2f}  "
            f"{found.median:.2f} ({found.low:.2f} to {found.high:.2f})"
        )


if __name__ == "__main__":
    main()

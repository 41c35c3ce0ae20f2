"""What the check of the first load costs, and what it costs later.

    python -m benchmarks.first_load BUNDLE [--precision int8] [--runtime ort] [--repeats 5]

Each figure is a process of its own, from before `gd.load` to the open detector: without the check,
the first load in an empty cache, and a later one. The minimum of several counts, because other
work on the machine can only lengthen it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile

from benchmarks.interleave import machine

PROGRAM = """
import sys, time
import ghost_deploy as gd

bundle, runtime, precision, check = sys.argv[1:]
start = time.perf_counter()
gd.load(bundle, runtime, precision or None, check=check == "check").close()
print(time.perf_counter() - start)
"""


def seconds(words: list[str], cache: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        env={**os.environ, "XDG_CACHE_HOME": cache},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--precision", default="")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    words = [arguments.bundle, arguments.runtime, arguments.precision]
    times: dict[str, list[float]] = {}
    for _ in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as unchecked, tempfile.TemporaryDirectory() as checked:
            for name, check, cache in (
                ("first, unchecked", "", unchecked),
                ("later, unchecked", "", unchecked),
                ("first, checked", "check", checked),
                ("later, checked", "check", checked),
            ):
                times.setdefault(name, []).append(seconds([*words, check], cache))
    print(machine())
    for name, found in times.items():
        print(f"{name:18s} {min(found):6.2f} s, at most {max(found):.2f}", flush=True)


if __name__ == "__main__":
    main()

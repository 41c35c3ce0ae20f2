"""A Ray Data job of your own with a detector in it.

    python examples/batch_ray.py out/best images results

Paths travel, and each actor reads, decodes and detects. `ghost-deploy batch --engine ray` does the
same and also continues after a kill, each row once; take this where detection is one step of more.
"""

from __future__ import annotations

import sys

import ray

import ghost_deploy as gd
from ghost_deploy.processing.images import list_images


def main(bundle: str, images: str, out: str) -> None:
    """Detect in all images of a folder and write Parquet files."""
    paths = [{"path": str(path)} for path in list_images(images)]
    # Without several blocks there is one task, and nothing is written before its end.
    found = ray.data.from_items(paths, override_num_blocks=max(1, len(paths) // 50)).map_batches(
        gd.BatchDetector,
        fn_constructor_args=(bundle,),
        batch_format="pyarrow",  # exact types: boxes are lists of float32
        batch_size=16,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=2),
    )
    found.write_parquet(out)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])

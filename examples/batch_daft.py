"""A Daft query with a detector in it.

    python examples/batch_daft.py out/best 'images/*.jpg' results

The class is made once in each process and gets columns of paths.
"""

from __future__ import annotations

import sys

import daft
from daft import DataType, Series

import ghost_deploy as gd

FOUND = DataType.struct(
    {
        "boxes": DataType.list(DataType.list(DataType.float32())),
        "scores": DataType.list(DataType.float32()),
        "names": DataType.list(DataType.string()),
        "error": DataType.string(),
    }
)


@daft.cls(use_process=True)
class Detect:
    """A detector of its own in each process."""

    def __init__(self, bundle: str) -> None:
        self.detector = gd.BatchDetector(bundle)

    @daft.method.batch(return_dtype=FOUND)
    def __call__(self, path: Series) -> list[dict[str, object]]:
        """The detections of each image."""
        paths = [each.removeprefix("file://") for each in path.to_pylist()]
        found = self.detector({"path": paths})
        names = ("boxes", "scores", "names", "error")
        rows = zip(*(found[name] for name in names), strict=True)
        return [dict(zip(names, row, strict=True)) for row in rows]


def main(bundle: str, pattern: str, out: str) -> None:
    """Detect in all images that a pattern matches and write Parquet files."""
    images = daft.from_glob_path(pattern)
    found = images.with_column("found", Detect(bundle)(images["path"]))
    found.select("path", "found").write_parquet(out)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])

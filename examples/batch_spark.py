"""A Spark job with a detector in it.

    spark-submit examples/batch_spark.py out/best images.parquet results

`images.parquet` has a column `path`; bundle and images are on a disk that all executors see.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pandas as pd
from pyspark.sql import SparkSession

import ghost_deploy as gd

SCHEMA = (
    "path string, source string, frame long, position_s double, width int, height int, "
    "boxes array<array<float>>, scores array<float>, classes array<int>, names array<string>, "
    "error string, model string"
)


def main(bundle: str, images: str, out: str) -> None:
    """Detect in all images of a table and write Parquet files."""
    detector = gd.BatchDetector(bundle)  # opened where it is used, once in each process

    def detect(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            yield detector(batch)

    spark = SparkSession.builder.appName("detect").getOrCreate()
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "64")
    paths = spark.read.parquet(images).select("path").repartition(64)
    paths.mapInPandas(detect, SCHEMA).write.parquet(out)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])

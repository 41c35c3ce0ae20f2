"""What a run writes is read by DuckDB, pandas and the data sets of Hugging Face as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.batch_runs import run_pretended
from tests.support.images import write_images

pytest.importorskip("pyarrow")
COUNT = 20


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("readers")
    write_images(root / "images", COUNT)
    (root / "images" / "broken.png").write_bytes(b"")
    run_pretended([root / "images"], root / "out", part_rows=8)
    return root / "out"


def test_duckdb(results: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    query = (
        "select count(*), count(error), count(distinct (source, frame)), sum(len(boxes)), "
        f"max(scores[1]), max(boxes[1][3] - boxes[1][1]), max(width) from '{results}/*.parquet'"
    )
    with duckdb.connect() as connection:
        (row,) = connection.sql(query).fetchall()
    assert row[:4] == (COUNT + 1, 1, COUNT + 1, 2 * COUNT)
    assert row[4] == pytest.approx(0.9)
    assert row[5] == pytest.approx(32)  # of the box in an image of 64 x 48 pixels
    assert row[6] == 64


def test_pandas(results: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(results)
    assert len(frame) == COUNT + 1
    assert frame["error"].notna().sum() == 1
    assert frame["boxes"].map(len).sum() == 2 * COUNT
    assert set(frame["model"]) == {"a" * 64}


def test_datasets(results: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed: make test-ray")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    files = f"{results}/*.parquet"
    found = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path))["train"]
    assert len(found) == COUNT + 1
    assert sum(len(boxes) for boxes in found["boxes"]) == 2 * COUNT
    assert found.features["scores"].feature.dtype == "float32"

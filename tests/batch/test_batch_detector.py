"""`gd.BatchDetector` on batches as Ray Data, Spark and Daft pass them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

import ghost_deploy as gd
from tests.support.constant_model import write_constant_bundle
from tests.support.images import write_images

pa = pytest.importorskip("pyarrow")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_constant_bundle(tmp_path_factory.mktemp("bundle") / "small").path


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    return [*map(str, write_images(tmp_path, 3)), str(tmp_path / "gone.png")]


@pytest.fixture
def detect(bundle: Path) -> gd.BatchDetector:
    return pickle.loads(pickle.dumps(gd.BatchDetector(bundle, runtime="ort", check=False)))


def test_no_column_of_images(detect: gd.BatchDetector) -> None:
    with pytest.raises(gd.UsageError, match="no column of paths or bytes"):
        detect({"number": [1, 2]})
    with pytest.raises(gd.UsageError, match="no column of paths or bytes"):
        gd.BatchDetector("out", "where")({"path": ["a.jpg"]})


def test_an_empty_batch(detect: gd.BatchDetector) -> None:
    assert len(detect({"path": np.empty(0, object)})["boxes"]) == 0


def test_arrays_of_paths(detect: gd.BatchDetector, paths: list[str]) -> None:
    array = np.array(paths, object)
    array.flags.writeable = False  # as Ray's zero copies are
    found = detect({"path": array, "label": np.arange(4)})
    assert found["source"].tolist() == found["path"].tolist() == paths
    assert found["label"].tolist() == [0, 1, 2, 3]
    assert found["width"].tolist() == [64, 64, 64, None]
    assert found["boxes"].tolist() == [[], [], [], []]
    assert [error is None for error in found["error"]] == [True, True, True, False]
    assert {len(column) for column in found.values()} == {4}


def test_bytes_are_not_passed_on(detect: gd.BatchDetector, paths: list[str]) -> None:
    data = [Path(path).read_bytes() for path in paths[:3]] + [b"no image"]
    found = detect({"bytes": data, "path": paths})
    assert "bytes" not in found
    assert found["source"].tolist() == paths
    assert [error is None for error in found["error"]] == [True, True, True, False]
    (source, *_) = detect({"bytes": data})["source"]
    assert source.startswith("sha256:")


def test_a_list_a_table_and_a_frame(detect: gd.BatchDetector, paths: list[str]) -> None:
    from ghost_deploy.batch.result_rows import arrow_schema

    assert detect(paths)["source"].tolist() == paths
    table = detect(pa.table({"path": paths, "number": [1, 2, 3, 4]}))
    assert table.column_names == ["path", "number", *arrow_schema().names]
    assert table.schema.field("boxes").type == arrow_schema().field("boxes").type
    assert table["number"].to_pylist() == [1, 2, 3, 4]
    pandas = pytest.importorskip("pandas")
    frame = detect(pandas.DataFrame({"path": paths}))
    assert type(frame) is pandas.DataFrame
    assert frame["source"].tolist() == paths


def test_what_is_no_path(detect: gd.BatchDetector) -> None:
    found = detect({"path": [3, None]})
    assert all("no path and no file" in error for error in found["error"])


def test_pickled_before_the_model_is_opened(tmp_path: Path) -> None:
    """It may be made where the model is not."""
    assert len(pickle.dumps(gd.BatchDetector(tmp_path / "elsewhere"))) < 2000

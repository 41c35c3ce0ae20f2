"""What one worker writes: equal to the detector, errors as rows, whole parts."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ghost_deploy.batch.part_files import PartFiles
from ghost_deploy.batch.part_worker import PartWorker, WorkerSetup
from ghost_deploy.batch.result_rows import COLUMNS
from ghost_deploy.batch.work_tasks import ArchiveFile, ImagesTask
from ghost_deploy.core.errors import BackendError, StoreError
from tests.support.batch_runs import PretendModel, rows_in
from tests.support.images import solid_image, write_image, write_images

pytest.importorskip("pyarrow")


def setup(out: Path, model: PretendModel | None = None, **options: object) -> WorkerSetup:
    model = model or PretendModel()
    return WorkerSetup(model, "a" * 64, PartFiles(str(out)), **options)  # type: ignore[arg-type]


def task(*paths: Path, **options: object) -> ImagesTask:
    files = tuple(ArchiveFile(str(path)) for path in paths)
    return ImagesTask("part", files, **options)  # type: ignore[arg-type]


def test_another_model_than_the_run_is_about(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="another model"):
        PartWorker(setup(tmp_path, PretendModel("b" * 64)))


@pytest.mark.parametrize("batch", [1, 3])
def test_rows_are_what_the_detector_finds(tmp_path: Path, batch: int) -> None:
    paths = write_images(tmp_path / "images", 5, (48, 96))
    with PartWorker(setup(tmp_path / "out", batch=batch)) as worker:
        assert worker.run(task(*paths)).parts == (("part", 5, 0),)
    rows = rows_in(tmp_path / "out")
    assert [row["source"] for row in rows] == sorted(map(str, paths))
    detector = PretendModel().open().detector
    for row in rows:
        assert list(row) == list(COLUMNS)
        found = detector(row["source"])
        assert row["boxes"] == found.xyxy.tolist()
        assert np.array_equal(np.float32(row["scores"]), found.score)
        assert (row["classes"], row["names"]) == (found.class_id.tolist(), found.names)
        assert (row["width"], row["height"], row["frame"]) == (96, 48, 0)
        assert (row["position_s"], row["error"], row["model"]) == (None, None, "a" * 64)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (lambda path: None, "there is no image"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "damaged": (lambda path: path.write_bytes(b"\xff\xd8\xffno"), "damaged"),
    "a folder": (lambda path: path.mkdir(), "not a regular file|cannot be read"),
    "a pipe": (os.mkfifo, "not a regular file"),
    "a loop of links": (lambda path: path.symlink_to(path), "cannot be read"),
}


@pytest.mark.parametrize(("make", "message"), BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_read_is_a_row(
    tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    good = write_image(tmp_path / "a.png", solid_image())
    make(tmp_path / "b.png")
    with PartWorker(setup(tmp_path / "out", batch=2)) as worker:
        assert worker.run(task(good, tmp_path / "b.png", good.parent / "a.png")).errors == 1
    (bad,) = [row for row in rows_in(tmp_path / "out") if row["error"]]
    assert bad["source"] == str(tmp_path / "b.png")
    assert bad["boxes"] == []
    assert bad["width"] is None
    assert re.search(message, bad["error"])


def test_more_pixels_than_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GHOST_DEPLOY_MAX_PIXELS", "120000000")
    path = write_image(tmp_path / "a.png", solid_image((40, 60)))
    with PartWorker(setup(tmp_path / "out", max_pixels=100)) as worker:
        worker.run(task(path))
    assert "larger than the limit" in rows_in(tmp_path / "out")[0]["error"]


def test_a_model_that_fails_on_one_image_and_on_all(tmp_path: Path) -> None:
    paths = [write_image(tmp_path / f"{v}.png", solid_image((64, 64), v)) for v in (1, 2, 3)]
    with PartWorker(setup(tmp_path / "out", PretendModel(fails=2), batch=3)) as worker:
        assert worker.run(task(*paths)).errors == 1
    with (
        PartWorker(setup(tmp_path / "none", PretendModel(fails=2))) as worker,
        pytest.raises(BackendError, match="fails here"),
    ):
        worker.run(task(paths[1]))
    assert rows_in(tmp_path / "none") == []


def test_a_source_that_ended_processes_is_not_read_again(tmp_path: Path) -> None:
    paths = write_images(tmp_path / "images", 3)
    with PartWorker(setup(tmp_path / "out")) as worker:
        worker.run(task(*paths, fatal=frozenset({str(paths[1])})))
    assert [bool(row["error"]) for row in rows_in(tmp_path / "out")] == [False, True, False]


def test_a_part_that_is_written_again_keeps_its_other_rows(tmp_path: Path) -> None:
    paths = [*write_images(tmp_path / "images", 2), tmp_path / "images" / "late.png"]
    with PartWorker(setup(tmp_path / "out")) as worker:
        assert worker.run(task(*paths)).errors == 1
        write_image(paths[2])
        assert worker.run(task(paths[2], keeps=True)).parts == (("part", 1, 0),)
    rows = rows_in(tmp_path / "out")
    assert [row["source"] for row in rows] == sorted(map(str, paths))
    assert not any(row["error"] for row in rows)


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"a file")
    with (
        PartWorker(setup(tmp_path / "out")) as worker,
        pytest.raises(StoreError, match="cannot write"),
    ):
        worker.run(task(*write_images(tmp_path / "images", 1)))


def test_errors_come_through_a_pickle() -> None:
    error = pickle.loads(pickle.dumps(StoreError("what", got="got", expected=3, fix="fix")))
    assert str(error) == "what: got got, expected 3. fix"
    assert isinstance(error, StoreError)
